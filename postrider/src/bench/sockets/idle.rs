//! `postrider bench sockets idle`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::room_for;
use crate::bench::pairs;
use crate::bench::processes::{Part, Usage};
use crate::bench::target::Target;
use crate::bench::{TargetOptions, print};
use crate::client::socket::{Address, Heard, Socket};

/// One source address has ports for 28,000 connections.
const PER_ADDRESS: u32 = 20_000;
/// After the last of a step has opened, until memory is read.
const SETTLES: Duration = Duration::from_secs(3);

/// Opens many sockets and leaves them alone: resident memory of the process at `--base` and at `--sockets` gives the cost of one.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Sockets.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(2..))]
    sockets: u32,
    /// From how many on the slope is measured.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    base: u32,
    /// People, who share the sockets evenly; each costs the time of a password's hash first.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..))]
    people: u32,
    /// How long to leave them alone; pings come every 25 s.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections that are opened at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    at_once: u32,
    /// The first source address, e.g. 127.0.1.1; another one for each 20,000 sockets. Several runs beside each other need several.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<Ipv4Addr>,
}

/// What was seen.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Open at once.
    pub sockets: u32,
    people: u32,
    connects_per_second: f64,
    /// Of the server, per connection.
    connect_cpu_us: f64,
    resident_mib_at_base: Option<f64>,
    resident_mib_at_all: Option<f64>,
    /// The slope between them.
    kib_per_socket: Option<f64>,
    /// Of the server, per socket and second, while nothing happens but pings.
    idle_cpu_us: f64,
    /// Pings that came per socket in that time.
    pings: f64,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    ensure!(options.base < options.sockets, "--base must be smaller than --sockets");
    room_for(u64::from(options.sockets))?;
    let mut target = Target::open(&options.target).await?;
    let measured = measure(&options, &mut target).await;
    target.close().await?;
    let figures = measured?;
    print(options.target.json, &figures, &figures.table())
}

async fn measure(options: &Options, target: &mut Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let pairs = pairs::register(&target.url, &run, options.people.div_ceil(2), &registering).await?;
    registering.finish_and_clear();
    // A process that has just hashed a thousand passwords holds more than sockets: one that we have started starts again.
    target.restart().await?;
    let target = &*target;
    let mut addresses = Vec::new();
    for pair in &pairs {
        addresses.push(pair.sender.socket(pair.sender_id)?.at(&target.url));
        addresses.push(pair.recipient.socket(pair.recipient_id)?.at(&target.url));
    }
    drop(pairs);

    let opening = options.target.bar(options.sockets.into(), "opening");
    let mut open = JoinSet::new();
    let steps = [(0, options.base), (options.base, options.sockets)];
    let (mut connected, mut resident) = ((0.0, 0.0), Vec::new());
    for (first, end) in steps {
        let (before, begin) = (ours(target), Instant::now());
        let mut opened = stream::iter(first..end)
            .map(|n| {
                let (address, from) = (addresses[n as usize % addresses.len()].clone(), source(options.from, n));
                async move { greeted(&address, from).await.with_context(|| format!("socket {n} cannot be opened")) }
            })
            .buffer_unordered(options.at_once as usize);
        while let Some(socket) = opened.try_next().await? {
            open.spawn(stay(socket));
            opening.inc(1);
        }
        let seconds = begin.elapsed().as_secs_f64();
        let after = ours(target);
        connected = (f64::from(end - first) / seconds, cpu(before, after) * 1e6 / f64::from(end - first));
        tokio::time::sleep(SETTLES).await;
        resident.push(ours(target).map(mib));
    }
    opening.finish_and_clear();

    let idling = options.target.bar(options.seconds, "leaving them alone (s)");
    let before = ours(target);
    for _ in 0..options.seconds {
        tokio::time::sleep(Duration::from_secs(1)).await;
        idling.inc(1);
        if let Some(ended) = open.try_join_next() {
            ended?.context("a socket has ended")?;
        }
    }
    idling.finish_and_clear();
    let idle = cpu(before, ours(target));
    #[expect(clippy::cast_precision_loss, reason = "display figures")]
    let (seconds, pings) = (options.seconds.max(1) as f64, PINGS.load(std::sync::atomic::Ordering::Relaxed) as f64);
    let slope = resident[0].zip(resident[1]).map(|(base, all)| (all - base) * 1024.0 / f64::from(options.sockets - options.base));
    Ok(Figures {
        sockets: options.sockets,
        people: options.people,
        connects_per_second: connected.0,
        connect_cpu_us: connected.1,
        resident_mib_at_base: resident[0],
        resident_mib_at_all: resident[1],
        kib_per_socket: slope,
        idle_cpu_us: idle * 1e6 / f64::from(options.sockets) / seconds,
        pings: pings / f64::from(options.sockets),
    })
}

/// All that came in this process, since the begin.
static PINGS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Open, and greeted.
async fn greeted(address: &Address, from: Option<IpAddr>) -> Result<Socket> {
    let mut socket = address.open(from, None).await?;
    let first = socket.frame().await?;
    ensure!(first.contains("connection_established"), "a socket is greeted with {first}");
    Ok(socket)
}

/// Answers pings, until the socket ends.
async fn stay(mut socket: Socket) -> Result<()> {
    loop {
        match socket.next().await {
            Heard::Frame(_) => {}
            Heard::Life => drop(PINGS.fetch_add(1, std::sync::atomic::Ordering::Relaxed)),
            Heard::Closed(code, reason) => anyhow::bail!("closed with {code} {reason}"),
        }
    }
}

/// From where the `n`-th connects.
fn source(first: Option<Ipv4Addr>, n: u32) -> Option<IpAddr> {
    first.map(|first| Ipv4Addr::from_bits(first.to_bits() + n / PER_ADDRESS).into())
}

/// The process itself, without its servers.
fn ours(target: &Target) -> Option<Usage> {
    target.usage().get(&Part::Postrider).copied()
}

fn cpu(before: Option<Usage>, after: Option<Usage>) -> f64 {
    before.zip(after).map_or(0.0, |(before, after)| after.cpu_seconds - before.cpu_seconds)
}

#[expect(clippy::cast_precision_loss, reason = "a display figure")]
fn mib(usage: Usage) -> f64 {
    usage.resident_bytes as f64 / f64::from(1 << 20)
}

impl Figures {
    /// As a table for people.
    pub fn table(&self) -> String {
        let mut out = format!(
            "sockets             {:>12}\npeople              {:>12}\nopened              {:>12.0} /s, {:.0} µs CPU each\n",
            self.sockets, self.people, self.connects_per_second, self.connect_cpu_us
        );
        if let (Some(base), Some(all), Some(each)) = (self.resident_mib_at_base, self.resident_mib_at_all, self.kib_per_socket) {
            out += &format!("resident            {base:>12.1} MiB, then {all:.1} MiB\nper idle socket     {each:>12.2} KiB\n");
        }
        out + &format!("while idle          {:>12.2} µs CPU per socket and second, {:.1} pings each\n", self.idle_cpu_us, self.pings)
    }
}
