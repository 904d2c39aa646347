//! What got a 2xx is in the next read of both of its people, also while things die.
//!
//! `POSTRIDER_TEST_SOAK=60 cargo test -p testkit --test testkit what_was_acknowledged_is_read` kills as often as wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::Method;
use rustix::process::Signal;
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig, signal};
use testkit::{kafka, wait_until};
use uuid::Uuid;

use super::{Dice, server};

const WRITERS: usize = 12;

/// How often something is killed.
fn kills() -> usize {
    #[expect(clippy::disallowed_methods, reason = "how long a test runs is said by whoever starts it")]
    std::env::var("POSTRIDER_TEST_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

/// Asks until the answer is neither a broken connection nor a 503.
async fn insist(who: &Person, method: Method, path: &str, body: Option<serde_json::Value>) -> Answer {
    loop {
        match who.ask(method.clone(), path, body.clone()).await {
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => return answer,
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The newest thousand that somebody sees, when the answer does not say of itself that it may lack something.
async fn seen(who: &Person, with: &Person) -> Option<String> {
    let answer = insist(who, Method::GET, &format!("/api/v1/messages/conversation/{}?limit=1000", with.id), None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    (!answer.headers.contains_key("x-projection-behind")).then_some(answer.text)
}

/// Writes, and reads at once what was written, as one of the two and as the other in turn. What was missing, in words.
async fn write(ann: Person, bob: Person, stop: Arc<AtomicBool>, written: Arc<AtomicUsize>) -> (usize, Vec<String>) {
    let (mut missing, mut behind) = (Vec::new(), 0);
    let mut n = 0_usize;
    while !stop.load(Ordering::Relaxed) {
        let id = Uuid::now_v7();
        let sent = insist(&ann, Method::POST, "/api/v1/messages/send", Some(Person::message(bob.id, id, "text"))).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        written.fetch_add(1, Ordering::Relaxed);
        let (who, with, name) = if n.is_multiple_of(2) { (&ann, &bob, "its sender") } else { (&bob, &ann, "its recipient") };
        match seen(who, with).await {
            Some(list) if !list.contains(&id.to_string()) => missing.push(format!("{id} ({}) is not read by {name}", sent.text)),
            Some(_) => {}
            None => behind += 1,
        }
        n += 1;
    }
    (behind, missing)
}

async fn soak(config: SystemConfig) {
    let mut system = System::start(config).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let writers: Vec<_> = (0..WRITERS)
        .map(|n| {
            let (one, other) = if n % 3 == 2 { (&bob, &ann) } else { (&ann, &bob) };
            tokio::spawn(write(one.clone(), other.clone(), stop.clone(), written.clone()))
        })
        .collect();
    let goes_on = async || {
        let goal = written.load(Ordering::Relaxed) + 3 * WRITERS;
        wait_until("everybody goes on", Duration::from_secs(60), async || (written.load(Ordering::Relaxed) >= goal).then_some(())).await;
    };
    let mut dice = Dice::new();
    for _ in 0..kills() {
        goes_on().await;
        tokio::time::sleep(Duration::from_millis(dice.below(700))).await;
        match dice.below(4) {
            0 => signal(server(&system, "postgres").await, Signal::KILL),
            1 => signal(server(&system, "redis-server").await, Signal::KILL),
            _ => {
                system.kill();
                system.start_again();
            }
        }
    }
    goes_on().await;
    stop.store(true, Ordering::Relaxed);
    let (mut missing, mut behind) = (Vec::new(), 0);
    for writer in writers {
        let (late, lacking) = writer.await.expect("a writer does not panic");
        behind += late;
        missing.extend(lacking);
    }
    eprintln!("{} messages, {behind} reads that said to be behind", written.load(Ordering::Relaxed));
    assert_eq!(missing, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_while_things_die_with_the_ledger_as_log() {
    soak(SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_read_while_things_die_with_kafka_as_log() {
    let broker = tokio::task::spawn_blocking(kafka::broker).await.expect("a broker");
    soak(SystemConfig::default().kafka(broker)).await;
}
