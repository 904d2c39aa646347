//! Many clients, whatever breaks: nothing acknowledged is lost, doubled, out of order or told to the wrong one.
//!
//! In the spirit of Jepsen's kafka workload: devices of a few people write, read, acknowledge, delete, disconnect and resume at random over HTTP and sockets, while
//! processes, Postgres and Redis are killed, paused, emptied and set back. Everything that they ask and are told becomes a history, which `checker` holds against
//! the promises. `script/faults` runs it for as long as wanted.

mod by_hand;
mod checker;
mod client;
mod dice;
mod history;
mod line;
mod plan;
pub mod redis;
mod rig;
mod run;
mod sabotage;

use std::time::Duration;

use testkit::system::SystemConfig;

use run::Run;

/// What is said by whoever starts a run.
fn said(variable: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs, and with which seed, is said by whoever starts it")]
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// A run of so many seconds, with the seed that was given or a new one.
fn run(processes: usize, seconds: u64) -> Run {
    let seed = said("POSTRIDER_TEST_SEED").unwrap_or_else(|| uuid::Uuid::now_v7().as_u64_pair().1 & 0xFFFF_FFFF);
    eprintln!("POSTRIDER_TEST_SEED={seed}");
    // Shorter than some pauses: whoever stands still is replaced meanwhile.
    let config = SystemConfig::default().env("POSTRIDER_PROJECTIONS__STALLED_AFTER_SECONDS", 3);
    let (length, settling) = (Duration::from_secs(seconds), Duration::from_secs(20));
    Run { seed, length, processes, people: 4, devices: 2, blows: true, settling, config }
}

async fn keeps_its_promises(run: Run) {
    let found = run.found().await;
    assert!(found.is_empty(), "{}", found.iter().take(20).map(|violation| format!("{violation}\n")).collect::<String>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_promise_is_broken_while_one_process_and_its_servers_break() {
    keeps_its_promises(run(1, 30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_promise_is_broken_while_two_processes_and_their_servers_break() {
    keeps_its_promises(run(2, 30)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "as long as wanted: script/faults"]
async fn no_promise_is_broken_for_as_long_as_wanted() {
    let seconds = said("POSTRIDER_TEST_SECONDS").unwrap_or(300);
    let processes = usize::try_from(said("POSTRIDER_TEST_PROCESSES").unwrap_or(2)).expect("a small number");
    keeps_its_promises(run(processes, seconds)).await;
}
