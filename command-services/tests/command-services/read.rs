use axum::http::Method;
use futures::future::join_all;
use schemas::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Answer, Data, Service, letter_as};

async fn read(service: &Service, by: UserId, id: impl std::fmt::Display) -> Answer {
    service.ask(by, Method::PUT, &format!("/messages/{id}/read"), None, None).await
}

async fn read_up_to(service: &Service, by: UserId, with: UserId, body: Value) -> Answer {
    service.ask(by, Method::PUT, &format!("/messages/conversation/{with}/read"), None, Some(&body)).await
}

#[tokio::test]
async fn its_recipient_reads_a_message_once_from_however_many_devices() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    let answers = join_all((0..16).map(|_| read(&service, bob, id))).await;
    assert_eq!((answers[0].status.as_u16(), &answers[0].body), (200, &json!({"status": "Message marked as read"})));
    assert!(answers[0].token.is_some());
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    assert_eq!(read(&service, bob, id).await, answers[0]);
    assert_eq!(data.count("message.read").await, 1);
}

#[tokio::test]
async fn nobody_else_reads_it_and_what_is_not_there_is_not_found() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl, id) = (data.person().await, data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    for by in [ann, carl] {
        assert_eq!(read(&service, by, id).await.refused_with(), (403, "not_the_recipient"));
    }
    assert_eq!(read(&service, bob, Uuid::now_v7()).await.refused_with(), (404, "message_unknown"));
    assert_eq!(read(&service, bob, 42).await.status, 422);
    let forged = service.ask(bob, Method::PUT, &format!("/messages/{id}/read?user_id={ann}"), None, None).await;
    assert_eq!(forged.refused_with(), (403, "not_yourself"));
    service.ask(ann, Method::DELETE, &format!("/messages/{id}"), None, None).await;
    assert_eq!(read(&service, bob, id).await.refused_with(), (404, "message_unknown"));
    assert_eq!(data.count("message.read").await, 0);
}

#[tokio::test]
async fn either_of_two_reads_up_to_a_message_of_theirs_and_the_event_says_where_it_stands() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl) = (data.person().await, data.person().await, data.person().await);
    let (id, foreign) = (Uuid::now_v7(), Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    service.post(carl, "/messages/send", &letter_as(foreign, bob)).await;
    let answers = join_all((0..8).map(|_| read_up_to(&service, bob, ann, json!({"up_to": id})))).await;
    assert_eq!((answers[0].status.as_u16(), &answers[0].body), (200, &json!({"status": "Messages marked as read"})));
    assert!(answers.iter().all(|one| *one == answers[0]), "{answers:?}");
    assert_eq!(read_up_to(&service, ann, bob, json!({"up_to": id})).await.status, 200);
    assert_eq!(data.count("message.read_up_to").await, 2);
    let said: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT (payload->>'up_to_position')::bigint, (SELECT position FROM messages_ledger.events WHERE aggregate_id = $1::text AND sequence = 1)
           FROM messages_ledger.events WHERE event_type = 'message.read_up_to'",
    )
    .bind(id)
    .fetch_all(&data.pool)
    .await
    .unwrap();
    assert!(said.iter().all(|(said, stands)| said == stands), "{said:?}");

    for (by, with, up_to) in [(bob, ann, foreign), (bob, carl, id), (carl, ann, id), (bob, ann, Uuid::now_v7())] {
        let refused = read_up_to(&service, by, with, json!({"up_to": up_to})).await;
        assert_eq!((refused.refused_with(), &refused.body["errors"][0]["field"]), ((422, "invalid"), &json!("up_to")));
    }
    for body in [json!({}), json!({"up_to": null}), json!({"up_to": "x"}), json!([])] {
        assert_eq!(read_up_to(&service, bob, ann, body).await.refused_with(), (422, "invalid"));
    }
    assert_eq!(read_up_to(&service, bob, ann, json!({"up_to": id, "user_id": ann})).await.refused_with(), (403, "not_yourself"));
    assert_eq!(data.count("message.read_up_to").await, 2);
}

#[tokio::test]
async fn up_to_a_message_that_was_deleted_is_still_a_place() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    service.ask(ann, Method::DELETE, &format!("/messages/{id}"), None, None).await;
    assert_eq!(read_up_to(&service, bob, ann, json!({"up_to": id})).await.status, 200);
}
