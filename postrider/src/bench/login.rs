//! `postrider bench login`.

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use command_services::auth::Hasher;
use futures::future::{join_all, try_join_all};
use hyper::Method;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::pairs;
use super::processes::{Part, cpu_seconds, usage};
use super::report::percentile;
use super::send::{self, Sent};
use super::target::Target;
use super::{TargetOptions, print};
use crate::client::Client;

/// Hashes made here between turns of logins, to compare a login with; and how long such a turn is.
const HASHES: u32 = 16;
const TURN: Duration = Duration::from_secs(1);
/// Messages per second, in the storm and before it.
const SENDS: f64 = 100.0;

/// What a login costs beside its password hash, and what a storm of logins does to those who write.
///
/// First one login after another; then messages at an even pace, alone and while `--storm` people log in at once. The hash that logins are compared with is made by this very program, in turns with them.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// How long to log in, one after another, and to hash in between.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// So many at once in the storm.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    storm: u32,
    /// Longest that anybody may wait for an answer of any kind.
    #[arg(long, value_name = "SECONDS", default_value_t = 12)]
    bound: u64,
}

/// Figures of one run. CPU over all processes.
#[derive(Debug, Serialize)]
struct Figures {
    logins: u64,
    login_p50_ms: f64,
    login_p99_ms: f64,
    cpu_ms_per_login: f64,
    cpu_ms_per_hash: f64,
    /// Login : hash.
    ratio: f64,
    sends_alone_p99_ms: f64,
    sends_in_storm_p99_ms: f64,
    storm_seconds: f64,
    storm_signed_in: usize,
    storm_told_to_come_again: usize,
    storm_longest_wait_ms: f64,
}

impl Figures {
    fn table(&self) -> String {
        format!(
            "logins               {:>10}   one after another\n  p50                {:>10.2} ms\n  p99                {:>10.2} ms\n  CPU                {:>10.2} ms   {:.2} × one hash ({:.2} ms)\n\
             sends                {SENDS:>10} /s\n  p99 alone          {:>10.2} ms\n  p99 in the storm   {:>10.2} ms\n\
             storm                {:>10.1} s    {} signed in, {} told to come again (503)\n  longest wait       {:>10.0} ms\n",
            self.logins,
            self.login_p50_ms,
            self.login_p99_ms,
            self.cpu_ms_per_login,
            self.ratio,
            self.cpu_ms_per_hash,
            self.sends_alone_p99_ms,
            self.sends_in_storm_p99_ms,
            self.storm_seconds,
            self.storm_signed_in,
            self.storm_told_to_come_again,
            self.storm_longest_wait_ms
        )
    }
}

/// Runs it.
pub async fn run(options: Options) -> Result<()> {
    let target = Target::open(&options.target).await?;
    let figures = measure(&options, &target).await;
    target.close().await?;
    let figures = figures?;
    print(options.target.json, &figures, &figures.table())?;
    Ok(())
}

