//! What is down is said to be down, in bounded time, and comes back without a restart.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::load::{Load, violations};
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig, family, signal};
use testkit::wait_until;
use uuid::Uuid;

/// How long any answer may take, whatever is down.
const BOUND: Duration = Duration::from_secs(8);

/// Every route that a person uses, in a form that would succeed.
fn routes(bob: &Person, id: Uuid) -> Vec<(Method, String, Option<Value>)> {
    let message = Person::message(bob.id, id, "hello");
    let name = Uuid::now_v7().simple().to_string();
    let account = json!({"email": format!("eve.{name}@example.org"), "username": format!("eve-{name}"), "password": "a password"});
    let post = |path: &str, body: &Value| (Method::POST, path.to_owned(), Some(body.clone()));
    let get = |path: &str| (Method::GET, path.to_owned(), None);
    vec![
        post("/api/v1/auth/register", &account),
        post("/api/v1/auth/login", &json!({"email": bob.email, "password": bob.password})),
        get("/api/v1/auth/me"),
        post("/api/v1/messages/send", &message),
        post("/api/v1/relay/send", &message),
        post("/api/v1/relay/queue", &message),
        get(&format!("/api/v1/messages/conversation/{}", bob.id)),
        get("/api/v1/relay/pending"),
        post("/api/v1/relay/acknowledge", &json!({"message_id": id})),
        (Method::DELETE, format!("/api/v1/relay/{id}"), None),
        get(&format!("/api/v1/users/{}", bob.id)),
    ]
}

/// Asks all of them at once, and holds each to the bound.
async fn ask_all(who: &Person, routes: Vec<(Method, String, Option<Value>)>) -> Vec<(String, Answer)> {
    join_all(routes.into_iter().map(async |(method, path, body)| {
        let asked = Instant::now();
        let answer = who.ask(method, &path, body).await.expect("an answer, not a hang");
        assert!(asked.elapsed() < BOUND, "{path} took {:?}", asked.elapsed());
        (path, answer)
    }))
    .await
}

