//! One id, from the request to the last projection.

use serde_json::{Value, json};
use std::time::Duration;
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

#[tokio::test]
async fn a_request_id_goes_from_the_request_through_the_event_to_every_projection() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_TELEMETRY__LOG", "debug")).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let (id, trace) = (format!("Test.{}", Uuid::now_v7().simple()), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let message = Uuid::now_v7();
    let request = ann.request(reqwest::Method::POST, "/api/v1/messages/send").header("X-Request-Id", &id).header("traceparent", trace);
    let sent = Answer::to(request.json(&Person::message(bob.id, message, "hello"))).await.expect("an answer");
    assert_eq!((sent.status.as_u16(), sent.header("x-request-id")), (200, Some(id.as_str())));
    assert_eq!(bob.pending().await, [message]);

    let mut database = system.postgres("message_db").await;
    let metadata: (Value,) = sqlx::query_as("SELECT metadata FROM messages_ledger.events WHERE aggregate_id = $1")
        .bind(message.to_string())
        .fetch_one(&mut database)
        .await
        .expect("one event");
    assert_eq!(metadata.0["correlation_id"], json!(id));
    assert_eq!(metadata.0["actor"], json!(ann.id));
    assert_eq!(metadata.0["traceparent"], json!(trace));

    for (what, wanted) in [("the answer", "answered"), ("conversations", "\"conversations\""), ("relay", "\"relay\"")] {
        wait_until(format!("a line of {what}"), Duration::from_secs(10), async || {
            system.log().lines().any(|line| line.contains(&id) && line.contains(wanted)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_id_that_is_not_sane_is_replaced() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for odd in ["", "with space", "<script>", &"x".repeat(65)] {
        let request = ann.request(reqwest::Method::GET, "/api/v1/auth/me").header("X-Request-Id", odd);
        let answer = Answer::to(request).await.expect("an answer");
        let id = answer.header("x-request-id").expect("an id");
        assert!(Uuid::parse_str(id).is_ok(), "{odd:?} became {id:?}");
    }
}
