//! `Idempotency-Key` and `message_id`: the first answer, whatever comes in between.

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

const SEND: &str = "/api/v1/messages/send";
const ACKNOWLEDGE: &str = "/api/v1/relay/acknowledge";

async fn post(who: &Person, path: &str, key: &str, body: &Value) -> Answer {
    Answer::to(who.request(Method::POST, path).header("Idempotency-Key", key).json(body)).await.expect("an answer")
}

fn nameless(to: &Person, content: &str) -> Value {
    json!({"recipient_id": to.id, "encrypted_content": content, "encrypted_session_key": "k"})
}

#[tokio::test]
async fn an_acknowledgement_with_a_key_is_replayed_and_another_body_is_refused() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
    for id in [one, two] {
        assert_eq!(ann.post(SEND, Person::message(bob.id, id, "hello")).await.status, 200);
    }
    let first = post(&bob, ACKNOWLEDGE, "k", &json!({"message_id": one})).await;
    assert_eq!((first.status.as_u16(), first.json()["status"].clone()), (200, json!("deleted")));
    let again = post(&bob, ACKNOWLEDGE, "k", &json!({"message_id": one})).await;
    assert_eq!((again.status, again.json()), (first.status, first.json()));
    for other in [two, Uuid::now_v7()] {
        let refused = post(&bob, ACKNOWLEDGE, "k", &json!({"message_id": other})).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].clone()), (422, json!("idempotency_mismatch")), "{}", refused.text);
    }
    assert_eq!(bob.pending().await, [two], "what was refused changed nothing");
}

#[tokio::test]
async fn a_key_belongs_to_its_user_and_to_the_route_and_body_that_it_came_with() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let first = post(&ann, SEND, "k", &nameless(&bob, "hello")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for (path, body) in [("/api/v1/relay/send", nameless(&bob, "hello")), (ACKNOWLEDGE, json!({"message_id": Uuid::now_v7()}))] {
        let refused = post(&ann, path, "k", &body).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].clone()), (422, json!("idempotency_mismatch")), "{path}");
    }
    // The same key of somebody else is another key.
    let theirs = post(&bob, SEND, "k", &nameless(&ann, "hello")).await;
    assert_eq!(theirs.status, 200);
    assert_ne!(theirs.json()["id"], first.json()["id"]);
    assert_eq!((ann.pending().await.len(), bob.pending().await.len()), (1, 1));
}

#[tokio::test]
async fn many_at_once_with_one_key_are_one_message_and_one_answer() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let body = nameless(&bob, "hello");
    let answers = futures::future::join_all((0..20).map(|_| post(&ann, SEND, "k", &body))).await;
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.json()), (200, answers[0].json()));
    }
    assert_eq!(bob.pending().await.len(), 1);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_and_changes_nothing() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    for key in ["", "with space", "ümlaut", &"k".repeat(256)] {
        let request = ann.request(Method::POST, SEND).header("Idempotency-Key", key).json(&nameless(&bob, "hello"));
        assert_eq!(Answer::to(request).await.expect("an answer").status, 422, "{key:?}");
    }
    let two = ann.request(Method::POST, SEND).header("Idempotency-Key", "a").header("Idempotency-Key", "b").json(&nameless(&bob, "hello"));
    assert_eq!(Answer::to(two).await.expect("an answer").status, 422);
    assert_eq!(bob.pending().await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn an_answer_with_tokens_is_never_given_twice() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let body = json!({"email": ann.email, "password": ann.password});
    let (one, two) = (post(&ann, "/api/v1/auth/login", "k", &body).await, post(&ann, "/api/v1/auth/login", "k", &body).await);
    assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200));
    for token in ["access_token", "refresh_token"] {
        assert_ne!(one.json()[token], two.json()[token]);
    }
}

#[tokio::test]
async fn a_logout_with_a_key_is_replayed_and_another_body_is_refused() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for _ in 0..2 {
        let answer = post(&ann, "/api/v1/auth/logout", "k", &json!({})).await;
        assert_eq!((answer.status.as_u16(), answer.json()), (200, json!({"status": "logged_out"})));
    }
    let other = post(&ann, "/api/v1/auth/logout", "k", &json!({"refresh_token": "another"})).await;
    assert_eq!((other.status.as_u16(), other.json()["code"].clone()), (422, json!("idempotency_mismatch")), "{}", other.text);
}

#[tokio::test]
async fn what_was_answered_once_is_answered_again_though_it_would_be_refused_now() {
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let id = Uuid::now_v7();
    let minted = ann.post(SEND, Person::message(bob.id, id, "minted")).await;
    let relayed = ann.post("/api/v1/relay/send", Person::message(bob.id, id, "minted")).await;
    let keyed = post(&ann, SEND, "k", &nameless(&bob, "keyed")).await;
    assert_eq!((minted.status.as_u16(), relayed.status.as_u16(), keyed.status.as_u16()), (200, 200, 200));

    // The recipient is nobody any more, as far as this service knows; a process that has just started remembers nobody either.
    let mut database = system.postgres("message_db").await;
    let gone = sqlx::query("DELETE FROM people.people WHERE user_id = $1").bind(bob.id).execute(&mut database).await.expect("a row");
    assert_eq!(gone.rows_affected(), 1);
    database.close().await.expect("closed");
    system.stop().await;
    system.start_again();
    system.ready().await;

    assert_eq!(ann.post(SEND, Person::message(bob.id, Uuid::now_v7(), "new")).await.status, 404, "a new one is refused");
    for (first, again) in [
        (&minted, ann.post(SEND, Person::message(bob.id, id, "minted")).await),
        (&relayed, ann.post("/api/v1/relay/send", Person::message(bob.id, id, "minted")).await),
        (&keyed, post(&ann, SEND, "k", &nameless(&bob, "keyed")).await),
    ] {
        assert_eq!((again.status, again.json()), (first.status, first.json()));
    }
    let other = ann.post(SEND, Person::message(bob.id, id, "other content")).await;
    assert_eq!(other.status, 409, "the id stands for something else, known recipient or not: {}", other.text);
    let other = post(&ann, SEND, "k", &nameless(&bob, "other content")).await;
    assert_eq!(other.status, 422, "{}", other.text);
}
