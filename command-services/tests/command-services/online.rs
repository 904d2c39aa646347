use std::time::Duration;

use axum::http::Method;
use schemas::SessionId;
use serde_json::{Value, json};
use testkit::wait_until;
use uuid::Uuid;

use crate::service::{Data, Service, letter, letter_as};

const BOUND: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_message_to_somebody_who_is_there_is_delivered_and_its_repeat_says_what_was_true_the_first_time() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let sent = async |body: &Value| service.post(ann, "/relay/send", body).await.body["status"].clone();
    let say = async |what: &str| {
        let answer = service.ask(bob, Method::POST, &format!("/relay/user/{bob}/{what}"), None, None).await;
        assert_eq!((answer.status.as_u16(), answer.body), (200, json!({"status": what})));
    };
    let before = letter_as(Uuid::now_v7(), bob);
    assert_eq!(sent(&before).await, "queued");
    let there = service.in_session(SessionId(Uuid::now_v7()));
    there.ask(bob, Method::POST, &format!("/relay/user/{bob}/online"), None, None).await;
    let during = letter_as(Uuid::now_v7(), bob);
    assert_eq!(
        (sent(&during).await, sent(&letter(bob)).await, sent(&before).await),
        (json!("delivered"), json!("delivered"), json!("queued"))
    );
    say("offline").await;
    assert_eq!(sent(&letter(bob)).await, "delivered", "another session has left, not this one");
    there.ask(bob, Method::POST, &format!("/relay/user/{bob}/offline"), None, None).await;
    // Who comes back within five seconds has not been away.
    wait_until("bob has left", BOUND, async || (sent(&letter(bob)).await == "queued").then_some(())).await;
    assert_eq!(sent(&during).await, "delivered");
}

#[tokio::test]
async fn nobody_says_for_another_that_they_are_there() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    for path in
        [format!("/relay/user/{bob}/online"), format!("/relay/user/{bob}/offline"), format!("/relay/user/{ann}/online?user_id={bob}")]
    {
        assert_eq!(service.ask(ann, Method::POST, &path, None, None).await.refused_with(), (403, "not_yourself"));
    }
    assert_eq!(service.ask(ann, Method::POST, "/relay/user/me/online", None, None).await.status, 422);
    assert_eq!(service.post(ann, "/relay/send", &letter(bob)).await.body["status"], "queued");
}
