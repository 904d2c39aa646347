//! Pairs who write to each other while the recipient's socket is open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::brought;
use crate::bench::pairs::Pair;
use crate::bench::send::{Sent, send_until};
use crate::client::socket::{Heard, Socket};

/// How long frames may still come after the last 2xx.
const LATEST: Duration = Duration::from_secs(60);

/// How they write.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Until then.
    pub end: Instant,
    /// Messages per second over all pairs; `None`: each as soon as it has its answer.
    pub rate: Option<f64>,
    /// Of content.
    pub bytes: usize,
    /// Whether recipients acknowledge each message over their socket, as clients do.
    pub acknowledge: bool,
}

/// What came of it. Times are microseconds from when a message was asked for (open loop: was due), by one clock.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Until the 2xx.
    pub answered: Vec<u32>,
    /// When it was asked for, and until the recipient had the frame.
    pub told: Vec<(Instant, u32)>,
    /// From the begin until the last frame was there.
    pub seconds: f64,
    /// Requests that failed.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
}

/// Lets them write until the end of the pace, and returns when everything that got a 2xx has come, each once.
pub async fn between(pairs: Vec<Pair>, pace: Pace) -> Result<Traffic> {
    let come = Arc::new(AtomicU64::new(0));
    let (stop, stopped) = watch::channel(());
    let mut running = Vec::new();
    for pair in pairs {
        let socket = pair.recipient.socket(pair.recipient_id)?.open(None, None).await?;
        running.push((pair, tokio::spawn(receive(socket, pace.acknowledge, come.clone(), stopped.clone()))));
    }
    let (begin, due) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    let writing = running.into_iter().map(|(mut pair, receiving)| {
        let due = due.clone();
        tokio::spawn(async move { (send_until(&mut pair, begin, pace.end, pace.rate, &due, pace.bytes).await, receiving) })
    });
    let written: Vec<(Sent, JoinHandle<_>)> = try_join_all(writing).await?;
    let acknowledged: u64 = written.iter().map(|(sent, _)| sent.acknowledged.len() as u64).sum();
    let last = Instant::now();
    while come.load(Ordering::Relaxed) < acknowledged && last.elapsed() < LATEST {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut traffic = Traffic { seconds: begin.elapsed().as_secs_f64(), ..Traffic::default() };
    drop(stop);
    for (sent, receiving) in written {
        let received: Vec<(Uuid, Instant)> = receiving.await?.context("a recipient's socket has ended")?;
        let mut asked: HashMap<Uuid, Instant> = sent.acknowledged.iter().copied().zip(sent.asked.iter().copied()).collect();
        let failed = sent.errors > 0;
        for (id, at) in received {
            match asked.remove(&id) {
                Some(asked) => traffic.told.push((asked, micros(at - asked))),
                // What was refused to the sender may have been stored all the same.
                None => ensure!(failed, "message {id} came twice, or was never sent"),
            }
        }
        ensure!(asked.is_empty(), "{} messages with a 2xx have not reached an open socket within {LATEST:?}", asked.len());
        traffic.answered.extend(sent.latencies_us);
        traffic.errors += sent.errors;
        traffic.first_error = traffic.first_error.or(sent.first_error);
    }
    Ok(traffic)
}

/// Notes when each message comes.
async fn receive(
    mut socket: Socket,
    acknowledge: bool,
    come: Arc<AtomicU64>,
    mut stopped: watch::Receiver<()>,
) -> Result<Vec<(Uuid, Instant)>> {
    let mut received = Vec::new();
    loop {
        let heard = tokio::select! {
            heard = socket.next() => heard,
            _ = stopped.changed() => return Ok(received),
        };
        match heard {
            Heard::Frame(text) => {
                let at = Instant::now();
                if let Some(id) = brought(&text)? {
                    received.push((id, at));
                    come.fetch_add(1, Ordering::Relaxed);
                    if acknowledge {
                        socket.send("ack", json!({ "message_id": id })).await?;
                    }
                }
            }
            Heard::Life => {}
            Heard::Closed(code, reason) => anyhow::bail!("closed with {code} {reason}"),
        }
    }
}

/// As the reports count.
pub fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}
