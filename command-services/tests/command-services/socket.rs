use command_services::messages::{may_reach, send};
use futures::future::join_all;
use platform::auth::Caller;
use platform::http::{Problem, RequestContext};
use platform::ledger::Committed;
use schemas::messages::{MessageSent, Via};
use schemas::{SessionId, UserId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Data, Service, letter, letter_as};

async fn say(service: &Service, sender: UserId, payload: &Value) -> Result<Committed, Problem> {
    let caller = Caller { user: sender, session: SessionId(Uuid::now_v7()), role: "user".into(), token_ends: i64::MAX };
    send::by_socket(&service.messages, &caller, RequestContext::of_system(), &payload.to_string()).await
}

async fn sent(service: &Service, sender: UserId, payload: &Value) -> (MessageSent, bool) {
    let committed = say(service, sender, payload).await.unwrap();
    (send::first_of(&committed).unwrap().1, committed.again)
}

fn named(name: &str, recipient: UserId) -> Value {
    let mut letter = letter(recipient);
    letter["message_id"] = json!(name);
    letter
}

#[tokio::test]
async fn a_message_of_a_socket_is_a_message_like_any_other() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    let (message, again) = sent(&service, ann, &letter_as(id, bob)).await;
    assert_eq!((message.message_id.0, message.sender_id, message.recipient_id, message.via), (id, ann, bob, Via::Socket));
    assert!(!again && message.client_id.is_none() && message.expires_at.is_some());
    assert!(sent(&service, ann, &letter_as(id, bob)).await.1);
    let over_http = service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    assert_eq!((over_http.status.as_u16(), &over_http.body["id"]), (200, &json!(id)));
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn what_http_refuses_is_refused_with_the_same_words() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl, id) = (data.person().await, data.person().await, data.person().await, Uuid::now_v7());
    data.block(carl, ann).await;
    sent(&service, ann, &letter_as(id, bob)).await;
    let with = |field: &str, value: Value| {
        let mut letter = letter(bob);
        letter[field] = value;
        letter
    };
    let mut other = letter_as(id, bob);
    other["encrypted_content"] = json!("something else");
    for payload in [
        json!({}),
        with("recipient_id", json!("bob")),
        with("encrypted_content", json!(null)),
        with("encrypted_content", json!("x".repeat(256 * 1024 + 1))),
        with("encrypted_content", json!("a\0")),
        with("sender_id", json!(bob)),
        with("user_id", json!(bob)),
        letter(UserId(Uuid::now_v7())),
        letter(carl),
        other,
    ] {
        let over_http = service.post(ann, "/messages/send", &payload).await;
        let problem = say(&service, ann, &payload).await.unwrap_err();
        let said = (problem.status.as_u16(), problem.code, json!(problem.detail));
        assert_eq!(said, (over_http.status.as_u16(), over_http.refused_with().1, over_http.body["detail"].clone()));
    }
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn a_name_that_is_no_uuid_comes_back_and_is_one_message_only_together_with_what_was_said() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let (first, again) = sent(&service, ann, &named("temp-1", bob)).await;
    assert_eq!((first.client_id.as_deref(), again), (Some("temp-1"), false));
    let (repeat, again) = sent(&service, ann, &named("temp-1", bob)).await;
    assert_eq!((&repeat, again), (&first, true));
    let mut other = named("temp-1", bob);
    other["encrypted_content"] = json!("after a reload the client counts from one again");
    let senders = [(ann, other), (ann, named("temp-2", bob)), (bob, named("temp-1", ann))];
    for (sender, payload) in &senders {
        let (message, again) = sent(&service, *sender, payload).await;
        assert!(!again && message.message_id != first.message_id, "{payload}");
    }
    assert_eq!(data.count("message.sent").await, 4);
    let (unnamed, _) = sent(&service, ann, &named("", bob)).await;
    assert_eq!(unnamed.client_id, None);
    assert_eq!(say(&service, ann, &named(&"x".repeat(256), bob)).await.unwrap_err().code, "too_large");
}

#[tokio::test]
async fn a_name_said_many_times_at_once_is_one_message() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let payload = named("temp-1", bob);
    let answers = join_all((0..16).map(|_| sent(&service, ann, &payload))).await;
    assert!(answers.iter().all(|(message, _)| *message == answers[0].0));
    assert_eq!(answers.iter().filter(|(_, again)| !again).count(), 1);
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn typing_reaches_nobody_who_is_not_there_or_is_blocked() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl) = (data.person().await, data.person().await, data.person().await);
    data.block(carl, ann).await;
    let reaches = async |from, to| may_reach(&service.messages, from, to).await.unwrap();
    assert!(reaches(ann, bob).await && reaches(bob, carl).await);
    assert!(!reaches(ann, carl).await && !reaches(carl, ann).await && !reaches(ann, UserId(Uuid::now_v7())).await);
}
