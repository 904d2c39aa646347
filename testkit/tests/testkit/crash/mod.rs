//! Nothing acknowledged is ever lost, whatever is killed.
//!
//! `POSTRIDER_TEST_KILLS=200 cargo test -p testkit --test testkit crash::` kills as often as wanted.

mod orphans;
mod points;
mod reads;
mod sabotage;

use std::time::Duration;

use rustix::process::Signal;
use testkit::kafka::Broker;
use testkit::load::{Load, violations};
use testkit::system::{System, SystemConfig, family, signal};
use testkit::wait_until;

/// How often something is killed, over both kinds of log.
fn kills() -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is said by whoever starts it")]
    std::env::var("POSTRIDER_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
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
    survives(kills().div_ceil(2), System::start(SystemConfig::default()).await, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_anything_is_killed_with_kafka_as_log() {
    let broker = Broker::start();
    let config = SystemConfig::default().env("KAFKA_BROKERS", &broker.address);
    survives(kills() / 2, System::start(config).await, Some(&broker)).await;
}

/// Kills this or that at random moments under load. After each kill new messages get their 2xx; at the end every promise is looked at, and once more after
/// everything was killed at once.
async fn survives(kills: usize, mut system: System, broker: Option<&Broker>) {
    let mut dice = Dice::new();
    let load = Load::begin(&system, 4).await;
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(dice.below(1000))).await;
        match dice.below(if broker.is_some() { 5 } else { 4 }) {
            0 => {
                system.kill();
                system.start_again();
            }
            1 => signal(server(&system, "postgres").await, Signal::KILL),
            2 => {
                let backends = family(server(&system, "postgres").await);
                let chosen = backends[usize::try_from(dice.below(backends.len() as u64)).expect("a small number")];
                signal(chosen, Signal::KILL);
            }
            3 => signal(server(&system, "redis-server").await, Signal::KILL),
            _ => {
                let broker = broker.expect("only then the die has this side");
                broker.kill();
                broker.resume();
            }
        }
        load.goes_on(4).await;
    }
    system.ready().await;
    let promises = load.end().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new());
    if let Some(broker) = broker {
        broker.kill();
        broker.resume();
    }
    system.kill();
    system.start_again();
    system.ready().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new(), "after everything was killed at once");
}

/// The process of a private server, once it runs (again).
async fn server(system: &System, name: &str) -> u32 {
    wait_until(("it runs", name), Duration::from_secs(30), async || system.server_pid(name)).await
}
