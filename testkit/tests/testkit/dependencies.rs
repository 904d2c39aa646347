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
    let broker = testkit::kafka::Broker::start();
    let system = System::start(SystemConfig::default().env("KAFKA_BROKERS", &broker.address)).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    broker.kill();
    let mut sent = Vec::new();
    for _ in 0..50 {
        let id = Uuid::now_v7();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        sent.push(id);
    }
    broker.resume();
    wait_until("the lag is worked off", Duration::from_secs(60), async || (bob.pending().await == sent).then_some(())).await;
    assert_eq!(ann.conversation(bob.id).await, sent);
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|p| p.parse().ok())).collect()
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
