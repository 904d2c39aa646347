//! How much anybody may ask: of every process together, and without anybody else feeling it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use testkit::person::{Answer, Person};
use testkit::servers::Pair;
use testkit::system::{MACHINE, System, SystemConfig};
use uuid::Uuid;

/// A client at another address of this machine.
fn client_at(address: &str) -> reqwest::Client {
    let address: IpAddr = address.parse().expect("an address");
    reqwest::Client::builder().local_address(address).timeout(Duration::from_secs(15)).build().expect("a client")
}

fn number(answer: &Answer, header: &str) -> Option<u64> {
    answer.header(header)?.parse().ok()
}

#[tokio::test]
async fn every_answer_says_what_is_left() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let bare = |method: Method, path: &str| Answer::to(testkit::person::http().request(method, system.url(path)));
    for (what, answer, limit) in [
        ("a query", ann.ask(Method::GET, &format!("/api/v1/users/{}", ann.id), None).await, 1000),
        ("a command", ann.ask(Method::POST, "/api/v1/auth/logout", None).await, 200),
        ("a refusal", bare(Method::GET, "/api/v1/auth/me").await, 200),
        ("nothing there", bare(Method::GET, "/nowhere").await, 200),
        ("another method", bare(Method::PUT, "/api/v1/auth/login").await, 200),
        ("a preflight", bare(Method::OPTIONS, "/api/v1/auth/login").await, 200),
        ("health", bare(Method::GET, "/health/live").await, 200),
        ("a sign-in", bare(Method::POST, "/api/v1/auth/login").await, 100),
    ] {
        let answer = answer.expect("an answer");
        let found = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"].map(|name| number(&answer, name));
        assert!(matches!(found, [Some(most), Some(left), Some(_)] if most == limit && left <= limit), "{what}: {found:?} of {limit}");
    }
}

#[tokio::test]
async fn a_user_has_one_limit_over_all_processes_and_nobody_else_feels_it() {
    let servers = Pair::start().await;
    let config = SystemConfig::default()
        .env("DATABASE_URL", servers.postgres.url())
        .env("REDIS_URL", servers.redis.url())
        .env("POSTRIDER_LIMITS__SENDS_PER_SECOND", 1)
        .env("POSTRIDER_LIMITS__SENDS_BURST", 40);
    let (one, two) = tokio::join!(System::start(config.clone()), System::start(config));
    let (ann, bob) = (Person::register(&one, "ann").await, Person::register(&two, "bob").await);
    let there = ann.at(&two);
    let (begin, mut sent, mut refused) = (Instant::now(), 0_u32, 0_u32);
    for n in 0..120 {
        let from = if n % 2 == 0 { &ann } else { &there };
        let answer = from.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "hello")).await;
        match answer.status.as_u16() {
            200 => sent += 1,
            429 => {
                refused += 1;
                assert_eq!(answer.json()["code"], "rate_limited", "{}", answer.text);
                assert!(number(&answer, "retry-after").is_some_and(|seconds| (1..=45).contains(&seconds)), "{:?}", answer.headers);
                assert_eq!(number(&answer, "x-ratelimit-remaining"), Some(0));
            }
            other => panic!("{other}: {}", answer.text),
        }
    }
    let came_back = begin.elapsed().as_secs_f64().ceil();
    // An eighth of forty for the second process.
    assert!(f64::from(sent) >= 40.0 && f64::from(sent) <= 45.0 + came_back, "{sent} sent, {came_back} came back, {refused} refused");
    assert!(refused > 0);
    // What is sent by Bob, and everything else that Ann does, is counted apart.
    assert_eq!(bob.post("/api/v1/messages/send", Person::message(ann.id, Uuid::now_v7(), "hello")).await.status, 200);
    assert_eq!(ann.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status, 200);
    assert_eq!(ann.post("/api/v1/relay/acknowledge", json!({"message_id": Uuid::now_v7()})).await.status, 200);
    for process in [one, two] {
        drop(process);
    }
}

