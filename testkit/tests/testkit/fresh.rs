//! Reads after writes, with and without a token.

use std::time::{Duration, Instant};

use platform::marks::{ConsistencyToken, Mark};
use reqwest::Method;
use schemas::Topic;
use serde_json::json;
use testkit::person::{Answer, Person};
use testkit::system::{MACHINE, System};
use uuid::Uuid;

async fn get_with(who: &Person, path: &str, token: &str) -> Answer {
    Answer::to(who.request(Method::GET, path).header("X-Consistency-Token", token)).await.expect("an answer")
}

/// Every query of this slice, for somebody about somebody.
fn queries(about: &Person) -> [String; 3] {
    [format!("/api/v1/messages/conversation/{}", about.id), "/api/v1/relay/pending".into(), format!("/api/v1/users/{}", about.id)]
}

#[tokio::test]
async fn under_load_every_message_is_read_at_once_by_its_recipient_and_its_sender() {
    let _alone = MACHINE.lock().await;
    let system = System::shared().await;
    let lanes = (0..8).map(async |n| {
        let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
        for round in 0..63 {
            let id = Uuid::now_v7();
            let sent = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
            assert_eq!(sent.status, 200, "{}", sent.text);
            let (pending, theirs, ours) = tokio::join!(bob.pending(), bob.conversation(ann.id), ann.conversation(bob.id));
            assert_eq!(pending, [id], "lane {n}, round {round}");
            assert_eq!((theirs.last(), ours.last()), (Some(&id), Some(&id)), "lane {n}, round {round}");
            assert_eq!(theirs.len(), round + 1);
            let acknowledged = bob.post("/api/v1/relay/acknowledge", json!({"message_id": id})).await;
            assert_eq!(acknowledged.json()["status"], "deleted");
        }
    });
    futures::future::join_all(lanes).await;
}

#[tokio::test]
async fn somebody_who_has_just_registered_can_be_written_to_at_once() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for _ in 0..10 {
        let bob = Person::register(system, "bob").await;
        let sent = ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "hello")).await;
        assert_eq!(sent.status, 200, "{}", sent.text);
        let me = bob.get(&format!("/api/v1/users/{}", bob.id)).await;
        assert_eq!(me["id"], json!(bob.id));
    }
}

#[tokio::test]
async fn a_token_makes_anybodys_query_wait_for_what_it_names() {
    let system = System::shared().await;
    let (ann, eve) = (Person::register(system, "ann").await, Person::register(system, "eve").await);
    for _ in 0..10 {
        let unique = Uuid::now_v7().simple().to_string();
        let body = json!({"email": format!("{unique}@example.org"), "username": unique, "password": "a password"});
        let registered = ann.post("/api/v1/auth/register", body).await;
        assert_eq!(registered.status, 200, "{}", registered.text);
        let token = registered.header("x-consistency-token").expect("a registration is a write").to_owned();
        let id = registered.json()["user"]["id"].as_str().expect("an id").to_owned();
        // Eve is named by nothing here: only the token tells her query what to wait for.
        assert_eq!(get_with(&eve, &format!("/api/v1/users/{id}"), &token).await.status, 200);
    }
}

#[tokio::test]
async fn every_command_answers_with_a_token_that_every_query_takes() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let id = Uuid::now_v7();
    let mut tokens = Vec::new();
    for (who, path, body) in [
        (&ann, "/api/v1/messages/send", Person::message(bob.id, id, "hello")),
        (&ann, "/api/v1/messages/send", Person::message(bob.id, id, "hello")),
        (&ann, "/api/v1/relay/send", Person::message(bob.id, id, "hello")),
        (&ann, "/api/v1/relay/queue", Person::message(bob.id, id, "hello")),
        (&bob, "/api/v1/relay/acknowledge", json!({"message_id": id})),
        (&bob, "/api/v1/relay/acknowledge", json!({"message_id": id})),
        (&bob, "/api/v1/relay/acknowledge", json!({"message_id": Uuid::now_v7()})),
        (&ann, "/api/v1/auth/login", json!({"email": ann.email, "password": ann.password})),
        (&bob.login().await, "/api/v1/auth/logout", json!({})),
    ] {
        let answer = who.post(path, body).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        tokens.push(answer.header("x-consistency-token").unwrap_or_else(|| panic!("{path} has no token")).to_owned());
    }
    for token in &tokens {
        for path in queries(&bob) {
            let answer = get_with(&ann, &path, token).await;
            assert_eq!(answer.status, 200, "{path} with {token}: {}", answer.text);
            assert_eq!(answer.header("x-projection-behind"), None);
        }
    }
}

#[tokio::test]
async fn a_token_that_we_never_gave_is_refused() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for token in ["", "nonsense", "1.", "2.AAA", "1.!!!!", &format!("1.{}", "A".repeat(4_000))] {
        for path in queries(&ann) {
            let answer = get_with(&ann, &path, token).await;
            assert_eq!((answer.status.as_u16(), answer.json()["code"].clone()), (422, json!("consistency_token")), "{path}: {token:?}");
        }
    }
}

#[tokio::test]
async fn a_token_from_the_future_gets_503_and_when_to_come_again_in_bounded_time() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let far = |topic| Mark { topic, generation: 1, partition: 0, position: i64::MAX / 2 };
    let token = ConsistencyToken { marks: vec![far(Topic::Auth), far(Topic::Messages)], ..ConsistencyToken::default() }.encode();
    let asked = queries(&ann);
    let answers = futures::future::join_all(asked.iter().map(async |path| {
        let begin = Instant::now();
        (path, get_with(&ann, path, &token).await, begin.elapsed())
    }));
    for (path, answer, took) in answers.await {
        assert_eq!((answer.status.as_u16(), answer.json()["code"].clone()), (503, json!("projection_behind")), "{path}: {}", answer.text);
        let seconds: u64 = answer.header("retry-after").and_then(|s| s.parse().ok()).expect("seconds");
        assert!((1..=60).contains(&seconds), "{path}: {seconds}");
        assert!(took < Duration::from_secs(4), "{path} took {took:?}");
    }
    assert_eq!(ann.pending().await, Vec::<Uuid>::new(), "without it there is nothing to wait for");
    assert_eq!(ann.get("/api/v1/auth/me").await["id"], json!(ann.id));
}
