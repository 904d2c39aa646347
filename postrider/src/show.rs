//! `postrider config`: what is in effect, and from where.

use clap::Args;
use serde_json::json;

use crate::output;
use crate::settings::Flags;

/// How to show it.
#[derive(Debug, Args)]
pub struct Options {
    /// One JSON object per line instead of a table
    #[arg(long)]
    json: bool,
    /// Print the documented file with every setting and its default, to start your own from
    #[arg(long, conflicts_with = "json")]
    defaults: bool,
}

/// Prints every setting with its source; secrets are masked.
pub fn show(flags: &Flags, options: &Options) -> anyhow::Result<()> {
    if options.defaults {
        return output::line(platform::config::DEFAULTS.trim_end());
    }
    let effective = flags.load(Vec::new())?;
    let shown = effective.shown();
    let width = |column: fn(&(String, String, platform::config::Place)) -> usize| shown.iter().map(column).max().unwrap_or(0);
    let (keys, values) = (width(|(key, ..)| key.len()), width(|(_, value, _)| value.len()).min(50));
    for (key, value, place) in shown {
        if options.json {
            output::line(&json!({"key": key, "value": value, "source": place.to_string()}).to_string())?;
        } else {
            output::line(&format!("{key:keys$}  {value:values$}  {place}"))?;
        }
    }
    Ok(())
}
