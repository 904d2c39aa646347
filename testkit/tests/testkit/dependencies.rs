//! What is down is said to be down, in bounded time, and comes back without a restart.

use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use testkit::person::Person;
use testkit::system::{System, SystemConfig, signal};
use testkit::wait_until;
use uuid::Uuid;

#[tokio::test]
async fn while_postgres_hangs_every_route_answers_503_in_bounded_time_and_recovers_by_itself() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let postgres = system.server_pid("postgres").expect("a private Postgres");
    for pid in family(postgres) {
        signal(pid, Signal::STOP);
    }
    let begin = Instant::now();
    let id = Uuid::now_v7();
    while begin.elapsed() < Duration::from_secs(10) {
        for (method, path, body) in [
            (Method::POST, "/api/v1/messages/send".to_owned(), Some(Person::message(bob.id, id, "hello"))),
            (Method::GET, format!("/api/v1/messages/conversation/{}", bob.id), None),
            (Method::GET, "/api/v1/relay/pending".to_owned(), None),
        ] {
            let asked = Instant::now();
            let answer = ann.ask(method, &path, body).await.expect("an answer, not a hang");
            assert_eq!(answer.status, 503, "{path}: {}", answer.text);
            assert!(answer.headers.contains_key("retry-after"), "{path}");
            assert!(asked.elapsed() < Duration::from_secs(8), "{path} took {:?}", asked.elapsed());
        }
    }
    for pid in family(postgres) {
        signal(pid, Signal::CONT);
    }
    let answer = wait_until("a send succeeds again", Duration::from_secs(20), async || {
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(bob.conversation(ann.id).await, [id], "tried again and again, it is one message");
}

#[tokio::test]
async fn while_redis_is_away_sends_go_on_and_reads_stay_right() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let redis = system.server_pid("redis-server").expect("a private Redis");
    signal(redis, Signal::STOP);
    let begin = Instant::now();
    let mut sent = Vec::new();
    while begin.elapsed() < Duration::from_secs(10) {
        let id = Uuid::now_v7();
        let asked = Instant::now();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(asked.elapsed() < Duration::from_secs(2), "a send took {:?}", asked.elapsed());
        sent.push(id);
        assert_eq!(bob.conversation(ann.id).await, sent, "reads after writes hold without Redis");
    }
    signal(redis, Signal::CONT);
    let id = Uuid::now_v7();
    ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
    sent.push(id);
    assert_eq!(bob.pending().await, sent);
}

#[tokio::test]
async fn while_the_broker_is_away_sends_go_on_and_the_lag_is_worked_off() {
    let mut broker = testkit::kafka::Broker::start().await;
    let system = System::start(SystemConfig::default().env("KAFKA_BROKERS", broker.address())).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    broker.kill().await;
    let mut sent = Vec::new();
    for _ in 0..50 {
        let id = Uuid::now_v7();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        sent.push(id);
    }
    broker.restart().await;
    wait_until("the lag is worked off", Duration::from_secs(60), async || (bob.pending().await == sent).then_some(())).await;
    assert_eq!(ann.conversation(bob.id).await, sent);
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|p| p.parse().ok())).collect()
}
