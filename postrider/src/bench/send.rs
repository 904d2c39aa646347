//! `postrider bench send`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use futures::future::try_join_all;
use hyper::Method;
use serde_json::json;
use uuid::Uuid;

use super::pairs::{self, Pair, WritingOptions};
use super::report::{Report, percentile};
use super::target::Target;
use super::verify;
use super::{TargetOptions, print};

/// How long a pair waits after a request that failed.
const AFTER_ERROR: Duration = Duration::from_millis(20);

/// Pairs of people write to each other; a message counts when it got its 2xx, and at the end every one of them is in its conversation exactly once and pending for its recipient.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    writing: WritingOptions,
}

/// What one sender did.
#[derive(Default)]
pub struct Sent {
    /// Messages with a 2xx.
    pub acknowledged: Vec<Uuid>,
    /// Of these: how long their answers took ...
    pub latencies_us: Vec<u32>,
    /// ... and from when that counts.
    pub asked: Vec<Instant>,
    /// Everything else.
    pub errors: u64,
    /// What the first of them said.
    pub first_error: Option<String>,
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let report = measure(&options, &target).await;
    target.close().await?;
    let report = report?;
    print(options.target.json, &report, &report.table())?;
    match &report.first_error {
        Some(first) => bail!("{} requests failed; the first one: {first}", report.errors),
        None => Ok(()),
    }
}

async fn measure(options: &Options, target: &Target) -> Result<Report> {
    let bar = |len: u64, what: &'static str| options.target.bar(len, what);
    let registering = bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let pairs = pairs::register(&target.url, &run, options.writing.pairs, &registering).await?;
    registering.finish_and_clear();

    let sending = bar(options.writing.seconds, "sending (s)");
    let before = target.usage();
    let begin = Instant::now();
    let end = begin + Duration::from_secs(options.writing.seconds);
    let due = Arc::new(AtomicU64::new(0));
    let senders = pairs.into_iter().map(|mut pair| {
        let (due, rate, bytes) = (due.clone(), options.writing.rate, options.writing.bytes);
        tokio::spawn(async move {
            let sent = send_until(&mut pair, begin, end, rate, &due, bytes).await;
            (pair, sent)
        })
    });
    let progress = tokio::spawn({
        let sending = sending.clone();
        async move {
            while Instant::now() < end {
                sending.set_position(begin.elapsed().as_secs());
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            sending.finish_and_clear();
        }
    });
    let sent = try_join_all(senders).await?;
    let seconds = begin.elapsed().as_secs_f64();
    progress.await?;

    let checking = bar(sent.len() as u64, "checking");
    let settling = Instant::now();
    let mut latencies = Vec::new();
    let (mut messages, mut errors, mut first_error) = (0, 0, None);
    let mut settled_ms = 0.0;
    // CPU is read when the newest message is visible, so that it holds the projections of all of them but little of the check.
    let mut after = None;
    for (mut pair, sent) in sent {
        if after.is_none() {
            verify::settled(&mut pair.recipient, pair.sender_id, &sent.acknowledged[sent.acknowledged.len().saturating_sub(1)..]).await?;
            settled_ms = settling.elapsed().as_secs_f64() * 1000.0;
            after = Some(target.usage());
        }
        verify::settled(&mut pair.recipient, pair.sender_id, &sent.acknowledged).await?;
        messages += sent.acknowledged.len() as u64;
        errors += sent.errors;
        first_error = first_error.or(sent.first_error);
        latencies.extend(sent.latencies_us);
        checking.inc(1);
    }
    checking.finish_and_clear();
    latencies.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a display figure")]
    let mut report = Report {
        messages,
        errors,
        first_error,
        seconds,
        rate: messages as f64 / seconds,
        p50_ms: percentile(&latencies, 50.0),
        p99_ms: percentile(&latencies, 99.0),
        max_ms: percentile(&latencies, 100.0),
        settled_ms,
        ready_ms: target.ready_after.map(|d| d.as_secs_f64() * 1000.0),
        cpu_us_per_message: 0.0,
        cpu_us_by_process: Default::default(),
        resident_mib_by_process: Default::default(),
    };
    report.measured(&before, &after.unwrap_or_default());
    Ok(report)
}

/// One sender of a pair, until the end.
pub async fn send_until(pair: &mut Pair, begin: Instant, end: Instant, rate: Option<f64>, due: &AtomicU64, bytes: usize) -> Sent {
    let mut sent = Sent::default();
    let content = "m".repeat(bytes);
    loop {
        let asked = match rate {
            None => Instant::now(),
            #[expect(clippy::cast_precision_loss, reason = "a run does not last 2^52 messages")]
            Some(rate) => begin + Duration::from_secs_f64(due.fetch_add(1, Ordering::Relaxed) as f64 / rate),
        };
        if asked >= end {
            return sent;
        }
        tokio::time::sleep_until(asked.into()).await;
        let id = Uuid::now_v7();
        let body = json!({
            "message_id": id,
            "recipient_id": pair.recipient_id,
            "encrypted_content": content,
            "encrypted_session_key": "k",
        });
        match pair.sender.request(Method::POST, "/api/v1/messages/send", Some(body.to_string())).await {
            Ok((200, _)) => {
                sent.latencies_us.push(u32::try_from(asked.elapsed().as_micros()).unwrap_or(u32::MAX));
                sent.acknowledged.push(id);
                sent.asked.push(asked);
            }
            other => {
                sent.errors += 1;
                // A target that refuses everything is not asked as fast as it can refuse.
                tokio::time::sleep(AFTER_ERROR).await;
                sent.first_error.get_or_insert_with(|| match other {
                    Ok((status, answer)) => format!("{status} {}", String::from_utf8_lossy(&answer)),
                    Err(error) => format!("{error:#}"),
                });
            }
        }
    }
}
