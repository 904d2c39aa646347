//! `postrider bench sockets fan`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures::stream::{self, StreamExt, TryStreamExt};
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::traffic::micros;
use super::{brought, room_for};
use crate::bench::pairs;
use crate::bench::report::percentile;
use crate::bench::target::Target;
use crate::bench::{TargetOptions, print};
use crate::client::socket::{Heard, Socket};

/// How long the last socket may take.
const LATEST: Duration = Duration::from_secs(30);
/// Connections that are opened at a time.
const AT_ONCE: usize = 32;

/// One message to a person with many sockets, again and again: from the 2xx until the last of them has it.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Sockets of the recipient.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    sockets: u32,
    /// Messages, one after another.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    messages: u32,
    /// Bytes of `encrypted_content`.
    #[arg(long, default_value_t = 600)]
    bytes: usize,
}

#[derive(Debug, Serialize)]
struct Figures {
    sockets: u32,
    messages: u32,
    /// From the 2xx to the last socket's frame; 0 where that was earlier.
    last_p50_ms: f64,
    last_max_ms: f64,
    /// From asking to the first socket's frame.
    first_p50_ms: f64,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    room_for(u64::from(options.sockets))?;
    let target = Target::open(&options.target).await?;
    let measured = measure(&options, &target).await;
    target.close().await?;
    let figures = measured?;
    let table = format!(
        "sockets             {:>12}\nmessages            {:>12}\nfirst has it after  {:>12.2} ms (median, from asking)\nlast, after the 2xx {:>12.2} ms (median), {:.2} ms (max)\n",
        figures.sockets, figures.messages, figures.first_p50_ms, figures.last_p50_ms, figures.last_max_ms
    );
    print(options.target.json, &figures, &table)
}

async fn measure(options: &Options, target: &Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let mut pairs = pairs::register(&target.url, &run, 1, &registering).await?;
    registering.finish_and_clear();
    let pair = pairs.first_mut().context("a pair was registered")?;
    let address = pair.recipient.socket(pair.recipient_id)?;
    let opened: Vec<Socket> =
        stream::iter(0..options.sockets).map(|_| address.open(None, None)).buffer_unordered(AT_ONCE).try_collect().await?;
    let (told, mut heard) = mpsc::unbounded_channel();
    let mut listening = JoinSet::new();
    for socket in opened {
        listening.spawn(listen(socket, told.clone()));
    }
    let (mut firsts, mut lasts) = (Vec::new(), Vec::new());
    let content = "m".repeat(options.bytes);
    for _ in 0..options.messages {
        let id = Uuid::now_v7();
        let body = json!({
            "message_id": id, "recipient_id": pair.recipient_id, "encrypted_content": content, "encrypted_session_key": "k",
        });
        let asked = Instant::now();
        pair.sender.json(Method::POST, "/api/v1/messages/send", Some(body)).await?;
        let answered = Instant::now();
        let (mut first, mut last) = (None, answered);
        for n in 0..options.sockets {
            let next = tokio::time::timeout(LATEST, heard.recv()).await;
            let next = next.with_context(|| format!("only {n} of {} sockets have the message after {LATEST:?}", options.sockets))?;
            let (came, at): (Uuid, Instant) = next.context("all sockets have ended")?;
            ensure!(came == id, "a socket was told of {came}, which is an earlier message, or none of ours");
            first = first.min(Some(at)).or(Some(at));
            last = last.max(at);
        }
        firsts.push(micros(first.unwrap_or(answered) - asked));
        lasts.push(micros(last - answered));
    }
    if let Some(ended) = listening.try_join_next() {
        ended?.context("a socket has ended during the run")?;
    }
    firsts.sort_unstable();
    lasts.sort_unstable();
    Ok(Figures {
        sockets: options.sockets,
        messages: options.messages,
        last_p50_ms: percentile(&lasts, 50.0),
        last_max_ms: percentile(&lasts, 100.0),
        first_p50_ms: percentile(&firsts, 50.0),
    })
}

async fn listen(mut socket: Socket, told: mpsc::UnboundedSender<(Uuid, Instant)>) -> Result<()> {
    loop {
        match socket.next().await {
            Heard::Frame(text) => {
                let at = Instant::now();
                if let Some(id) = brought(&text)? {
                    // Nobody asks any more: the run is over.
                    let _ = told.send((id, at));
                }
            }
            Heard::Life => {}
            Heard::Closed(code, reason) => anyhow::bail!("closed with {code} {reason}"),
        }
    }
}