/// Exempt is 127.0.0.1, where everybody else lives.
async fn strict() -> System {
    let config = SystemConfig::default()
        .env("POSTRIDER_LIMITS__EXEMPT_NETWORKS", "127.0.0.1")
        .env("POSTRIDER_LIMITS__PUBLIC_PER_SECOND", 1)
        .env("POSTRIDER_LIMITS__PUBLIC_BURST", 20)
        .env("POSTRIDER_LIMITS__LOGINS_PER_MINUTE", 3);
    System::start(config).await
}

#[tokio::test]
async fn whoever_sends_bad_tokens_is_soon_not_heard_but_good_ones_from_there_are() {
    let system = strict().await;
    let ann = Person::register(&system, "ann").await;
    let flooder = client_at("127.0.0.2");
    let me = async |token: &str| Answer::to(flooder.get(system.url("/api/v1/auth/me")).bearer_auth(token)).await.expect("an answer");
    assert_eq!(me(&ann.token).await.status, 200);
    let mut statuses = Vec::new();
    for _ in 0..60 {
        statuses.push(me("a.b.c").await.status.as_u16());
    }
    assert!(statuses[..20].iter().all(|status| *status == 401), "{statuses:?}");
    assert!(statuses[40..].contains(&429), "{statuses:?}");
    assert_eq!(me(&ann.token).await.status, 200, "a token that was verified before is still heard");
    let elsewhere = client_at("127.0.0.3").get(system.url("/api/v1/auth/me")).bearer_auth("a.b.c");
    assert_eq!(Answer::to(elsewhere).await.expect("an answer").status, 401, "another address is another's");
}

#[tokio::test]
async fn sign_ins_are_counted_by_address_whatever_the_password() {
    let system = strict().await;
    let ann = Person::register(&system, "ann").await;
    let login = async |from: &str| {
        let body = json!({"email": ann.email, "password": ann.password});
        let request = client_at(from).post(system.url("/api/v1/auth/login")).json(&body);
        Answer::to(request).await.expect("an answer").status.as_u16()
    };
    let statuses = [login("127.0.0.2").await, login("127.0.0.2").await, login("127.0.0.2").await, login("127.0.0.2").await];
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(login("127.0.0.3").await, 200);
    for _ in 0..5 {
        assert_eq!(login("127.0.0.1").await, 200, "exempt");
    }
}

#[tokio::test]
async fn a_flood_from_one_address_slows_nobody_else() {
    let _machine = MACHINE.lock().await;
    let system = strict().await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let until = Instant::now() + Duration::from_secs(3);
    let floods = (0..8).map(|_| {
        let (client, url) = (client_at("127.0.0.2"), system.url("/api/v1/auth/verify-token"));
        tokio::spawn(async move {
            let (mut heard, mut refused) = (0_u32, 0_u32);
            while Instant::now() < until {
                match client.post(&url).json(&json!({"token": "a.b.c"})).send().await.expect("an answer").status().as_u16() {
                    429 => refused += 1,
                    _ => heard += 1,
                }
            }
            (heard, refused)
        })
    });
    let floods: Vec<_> = floods.collect();
    let mut slowest = Duration::ZERO;
    let mut sent = 0;
    while Instant::now() < until {
        let begin = Instant::now();
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        slowest = slowest.max(begin.elapsed());
        sent += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut heard, mut refused) = (0, 0);
    for flood in floods {
        let (some, many) = flood.await.expect("it ends");
        (heard, refused) = (heard + some, refused + many);
    }
    assert!(heard <= 30 && refused > 500, "{heard} heard, {refused} refused");
    assert!(sent > 10 && slowest < Duration::from_secs(1), "{sent} sent, the slowest in {slowest:?}");
    assert!(!system.log().contains("\"status\":429"), "a flood must not fill the log");
}