async fn measure(options: &Options, target: &Target) -> Result<Figures> {
    let registering = options.target.bar(0, "registering");
    let run = Uuid::now_v7().simple().to_string();
    let mut people = pairs::register(&target.url, &run, 4, &registering).await?;
    registering.finish_and_clear();

    // In turns, since a core is not equally fast all the time.
    let (mut latencies, mut cpu, mut hashes) = (Vec::new(), 0.0, Vec::new());
    let mut client = Client::new(&target.url)?;
    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        hashes.push(cpu_of_a_hash().await?);
        let (before, turn) = (target.usage(), Instant::now() + TURN);
        while Instant::now() < turn {
            let begin = Instant::now();
            let n = u32::try_from(latencies.len()).unwrap_or_default() % 8;
            let (status, answer) = login(&mut client, &run, n).await?;
            ensure!(status == 200, "a login answered {status}: {}", String::from_utf8_lossy(&answer));
            latencies.push(micros(begin.elapsed()));
        }
        cpu += cpu_seconds(&before, &target.usage());
    }
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let hash = hashes.iter().sum::<f64>() / hashes.len() as f64;
    latencies.sort_unstable();

    let alone = sends(&mut people, Duration::from_secs(5)).await?;
    let storm = tokio::spawn(storm(target.url.clone(), run, options.storm, Duration::from_secs(options.bound)));
    // Sends go on until the last login has its answer, in slices.
    let (mut during, begin) = (Vec::new(), Instant::now());
    while !storm.is_finished() {
        during.extend(sends(&mut people, Duration::from_millis(500)).await?);
    }
    let storm_seconds = begin.elapsed().as_secs_f64();
    let waits = storm.await??;
    during.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "a display figure")]
    let logins = latencies.len() as f64;
    let cpu_ms_per_login = cpu * 1000.0 / logins;
    Ok(Figures {
        logins: latencies.len() as u64,
        login_p50_ms: percentile(&latencies, 50.0),
        login_p99_ms: percentile(&latencies, 99.0),
        cpu_ms_per_login,
        cpu_ms_per_hash: hash,
        ratio: cpu_ms_per_login / hash,
        sends_alone_p99_ms: percentile(&alone, 99.0),
        sends_in_storm_p99_ms: percentile(&during, 99.0),
        storm_seconds,
        storm_signed_in: waits.iter().filter(|(status, _)| *status == 200).count(),
        storm_told_to_come_again: waits.iter().filter(|(status, _)| *status == 503).count(),
        storm_longest_wait_ms: waits.iter().map(|(_, wait)| wait.as_secs_f64() * 1000.0).fold(0.0, f64::max),
    })
}

async fn login(client: &mut Client, run: &str, n: u32) -> Result<(u16, axum::body::Bytes)> {
    let body = json!({ "email": pairs::email(run, n), "password": pairs::PASSWORD });
    client.request(Method::POST, "/api/v1/auth/login", Some(body.to_string())).await
}

/// Everybody at once, each on a connection of their own; status and wait of each.
async fn storm(url: String, run: String, people: u32, bound: Duration) -> Result<Vec<(u16, Duration)>> {
    let logins = (0..people).map(|n| {
        let (url, run) = (url.clone(), run.clone());
        async move {
            let begin = Instant::now();
            let (status, answer) = login(&mut Client::new(&url)?, &run, n % 8).await?;
            let wait = begin.elapsed();
            ensure!(matches!(status, 200 | 503), "a login answered {status}: {}", String::from_utf8_lossy(&answer));
            ensure!(wait <= bound, "somebody waited {wait:?} for {status}");
            Ok((status, wait))
        }
    });
    join_all(logins).await.into_iter().collect()
}

/// Latencies of an even stream of messages, sorted.
async fn sends(people: &mut [pairs::Pair], how_long: Duration) -> Result<Vec<u32>> {
    let (due, begin) = (AtomicU64::new(0), Instant::now());
    let senders = people.iter_mut().map(|pair| {
        let due = &due;
        async move { Ok::<Sent, anyhow::Error>(send::send_until(pair, begin, begin + how_long, Some(SENDS), due, 600).await) }
    });
    let mut latencies = Vec::new();
    for sent in try_join_all(senders).await? {
        ensure!(sent.errors == 0, "a message was refused: {}", sent.first_error.unwrap_or_default());
        latencies.extend(sent.latencies_us);
    }
    latencies.sort_unstable();
    Ok(latencies)
}

/// Milliseconds of CPU that one hash takes here and now.
async fn cpu_of_a_hash() -> Result<f64> {
    let hasher = Hasher::new(1, 4, Duration::from_secs(60));
    let cpu = || usage(std::process::id(), false).get(&Part::Postrider).copied().unwrap_or_default().cpu_seconds;
    let before = cpu();
    for _ in 0..HASHES {
        hasher.hash(pairs::PASSWORD.to_owned()).await?;
    }
    Ok((cpu() - before) * 1000.0 / f64::from(HASHES))
}

fn micros(elapsed: Duration) -> u32 {
    u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX)
}
