//! `postrider bench sockets waiting`.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hyper::Method;
use serde::Serialize;
use uuid::Uuid;

use super::brought;
use super::traffic::{self, Pace};
use crate::bench::pairs::{self, Pair};
use crate::bench::report::percentile;
use crate::bench::target::Target;
use crate::bench::{TargetOptions, print};
use crate::bench::{fill, read_back};
use crate::settings::Flags;

/// How long projections may take to catch up with what was written.
const CAUGHT_UP: Duration = Duration::from_secs(120);
/// How long the last of the waiting messages may take.
const LATEST: Duration = Duration::from_secs(60);
/// Between the begins of two connections.
const EVERY: Duration = Duration::from_secs(4);
/// What others ask for up to so long after it is still under the connection's weight.
const AFTERMATH: Duration = Duration::from_millis(100);

/// Many messages wait for one person, who connects again and again without acknowledging: from connecting until all are there; meanwhile others write to each other.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Messages that wait.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    messages: u64,
    /// How often to connect.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// Pairs of others, with open sockets.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pairs: u32,
    /// Messages per second between them.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    messages: u64,
    /// From connecting to the last of them.
    all_p50_ms: f64,
    all_max_ms: f64,
    /// Of the others, from when a message was due to the recipient's frame: while nobody connected ...
    others_p50_ms: f64,
    others_p99_ms: f64,
    /// ... and while somebody did.
    others_meanwhile_p50_ms: f64,
    others_meanwhile_p99_ms: f64,
    /// How many of theirs fell into that time.
    others_meanwhile: usize,
}

/// Runs it.
pub async fn run(options: Options, flags: Flags) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let measured = measure(&options, flags, &target).await;
    target.close().await?;
    let figures = measured?;
    print(options.target.json, &figures, &figures.table())
}

async fn measure(options: &Options, flags: Flags, target: &Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let mut pairs = pairs::register(&target.url, &run, options.pairs + 1, &registering).await?;
    registering.finish_and_clear();
    let mut pair = pairs.remove(0);
    let filling = fill::Options::of(&options.target, options.messages);
    let (written, _) = fill::into(&filling, flags, target, std::slice::from_ref(&pair), &[options.messages]).await?;
    read_back::visible(&mut pair.recipient, pair.sender_id, &written[0]).await?;
    caught_up(target, &mut pair, options.messages).await?;

    let connecting = options.target.bar(options.times.into(), "connecting");
    let begin = Instant::now();
    let pace = Pace { end: begin + EVERY * (options.times + 1), rate: Some(options.rate), bytes: 600, acknowledge: true };
    let others = tokio::spawn(traffic::between(pairs, pace));
    let (mut took, mut windows) = (Vec::new(), Vec::new());
    for n in 1..=options.times {
        tokio::time::sleep_until((begin + EVERY * n).into()).await;
        let begin = Instant::now();
        connect(&pair, options.messages).await?;
        took.push(traffic::micros(begin.elapsed()));
        windows.push((begin, Instant::now() + AFTERMATH));
        connecting.inc(1);
    }
    connecting.finish_and_clear();
    let others = others.await??;
    if let Some(first) = others.first_error {
        bail!("{} messages between others failed; the first one: {first}", others.errors);
    }
    let (mut during, mut beside): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    for (asked, took) in others.told {
        let list = if windows.iter().any(|(begin, end)| (*begin..*end).contains(&asked)) { &mut during } else { &mut beside };
        list.push(took);
    }
    for list in [&mut took, &mut during, &mut beside] {
        list.sort_unstable();
    }
    Ok(Figures {
        messages: options.messages,
        all_p50_ms: percentile(&took, 50.0),
        all_max_ms: percentile(&took, 100.0),
        others_p50_ms: percentile(&beside, 50.0),
        others_p99_ms: percentile(&beside, 99.0),
        others_meanwhile_p50_ms: percentile(&during, 50.0),
        others_meanwhile_p99_ms: percentile(&during, 99.0),
        others_meanwhile: during.len(),
    })
}

/// Until everything waits in the queue, and no projection is behind.
async fn caught_up(target: &Target, pair: &mut Pair, messages: u64) -> Result<()> {
    let begin = Instant::now();
    loop {
        let pending = pair.recipient.json(Method::GET, "/api/v1/relay/pending", None).await?;
        let behind = target.lag_seconds().await.unwrap_or_default();
        if pending["count"].as_u64() == Some(messages) && behind < 0.1 {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < CAUGHT_UP,
            "{} of {messages} messages wait after {CAUGHT_UP:?}; a projection is {behind} s behind",
            pending["count"]
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Opens a socket and reads until everything that waits has come, each once.
async fn connect(pair: &Pair, messages: u64) -> Result<()> {
    let all = async {
        let mut socket = pair.recipient.socket(pair.recipient_id)?.open(None, None).await?;
        let mut come = HashSet::new();
        while (come.len() as u64) < messages {
            if let Some(id) = brought(&socket.frame().await?)? {
                ensure!(come.insert(id), "message {id} came twice on one socket");
            }
        }
        tokio::spawn(socket.close());
        Ok(())
    };
    tokio::time::timeout(LATEST, all).await.with_context(|| format!("not all of {messages} waiting messages came within {LATEST:?}"))?
}

impl Figures {
    fn table(&self) -> String {
        format!(
            "waiting             {:>12}\nall received after  {:>12.1} ms (median), {:.1} ms (max)\nothers, until the frame    p50       p99\n  beside            {:>9.2} {:>9.2} ms\n  meanwhile         {:>9.2} {:>9.2} ms ({} messages)\n",
            self.messages,
            self.all_p50_ms,
            self.all_max_ms,
            self.others_p50_ms,
            self.others_p99_ms,
            self.others_meanwhile_p50_ms,
            self.others_meanwhile_p99_ms,
            self.others_meanwhile
        )
    }
}
