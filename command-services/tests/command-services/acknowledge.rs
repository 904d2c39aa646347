use axum::http::Method;
use futures::future::join_all;
use schemas::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Answer, Data, Service, letter_as};

async fn acknowledge(service: &Service, by: UserId, id: Uuid) -> Answer {
    service.post(by, "/relay/acknowledge", &json!({"message_id": id})).await
}

fn answer(id: Uuid, status: &str) -> Value {
    json!({"success": true, "message_id": id, "status": status})
}

#[tokio::test]
async fn a_recipient_acknowledges_once_and_may_say_so_again_by_either_route() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/relay/send", &letter_as(id, bob)).await;

    let first = acknowledge(&service, bob, id).await;
    assert_eq!((first.status.as_u16(), &first.body), (200, &answer(id, "deleted")));
    assert!(first.token.is_some());
    assert_eq!(acknowledge(&service, bob, id).await, first);
    assert_eq!(service.ask(bob, Method::DELETE, &format!("/relay/{id}"), None, None).await, first);
    assert_eq!(data.count("message.delivered").await, 1);
}

#[tokio::test]
async fn many_at_once_are_one_receipt() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/relay/send", &letter_as(id, bob)).await;
    let answers = join_all((0..16).map(|_| acknowledge(&service, bob, id))).await;
    assert!(answers.iter().all(|one| *one == answers[0] && one.body == answer(id, "deleted")), "{answers:?}");
    assert_eq!(data.count("message.delivered").await, 1);
}

#[tokio::test]
async fn somebody_elses_message_and_no_message_are_told_apart_by_nobody() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl, id) = (data.person().await, data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/relay/send", &letter_as(id, bob)).await;
    for by in [ann, carl] {
        assert_eq!(acknowledge(&service, by, id).await.body, answer(id, "not_found"));
        assert_eq!(service.ask(by, Method::DELETE, &format!("/relay/{id}"), None, None).await.body, answer(id, "not_found"));
    }
    let nothing = Uuid::now_v7();
    assert_eq!(acknowledge(&service, bob, nothing).await.body, answer(nothing, "not_found"));
    assert_eq!(data.count("message.delivered").await, 0);
}

#[tokio::test]
async fn an_id_that_is_none_is_422_and_a_key_belongs_to_one_message() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    assert_eq!(service.ask(bob, Method::DELETE, "/relay/42", None, None).await.status, 422);
    assert_eq!(service.post(bob, "/relay/acknowledge", &json!({"message_id": "42"})).await.refused_with(), (422, "invalid"));
    service.post(ann, "/relay/send", &letter_as(id, bob)).await;
    let ask = async |id: Uuid| service.ask(bob, Method::POST, "/relay/acknowledge", Some("k"), Some(&json!({"message_id": id}))).await;
    assert_eq!(ask(id).await.body, answer(id, "deleted"));
    assert_eq!(ask(id).await.body, answer(id, "deleted"));
    assert_eq!(ask(Uuid::now_v7()).await.refused_with(), (422, "idempotency_mismatch"));
}

#[tokio::test]
async fn a_key_is_used_up_whatever_was_found_under_it() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id, other) = (data.person().await, data.person().await, Uuid::now_v7(), Uuid::now_v7());
    for id in [id, other] {
        service.post(ann, "/relay/send", &letter_as(id, bob)).await;
    }
    let ask =
        async |key: &str, id: Uuid| service.ask(bob, Method::POST, "/relay/acknowledge", Some(key), Some(&json!({"message_id": id}))).await;
    acknowledge(&service, bob, id).await;
    assert_eq!(ask("stood", id).await.body, answer(id, "deleted"));
    assert_eq!(ask("stood", other).await.refused_with(), (422, "idempotency_mismatch"));
    assert_eq!(ask("stood", id).await.body, answer(id, "deleted"));

    let nothing = Uuid::now_v7();
    assert_eq!(ask("nothing", nothing).await.body, answer(nothing, "not_found"));
    assert_eq!(ask("nothing", other).await.refused_with(), (422, "idempotency_mismatch"));
    service.post(ann, "/relay/send", &letter_as(nothing, bob)).await;
    assert_eq!(ask("nothing", nothing).await.body, answer(nothing, "not_found"), "the first answer stands");
    assert_eq!(data.count("message.delivered").await, 1);
}
