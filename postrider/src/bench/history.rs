//! `postrider bench history`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use futures::future::try_join_all;
use hyper::Method;
use serde::Serialize;
use uuid::Uuid;

use super::fill;
use super::pairs;
use super::processes::cpu_seconds;
use super::read_back;
use super::report::percentile;
use super::target::Target;
use super::{TargetOptions, print};
use crate::client::Client;
use crate::settings::Flags;

/// What is read, and how often for each whole conversation.
const KINDS: [(&str, &str); 3] = [("newest 50", "?limit=50"), ("newest 1,000", "?limit=1000"), ("whole", "")];

/// A long conversation is read by many at once: its newest page, its newest thousand, and all of it.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Messages in the conversation.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// Readers at once, each with one connection.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    readers: u32,
    /// How long to read each kind.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

#[derive(Debug, Serialize)]
struct Figures {
    messages: u64,
    readers: u32,
    /// By what was read.
    reads: BTreeMap<&'static str, Read>,
    resident_mib_by_process: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Read {
    per_second: f64,
    messages_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Over all processes.
    cpu_ms: f64,
}

impl Figures {
    fn table(&self) -> String {
        let mut out = format!("conversation of {} messages, {} readers\n", self.messages, self.readers);
        out += "                        reads/s   messages/s     p50 ms     p99 ms     CPU ms\n";
        for (name, read) in &self.reads {
            out += &format!(
                "  {name:<18} {:>10.1} {:>12.0} {:>10.2} {:>10.2} {:>10.2}\n",
                read.per_second, read.messages_per_second, read.p50_ms, read.p99_ms, read.cpu_ms
            );
        }
        for (name, resident) in &self.resident_mib_by_process {
            out += &format!("  {name:<18} {resident:>10.1} MiB\n");
        }
        out
    }
}

/// Runs it.
pub async fn run(options: Options, flags: Flags) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let figures = measure(&options, flags, &target).await;
    target.close().await?;
    let figures = figures?;
    print(options.target.json, &figures, &figures.table())?;
    Ok(())
}

async fn measure(options: &Options, flags: Flags, target: &Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let mut people = pairs::register(&target.url, &run, 1, &registering).await?;
    registering.finish_and_clear();
    let filling = fill::Options::of(&options.target, options.messages);
    let (written, _) = fill::into(&filling, flags, target, &people, &[options.messages]).await?;
    let pair = &mut people[0];
    read_back::visible(&mut pair.recipient, pair.sender_id, &written[0]).await?;

    let mut reads = BTreeMap::new();
    for (name, query) in KINDS {
        let path = format!("/api/v1/messages/conversation/{}{query}", pair.sender_id);
        let (before, begin) = (target.usage(), Instant::now());
        let end = begin + Duration::from_secs(options.seconds);
        let readers = (0..options.readers).map(|_| {
            let (client, path) = (pair.recipient.another(), path.clone());
            tokio::spawn(read_until(client, path, end))
        });
        let mut latencies: Vec<u32> = Vec::new();
        for read in try_join_all(readers).await? {
            latencies.extend(read?);
        }
        let (seconds, after) = (begin.elapsed().as_secs_f64(), target.usage());
        latencies.sort_unstable();
        let cpu = cpu_seconds(&before, &after);
        #[expect(clippy::cast_precision_loss, reason = "display figures")]
        let (count, of_each) = (latencies.len() as f64, [50, 1_000, options.messages][reads.len()].min(options.messages) as f64);
        reads.insert(
            name,
            Read {
                per_second: count / seconds,
                messages_per_second: count * of_each / seconds,
                p50_ms: percentile(&latencies, 50.0),
                p99_ms: percentile(&latencies, 99.0),
                cpu_ms: cpu * 1000.0 / count.max(1.0),
            },
        );
    }
    Ok(Figures { messages: options.messages, readers: options.readers, reads, resident_mib_by_process: target.resident_mib() })
}

async fn read_until(mut client: Client, path: String, end: Instant) -> Result<Vec<u32>> {
    let mut latencies = Vec::new();
    loop {
        let begin = Instant::now();
        if begin >= end {
            return Ok(latencies);
        }
        let (status, answer) = client.request(Method::GET, &path, None).await?;
        ensure!(status == 200, "GET {path} answered {status}: {}", String::from_utf8_lossy(&answer));
        latencies.push(u32::try_from(begin.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
}
