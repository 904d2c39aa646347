//! Nothing acknowledged is ever lost, whatever is killed.
//!
//! `POSTRIDER_TEST_KILLS=200 cargo test -p testkit --test testkit crash::` kills as often as wanted.

use std::time::Duration;

use rustix::process::Signal;
use testkit::kafka;
use testkit::load::{Load, violations};
use testkit::system::{System, SystemConfig, signal};

fn kills() -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is said by whoever starts it")]
    std::env::var("POSTRIDER_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20)
}

/// A small generator with a printed seed, so that a failing order of kills can be run again.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "a failing run is repeated with its seed")]
        let seed = std::env::var("POSTRIDER_TEST_SEED")
            .ok()
            .and_then(|s| s.parse().ok())
            .unwrap_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1 | 1);
        eprintln!("POSTRIDER_TEST_SEED={seed}");
        Self(seed)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_anything_is_killed_with_the_ledger_as_log() {
    let mut system = System::start(SystemConfig::default()).await;
    let mut dice = Dice::new();
    let load = Load::begin(&system, 4).await;
    for _ in 0..kills() {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(900))).await;
        match dice.below(3) {
            0 => {
                system.kill();
                system.start_again();
            }
            1 => kill_server(&system, "postgres"),
            _ => kill_server(&system, "redis-server"),
        }
        system.ready().await;
    }
    let promises = load.end().await;
    assert!(promises.iter().map(|(.., p)| p.sent.len()).sum::<usize>() > 50, "the load got through");
    assert_eq!(violations(&promises).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_anything_is_killed_with_kafka_as_log() {
    let broker = kafka::Broker::start();
    let mut system = System::start(SystemConfig::default().env("KAFKA_BROKERS", &broker.address)).await;
    let mut dice = Dice::new();
    let load = Load::begin(&system, 4).await;
    for _ in 0..kills().div_ceil(2) {
        tokio::time::sleep(Duration::from_millis(100 + dice.below(900))).await;
        match dice.below(4) {
            0 => {
                system.kill();
                system.start_again();
            }
            1 => kill_server(&system, "postgres"),
            2 => kill_server(&system, "redis-server"),
            _ => {
                broker.kill();
                broker.resume();
            }
        }
        system.ready().await;
    }
    let promises = load.end().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new());
}

fn kill_server(system: &System, name: &str) {
    if let Some(pid) = system.server_pid(name) {
        signal(pid, Signal::KILL);
    }
}

/// Runs under load until the process dies at the point, starts it again without the point, and checks every promise.
async fn dies_at(point: &str, config: SystemConfig) {
    let mut system = System::start(config).await;
    let load = Load::begin(&system, 3).await;
    system.kill();
    system.config = system.config.clone().env("POSTRIDER_CRASH_POINT", format!("{point}:20"));
    system.start_again();
    testkit::wait_until(format!("the process dies at {point}"), Duration::from_secs(60), async || system.exit_status()).await;
    system.config.env.retain(|(name, _)| name != "POSTRIDER_CRASH_POINT");
    system.start_again();
    system.ready().await;
    let promises = load.end().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new(), "after dying at {point}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_commit_and_before_the_answer_loses_and_doubles_nothing() {
    dies_at("ledger.after_commit", SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_two_projections_of_one_batch_loses_and_doubles_nothing() {
    dies_at("projection.conversations.after_commit", SystemConfig::default()).await;
    dies_at("projection.relay.after_commit", SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_brokers_acknowledgement_and_the_cursor_loses_and_doubles_nothing() {
    let broker = kafka::Broker::start();
    dies_at("publisher.after_ack", SystemConfig::default().env("KAFKA_BROKERS", &broker.address)).await;
}