fn is_503(path: &str, answer: &Answer) {
    assert_eq!(answer.status, 503, "{path}: {}", answer.text);
    assert!(answer.headers.contains_key("retry-after"), "{path}");
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgres_hangs_every_route_answers_503_in_bounded_time_and_recovers_by_itself() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let load = Load::begin(&system, 2).await;
    load.goes_on(10).await;
    let postgres = system.server_pid("postgres").expect("a private Postgres");
    let stopped = family(postgres);
    stopped.iter().for_each(|pid| signal(*pid, Signal::STOP));
    let begin = Instant::now();
    let id = Uuid::now_v7();
    while begin.elapsed() < Duration::from_secs(10) {
        for (path, answer) in ask_all(&ann, routes(&bob, id)).await {
            is_503(&path, &answer);
        }
        // What needs no Postgres goes on.
        let verified = ann.post("/api/v1/auth/verify-token", json!({"token": ann.token})).await;
        assert_eq!(verified.status, 200, "{}", verified.text);
        ann.get("/health/live").await;
    }
    stopped.iter().for_each(|pid| signal(*pid, Signal::CONT));
    wait_until("a send succeeds again", Duration::from_secs(20), async || {
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(bob.conversation(ann.id).await, [id], "tried again and again, it is one message");
    for (path, answer) in ask_all(&ann, routes(&bob, id)).await {
        assert!(answer.status.is_success(), "{path}: {}", answer.text);
    }
    load.goes_on(10).await;
    assert_eq!(violations(&load.end().await).await, Vec::<String>::new());
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
async fn when_redis_is_away_beyond_the_grace_nobody_is_taken_for_a_stranger() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_AUTH__REVOCATION_GRACE_SECONDS", 2)).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let redis = system.server_pid("redis-server").expect("a private Redis");
    signal(redis, Signal::STOP);
    let id = Uuid::now_v7();
    // Whoever is asked within the grace answers as ever; beyond it, that he cannot know: never that the token is bad.
    wait_until("the grace has passed", Duration::from_secs(10), async || {
        let answer = ann.ask(Method::GET, "/api/v1/relay/pending", None).await.expect("an answer");
        assert!(answer.status == 200 || answer.status == 503, "{}", answer.text);
        (answer.status == 503).then_some(())
    })
    .await;
    for (path, answer) in ask_all(&ann, routes(&bob, id)).await {
        if !["/api/v1/auth/register", "/api/v1/auth/login"].contains(&path.as_str()) {
            is_503(&path, &answer);
        }
    }
    signal(redis, Signal::CONT);
    wait_until("it goes on by itself", Duration::from_secs(10), async || {
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(bob.conversation(ann.id).await, [id]);
}

#[tokio::test]
async fn while_the_broker_is_away_sends_go_on_and_the_lag_is_seen_and_worked_off() {
    const LAG: &str = r#"publisher_lag_events{topic="messages"}"#;
    let broker = testkit::kafka::Broker::start();
    let system = System::start(SystemConfig::default().env("KAFKA_BROKERS", &broker.address)).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let mut sent = Vec::new();
    let mut send = async || {
        let id = Uuid::now_v7();
        let asked = Instant::now();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(asked.elapsed() < Duration::from_secs(3), "a send took {:?}", asked.elapsed());
        sent.push(id);
    };
    // That both exist has to be known to the messages service before its source goes away.
    send().await;
    broker.kill();
    let mut seen = 0.0;
    for _ in 0..2 {
        for _ in 0..25 {
            send().await;
        }
        seen =
            wait_until("the lag grows", Duration::from_secs(10), async || system.metric(LAG).await.filter(|lag| *lag >= seen + 25.0)).await;
    }
    broker.resume();
    wait_until("the lag is worked off", Duration::from_secs(60), async || (system.metric(LAG).await? == 0.0).then_some(())).await;
    wait_until("everything waits", Duration::from_secs(30), async || (bob.pending().await == sent).then_some(())).await;
    assert_eq!(ann.conversation(bob.id).await, sent);
}

/// Needs the right to mount (the suite runs as root in CI); says so where it has not.
#[tokio::test]
async fn with_a_full_disk_sends_answer_503_lose_nothing_and_go_on_when_there_is_room() {
    let mut system = System::prepare(SystemConfig::default());
    let data = system.directory.join("data");
    std::fs::create_dir_all(&data).expect("a directory");
    let mounted =
        std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=400m,mode=0755", "tmpfs"]).arg(&data).output().expect("mount");
    if !mounted.status.success() {
        eprintln!("left out: a small file system cannot be mounted here: {}", String::from_utf8_lossy(&mounted.stderr));
        return;
    }
    let _unmount = Unmount(data.clone());
    system.start_again();
    system.ready().await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let ballast = data.join("ballast");
    fill(&ballast);
    let (mut sent, mut refused) = (Vec::new(), 0);
    let begin = Instant::now();
    while refused < 20 && begin.elapsed() < Duration::from_secs(60) {
        let id = Uuid::now_v7();
        let asked = Instant::now();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, &"x".repeat(100_000))).await;
        assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
        match answer.status.as_u16() {
            200 => sent.push(id),
            503 => refused += 1,
            other => panic!("{other}: {}", answer.text),
        }
    }
    assert!(refused >= 20, "the disk was full");
    std::fs::remove_file(&ballast).expect("room again");
    let id = Uuid::now_v7();
    wait_until("sends go on", Duration::from_secs(60), async || {
        (ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await.status == 200).then_some(())
    })
    .await;
    sent.push(id);
    let history = wait_until("the history is whole", Duration::from_secs(30), async || {
        let answer = bob.ask(Method::GET, &format!("/api/v1/messages/conversation/{}", ann.id), None).await.ok()?;
        let history: Vec<String> = answer.json().as_array()?.iter().filter_map(|m| m["id"].as_str().map(str::to_owned)).collect();
        sent.iter().all(|id| history.contains(&id.to_string())).then_some(history)
    })
    .await;
    assert!(history.windows(2).all(|w| w[0] != w[1]));
    system.stop().await;
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn fill(path: &std::path::Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).expect("a file");
    let block = vec![0_u8; 1 << 20];
    while file.write_all(&block).is_ok() {}
}
