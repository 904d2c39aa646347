//! One line per thing that happened.

use std::io::IsTerminal;
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

use crate::config::{LogFormat, StartError, Telemetry};

/// Of our libraries, only what went wrong: Postgres' notices, for one, are no news of ours. What `telemetry.log` says of them goes before.
const QUIET: &str = "sqlx=warn,hyper=warn,h2=warn,tungstenite=warn,tokio_tungstenite=warn,rdkafka=warn,librdkafka=warn";

/// Whether lines are for people.
#[must_use]
pub fn is_pretty(format: LogFormat) -> bool {
    match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Pretty => true,
        LogFormat::Json => false,
    }
}

/// Begins to log, for the whole process; panics are logged like everything else.
///
/// # Errors
/// When the filter cannot be read, or something logs already.
pub fn logs(config: &Telemetry) -> Result<(), StartError> {
    let filter = filter(&config.log)?;
    let pretty = is_pretty(config.format);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = if pretty {
        lines.with_ansi(std::io::stderr().is_terminal()).with_target(false).try_init()
    } else {
        // The list ends with the current span: naming that one again would say everything twice.
        lines.json().flatten_event(true).with_current_span(false).with_span_list(true).try_init()
    };
    begun.map_err(|error| StartError::because("logging cannot begin", error))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

fn filter(wanted: &str) -> Result<EnvFilter, StartError> {
    EnvFilter::try_new(format!("{QUIET},{wanted}")).map_err(|error| {
        let right = "a level (error, warn, info, debug, trace) or a list like \"info,platform::ledger=debug\" would be right";
        StartError::because(format!("telemetry.log: {wanted:?} is no filter; {right}"), error)
    })
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = matches!(backtrace.status(), std::backtrace::BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic = panic.payload_as_str().unwrap_or("of an unknown kind"),
        location,
        thread = thread.name().unwrap_or("without a name"),
        backtrace,
        "a panic"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_says_what_would_be_right() {
        assert!(filter("info,platform::ledger=debug").is_ok());
        let refused = filter("platform=loud").unwrap_err().to_string();
        assert!(refused.contains("telemetry.log") && refused.contains("would be right"), "{refused}");
    }
}
