//! `postrider bench sockets many`.

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::future::try_join_all;
use tokio::process::Command;

use super::idle::Figures;
use super::room_for;
use crate::bench::TargetOptions;
use crate::bench::target::Target;

/// Of the first generator's first connection; each has a network of its own.
const FROM: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

/// Starts several processes on one Postgres and one Redis, and beside each of them a `bench sockets idle`, all at the same time: a process, and a generator, may have only so many descriptors.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Sockets, over all processes.
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(2..))]
    sockets: u32,
    /// Processes, each with a generator.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    processes: u32,
    /// People at each.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..))]
    people: u32,
    /// How long all are left open, from when the last of a process is.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let each = options.sockets.div_ceil(options.processes);
    room_for(u64::from(each))?;
    let mut targets = vec![Target::open(&options.target).await?];
    let measured = measure(&options, each, &mut targets).await;
    // The first one has started the servers, and ends last.
    while let Some(target) = targets.pop() {
        target.close().await?;
    }
    let (figures, most) = measured?;
    if options.target.json {
        println!("{}", serde_json::to_string(&figures)?);
    } else {
        for (n, figures) in figures.iter().enumerate() {
            print!("process {}\n{}", n + 1, figures.table());
        }
        println!("open at once        {most:>12} descriptors of all processes, at the most");
    }
    Ok(())
}

async fn measure(options: &Options, each: u32, targets: &mut Vec<Target>) -> Result<(Vec<Figures>, usize)> {
    for _ in 1..options.processes {
        let another = targets[0].another().await?;
        targets.push(another);
    }
    let generating = try_join_all((0..).zip(targets.iter()).map(|(n, target)| generate(options, each, n, target)));
    let (mut most, mut look) = (0, tokio::time::interval(Duration::from_secs(1)));
    tokio::pin!(generating);
    loop {
        tokio::select! {
            generated = &mut generating => return Ok((generated?, most)),
            _ = look.tick() => most = most.max(targets.iter().filter_map(Target::pid).map(descriptors).sum()),
        }
    }
}

/// What a process has open.
fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// One generator, to its end.
async fn generate(options: &Options, each: u32, n: u32, target: &Target) -> Result<Figures> {
    let from = Ipv4Addr::from_bits(FROM.to_bits() + (n << 16));
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "sockets", "idle", "--json", "--url", &target.url]);
    if let Some(pid) = target.pid() {
        command.args(["--pid", &pid.to_string()]);
    }
    for (name, value) in [("--sockets", u64::from(each)), ("--people", options.people.into()), ("--seconds", options.seconds)] {
        command.args([name, &value.to_string()]);
    }
    let ended = command.args(["--from", &from.to_string()]).stdin(Stdio::null()).kill_on_drop(true).output().await?;
    ensure!(ended.status.success(), "generator {n} ended with {}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
    serde_json::from_slice(&ended.stdout).with_context(|| format!("what generator {n} says cannot be read"))
}
