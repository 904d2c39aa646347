//! `postrider bench compare`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::process::Command;

use super::report::Report;

/// Runs `bench send` of two builds in alternation, so that whatever else the machine does weighs on both, and prints the medians and their ratios.
#[derive(Debug, Args)]
pub struct Options {
    /// The first build's binary.
    a: PathBuf,
    /// The second build's binary.
    b: PathBuf,
    /// Runs of each.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// What `bench send` is given besides, after `--`: e.g. `-- --pairs 16 --seconds 10`.
    #[arg(last = true)]
    send: Vec<String>,
}

/// Runs it.
pub async fn run(options: &Options) -> Result<()> {
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for round in 0..options.rounds {
        // A then B, B then A: neither always comes first.
        if round % 2 == 0 {
            a.push(once(&options.a, &options.send).await?);
            b.push(once(&options.b, &options.send).await?);
        } else {
            b.push(once(&options.b, &options.send).await?);
            a.push(once(&options.a, &options.send).await?);
        }
    }
    let rows: [(&str, Figure); 5] = [
        ("rate", |r| r.rate),
        ("p50_ms", |r| r.p50_ms),
        ("p99_ms", |r| r.p99_ms),
        ("max_ms", |r| r.max_ms),
        ("cpu_us_per_message", |r| r.cpu_us_per_message),
    ];
    let medians = rows.map(|(name, of)| (name, median(&a, of), median(&b, of)));
    if options.json {
        let object: serde_json::Map<_, _> =
            medians.iter().map(|(name, a, b)| ((*name).to_owned(), serde_json::json!({"a": a, "b": b, "ratio": b / a}))).collect();
        println!("{}", serde_json::Value::Object(object));
    } else {
        println!("{:<22}{:>12}{:>12}{:>10}", "median", "A", "B", "B / A");
        for (name, a, b) in medians {
            println!("{name:<22}{a:>12.2}{b:>12.2}{:>10.3}", b / a);
        }
    }
    Ok(())
}

/// One figure of a run.
type Figure = fn(&Report) -> f64;

async fn once(binary: &Path, send: &[String]) -> Result<Report> {
    let output = Command::new(binary)
        .args(["bench", "send", "--json"])
        .args(send)
        .output()
        .await
        .with_context(|| format!("{} cannot be started", binary.display()))?;
    ensure!(
        output.status.success(),
        "{} bench send ended with {}: {}",
        binary.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("its report cannot be read")
}

fn median(reports: &[Report], of: impl Fn(&Report) -> f64) -> f64 {
    let mut values: Vec<f64> = reports.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
