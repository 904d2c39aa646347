use axum::http::Method;
use futures::future::join_all;
use schemas::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Answer, Data, Service, letter_as};

async fn delete(service: &Service, by: UserId, id: impl std::fmt::Display) -> Answer {
    service.ask(by, Method::DELETE, &format!("/messages/{id}"), None, None).await
}

/// Of each event of a message, in order: type, payload, by what it was redacted, id.
async fn stream(data: &Data, id: Uuid) -> Vec<(String, Value, Option<Uuid>, Uuid)> {
    sqlx::query_as(
        "SELECT event_type, payload, redacted_by, event_id FROM messages_ledger.events WHERE aggregate_id = $1::text ORDER BY sequence",
    )
    .bind(id)
    .fetch_all(&data.pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn its_sender_takes_a_message_back_and_the_ledger_keeps_no_word_of_it() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    let mut body = letter_as(id, bob);
    body["sender_encrypted_content"] = json!("my copy");
    body["signatures"] = json!(["mine"]);
    let sent = service.post(ann, "/messages/send", &body).await;

    let deleted = delete(&service, ann, id).await;
    assert_eq!((deleted.status.as_u16(), &deleted.body), (200, &json!({"status": "Message deleted"})));
    assert!(deleted.token.is_some());
    assert_eq!(delete(&service, ann, id).await, deleted, "deleting it again is fine");

    let events = stream(&data, id).await;
    let [(sent_type, left, by, _), (deleted_type, _, not_redacted, deletion)] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((sent_type.as_str(), deleted_type.as_str()), ("message.sent", "message.deleted"));
    assert_eq!((by.as_ref(), *not_redacted), (Some(deletion), None));
    assert_eq!(
        (&left["encrypted_content"], &left["encrypted_session_key"], &left["crypto_version"]),
        (&json!(""), &json!(""), &json!("v1"))
    );
    assert!(left.get("sender_encrypted_content").is_none() && left.get("signatures").is_none(), "{left}");
    assert_eq!(left["recipient_id"], json!(bob));

    // A repeat of the send is still that message, as far as anything is left of it.
    let again = service.post(ann, "/messages/send", &body).await;
    assert_eq!((again.status.as_u16(), &again.body["id"], &again.body["encrypted_content"]), (200, &json!(id), &json!("")));
    assert_eq!(again.body["created_at"], sent.body["created_at"]);
    assert_eq!(service.post(ann, "/relay/send", &body).await.body["status"], "queued");
    let mut other = body.clone();
    other["encrypted_content"] = json!("");
    assert_eq!(service.post(ann, "/messages/send", &other).await.refused_with(), (409, "id_taken"));
    // The queue's recipient may acknowledge what they had received.
    assert_eq!(service.post(bob, "/relay/acknowledge", &json!({"message_id": id})).await.body["status"], "deleted");
    assert_eq!(data.count("message.deleted").await, 1);
}

#[tokio::test]
async fn nobody_else_deletes_it_and_nothing_changes() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl, id) = (data.person().await, data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    for by in [bob, carl] {
        assert_eq!(delete(&service, by, id).await.refused_with(), (403, "not_the_sender"));
    }
    assert_eq!(delete(&service, ann, Uuid::now_v7()).await.refused_with(), (404, "message_unknown"));
    assert_eq!(delete(&service, ann, "me").await.status, 422);
    assert_eq!(stream(&data, id).await.len(), 1);
    delete(&service, ann, id).await;
    assert_eq!(delete(&service, bob, id).await.refused_with(), (403, "not_the_sender"), "nor once it is gone");
}

#[tokio::test]
async fn deleted_read_acknowledged_and_sent_again_at_once_has_one_outcome() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    for _ in 0..20 {
        let id = Uuid::now_v7();
        let body = letter_as(id, bob);
        service.post(ann, "/messages/send", &body).await;
        let deletions = join_all((0..4).map(|_| delete(&service, ann, id)));
        let reads = join_all(
            (0..4).map(async |_| service.ask(bob, Method::PUT, &format!("/messages/{id}/read"), None, None).await.status.as_u16()),
        );
        let receipt = json!({"message_id": id});
        let acknowledged = service.post(bob, "/relay/acknowledge", &receipt);
        let again = service.post(ann, "/messages/send", &body);
        let (deletions, reads, acknowledged, again) = tokio::join!(deletions, reads, acknowledged, again);
        assert!(
            deletions.iter().all(|one| one.status == 200 && one.body == deletions[0].body && one.token == deletions[0].token),
            "{deletions:?}"
        );
        assert!(reads.iter().all(|status| matches!(status, 200 | 404)), "{reads:?}");
        assert_eq!((acknowledged.body["status"].as_str(), again.status.as_u16()), (Some("deleted"), 200));
        assert!(["", "content ✓"].contains(&again.body["encrypted_content"].as_str().unwrap()));
        let types: Vec<String> = stream(&data, id).await.into_iter().map(|(event_type, ..)| event_type).collect();
        assert_eq!(types, ["message.sent", "message.deleted"]);
    }
    assert_eq!(data.count("message.delivered").await, 20);
    assert_eq!(service.blank_deleted().await, 0, "nothing is left to be blanked");
}

#[tokio::test]
async fn what_a_command_could_not_blank_housekeeping_does() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    // As if the process had ended right after the append.
    sqlx::raw_sql(
        "CREATE FUNCTION messages_ledger.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not now'; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON messages_ledger.events FOR EACH ROW EXECUTE FUNCTION messages_ledger.refuse()",
    )
    .execute(&data.pool)
    .await
    .unwrap();
    assert_eq!(delete(&service, ann, id).await.status, 200, "the deletion stands, whatever becomes of the blanking");
    assert_eq!(stream(&data, id).await[0].1["encrypted_content"], "content ✓");
    sqlx::raw_sql("DROP TRIGGER refuse ON messages_ledger.events").execute(&data.pool).await.unwrap();
    assert_eq!((service.blank_deleted().await, service.blank_deleted().await), (1, 0));
    assert_eq!(stream(&data, id).await[0].1["encrypted_content"], "");
}
