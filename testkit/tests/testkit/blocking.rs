//! Who has blocked somebody hears nothing of them any more, from the moment of the answer on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::servers::Pair;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

const ROUTES: [&str; 3] = ["/api/v1/messages/send", "/api/v1/relay/send", "/api/v1/relay/queue"];

async fn block(who: &Person, whom: &Person) {
    let answer = who.ask(Method::POST, &format!("/api/v1/contacts/{}/block", whom.id), None).await.expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text);
}

async fn unblock(who: &Person, whom: &Person) {
    let answer = who.ask(Method::DELETE, &format!("/api/v1/contacts/{}/block", whom.id), None).await.expect("an answer");
    assert_eq!(answer.status, 204, "{}", answer.text);
}

async fn send(from: &Person, path: &str, to: &Person) -> (u16, Value) {
    let answer = from.post(path, Person::message(to.id, Uuid::now_v7(), "hello")).await;
    (answer.status.as_u16(), answer.json()["code"].clone())
}

#[tokio::test]
async fn a_block_closes_every_way_in_both_directions_until_it_is_lifted() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let (id, key) = (Uuid::now_v7(), "a-key");
    let letter = Person::message(bob.id, id, "before");
    let with_key = async || {
        let request = bob.request(Method::POST, "/api/v1/messages/send").header("idempotency-key", key);
        let body = json!({"recipient_id": ann.id, "encrypted_content": "x", "encrypted_session_key": "k"});
        let answer = Answer::to(request.json(&body)).await.expect("an answer");
        (answer.status.as_u16(), answer.json())
    };
    let (first, keyed) = (ann.post(ROUTES[0], letter.clone()).await.json(), with_key().await);
    assert_eq!(keyed.0, 200);
    let waiting = (ann.pending().await, bob.pending().await);
    block(&ann, &bob).await;
    block(&ann, &bob).await;
    for path in ROUTES {
        assert_eq!(send(&bob, path, &ann).await, (403, json!("blocked")), "{path}");
        assert_eq!(send(&ann, path, &bob).await, (403, json!("blocked")), "{path}");
        assert_eq!(send(&eve, path, &ann).await.0, 200, "others are not concerned");
    }
    assert_eq!(ann.post(ROUTES[0], letter.clone()).await.json(), first, "a repeat gets the first answer");
    assert_eq!(with_key().await, keyed);
    assert_eq!(bob.pending().await, waiting.1);
    assert_eq!(ann.pending().await[..waiting.0.len()], waiting.0);

    // Each lifts their own only.
    unblock(&bob, &ann).await;
    assert_eq!(send(&bob, ROUTES[0], &ann).await.0, 403);
    block(&bob, &ann).await;
    unblock(&ann, &bob).await;
    assert_eq!(send(&ann, ROUTES[0], &bob).await.0, 403, "the other one's stands");
    unblock(&bob, &ann).await;
    unblock(&bob, &ann).await;
    for path in ROUTES {
        assert_eq!((send(&bob, path, &ann).await.0, send(&ann, path, &bob).await.0), (200, 200), "{path}");
    }

    let refused = async |whom: Uuid| {
        let answer = ann.post(&format!("/api/v1/contacts/{whom}/block"), json!({})).await;
        (answer.status.as_u16(), answer.json()["code"].clone())
    };
    assert_eq!(refused(ann.id).await, (400, json!("yourself")));
    assert_eq!(refused(Uuid::now_v7()).await, (404, json!("user_unknown")));
}

/// Longer than the time in which a process that has just started waits for heads instead of marks: both ways are walked.
const LONG: Duration = Duration::from_secs(36);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_that_begins_after_the_answer_is_refused_at_every_process() {
    let servers = Pair::start().await;
    let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
    let (one, two) = tokio::join!(System::start(config.clone()), System::start(config));
    let (ann, bob) = (Person::register(&one, "ann").await, Person::register(&two, "bob").await);
    let began = Instant::now();
    let mut rounds = 0;
    while began.elapsed() < LONG || rounds < 10 {
        let (here, there) = if rounds % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let (blocker, blocked) = if rounds % 4 < 2 { (ann.at(here), bob.at(there)) } else { (bob.at(here), ann.at(there)) };
        let path = ROUTES[rounds % 3];
        assert_eq!(send(&blocked, path, &blocker).await.0, 200, "round {rounds}");

        // Somebody who does not stop.
        let (sender, to) = (blocked.clone(), blocker.clone());
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let flood = tokio::spawn(async move {
            let mut sent = Vec::new();
            while stopped.try_recv().is_err() {
                sent.push((Instant::now(), send(&sender, path, &to).await.0));
            }
            sent
        });
        block(&blocker, &blocked).await;
        let answered = Instant::now();
        for way in ROUTES {
            assert_eq!(send(&blocked, way, &blocker).await.0, 403, "round {rounds}");
            assert_eq!(send(&blocked.at(here), way, &blocker).await.0, 403, "round {rounds}");
        }
        assert_eq!(send(&blocker, path, &blocked).await.0, 403, "round {rounds}");
        let _ = stop.send(());
        for (at, status) in flood.await.expect("it ends") {
            assert!([200, 403].contains(&status), "round {rounds}: {status}");
            assert!(status == 403 || at < answered, "round {rounds}: a send that began {:?} after the block's answer", at - answered);
        }
        unblock(&blocker, &blocked).await;
        assert_eq!(send(&blocked, path, &blocker).await.0, 200, "round {rounds}");
        rounds += 1;
    }
}
