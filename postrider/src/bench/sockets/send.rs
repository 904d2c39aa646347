//! `postrider bench sockets send`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use super::traffic::{self, Pace};
use crate::bench::pairs::{self, WritingOptions};
use crate::bench::processes::cpu_seconds;
use crate::bench::report::percentile;
use crate::bench::target::Target;
use crate::bench::{TargetOptions, print};

/// Pairs of people, the recipient's socket open: how long until the sender's 2xx, and until the recipient has the frame, from one clock. Everything with a 2xx must come, once.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    writing: WritingOptions,
    /// Recipients acknowledge each message over their socket, as clients do: one more event for each.
    #[arg(long)]
    acknowledge: bool,
}

#[derive(Debug, Serialize)]
struct Figures {
    messages: usize,
    errors: u64,
    /// From the begin until the last frame was there.
    per_second: f64,
    answered_p50_ms: f64,
    answered_p99_ms: f64,
    answered_max_ms: f64,
    told_p50_ms: f64,
    told_p99_ms: f64,
    told_max_ms: f64,
    cpu_us_per_message: f64,
    resident_mib_by_process: BTreeMap<String, f64>,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let measured = measure(&options, &target).await;
    target.close().await?;
    let (figures, first_error) = measured?;
    print(options.target.json, &figures, &figures.table())?;
    match first_error {
        Some(first) => bail!("{} requests failed; the first one: {first}", figures.errors),
        None => Ok(()),
    }
}

async fn measure(options: &Options, target: &Target) -> Result<(Figures, Option<String>)> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let pairs = pairs::register(&target.url, &run, options.writing.pairs, &registering).await?;
    registering.finish_and_clear();
    let before = target.usage();
    let end = Instant::now() + Duration::from_secs(options.writing.seconds);
    let pace = Pace { end, rate: options.writing.rate, bytes: options.writing.bytes, acknowledge: options.acknowledge };
    let traffic = traffic::between(pairs, pace).await?;
    let cpu = cpu_seconds(&before, &target.usage());
    let mut answered = traffic.answered;
    let mut told: Vec<u32> = traffic.told.iter().map(|(_, took)| *took).collect();
    answered.sort_unstable();
    told.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a display figure")]
    let count = told.len() as f64;
    let figures = Figures {
        messages: told.len(),
        errors: traffic.errors,
        per_second: count / traffic.seconds,
        answered_p50_ms: percentile(&answered, 50.0),
        answered_p99_ms: percentile(&answered, 99.0),
        answered_max_ms: percentile(&answered, 100.0),
        told_p50_ms: percentile(&told, 50.0),
        told_p99_ms: percentile(&told, 99.0),
        told_max_ms: percentile(&told, 100.0),
        cpu_us_per_message: cpu * 1e6 / count.max(1.0),
        resident_mib_by_process: target.resident_mib(),
    };
    Ok((figures, traffic.first_error))
}

impl Figures {
    fn table(&self) -> String {
        let mut out = format!(
            "messages            {:>12}\nerrors              {:>12}\nreceived            {:>12.0} /s\n                             p50       p99       max\n  until the 2xx      {:>9.2} {:>9.2} {:>9.2} ms\n  until the frame    {:>9.2} {:>9.2} {:>9.2} ms\nCPU per message     {:>12.1} µs\n",
            self.messages,
            self.errors,
            self.per_second,
            self.answered_p50_ms,
            self.answered_p99_ms,
            self.answered_max_ms,
            self.told_p50_ms,
            self.told_p99_ms,
            self.told_max_ms,
            self.cpu_us_per_message
        );
        for (name, resident) in &self.resident_mib_by_process {
            out += &format!("  {name:<16}  {resident:>12.1} MiB\n");
        }
        out
    }
}
