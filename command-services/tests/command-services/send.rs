use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use futures::future::join_all;
use schemas::UserId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::service::{Data, Service, letter, letter_as};

const ROUTES: [&str; 3] = ["/messages/send", "/relay/send", "/relay/queue"];

#[tokio::test]
async fn each_route_answers_in_its_own_shape_and_says_where_to_read() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);

    let sent = service.post(ann, "/messages/send", &letter(bob)).await;
    assert_eq!(sent.status, 200);
    assert!(sent.token.is_some());
    assert_eq!(sent.body["sender_id"], json!(ann));
    assert_eq!(sent.body["recipient_id"], json!(bob));
    assert_eq!(sent.body["encrypted_content"], "content ✓");
    assert_eq!(sent.body["crypto_version"], "v1");
    assert_eq!(sent.body["media_attachments"], json!([]));

    for (route, days) in [("/relay/send", 7), ("/relay/queue", 30)] {
        let mut body = letter(bob);
        if days != 7 {
            body["ttl_days"] = json!(days);
        }
        let queued = service.post(ann, route, &body).await;
        assert_eq!((queued.status.as_u16(), &queued.body["success"], &queued.body["status"]), (200, &json!(true), &json!("queued")));
        assert!(queued.token.is_some());
        let ends: schemas::Timestamp = serde_json::from_value(queued.body["expires_at"].clone()).unwrap();
        let waits = ends.into_inner() - platform::clock::now().into_inner();
        assert_eq!(waits.whole_hours() / 24, days - 1, "just short of {days} days are left");
    }
    assert_eq!(data.count("message.sent").await, 3);
}

#[tokio::test]
async fn a_repeat_under_its_id_is_one_message_over_every_route() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, id) = (data.person().await, data.person().await, Uuid::now_v7());
    let first = service.post(ann, "/messages/send", &letter_as(id, bob)).await;
    assert_eq!((first.status.as_u16(), &first.body["id"]), (200, &json!(id)));
    for _ in 0..2 {
        assert_eq!(service.post(ann, "/messages/send", &letter_as(id, bob)).await, first);
        let relayed = service.post(ann, "/relay/send", &letter_as(id, bob)).await;
        assert_eq!((relayed.status.as_u16(), &relayed.body["message_id"], &relayed.token), (200, &json!(id), &first.token));
    }
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn an_id_that_stands_for_something_else_is_taken() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, carl, id) = (data.person().await, data.person().await, data.person().await, Uuid::now_v7());
    assert_eq!(service.post(ann, "/relay/send", &letter_as(id, bob)).await.status, 200);
    let mut other = letter_as(id, bob);
    other["encrypted_content"] = json!("something else");
    let nobody = UserId(Uuid::now_v7());
    for (sender, body) in [(ann, other), (ann, letter_as(id, carl)), (carl, letter_as(id, bob)), (ann, letter_as(id, nobody))] {
        for route in ROUTES {
            assert_eq!(service.post(sender, route, &body).await.refused_with(), (409, "id_taken"));
        }
    }
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn many_at_once_under_one_id_are_one_message_and_all_hear_so() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, body) = (data.person().await, data.person().await, Uuid::now_v7());
    let body = letter_as(body, bob);
    let answers = join_all((0..16).map(|_| service.post(ann, "/messages/send", &body))).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.status == 200), "{answers:?}");
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn a_key_replays_the_first_answer_and_belongs_to_one_body() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let ask = async |path: &str, body: &Value| service.ask(ann, Method::POST, path, Some("once"), Some(body)).await;
    let first = ask("/relay/send", &letter(bob)).await;
    assert_eq!(first.status, 200);
    assert_eq!(ask("/relay/send", &letter(bob)).await, first);
    assert_eq!(ask("/relay/send", &letter_as(Uuid::now_v7(), bob)).await.refused_with(), (422, "idempotency_mismatch"));
    assert_eq!(ask("/messages/send", &letter(bob)).await.refused_with(), (422, "idempotency_mismatch"));
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn a_recipient_whom_nobody_knows_is_refused_but_never_by_a_copy_that_is_behind() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, nobody) = (data.person().await, UserId(Uuid::now_v7()));
    for route in ROUTES {
        assert_eq!(service.post(ann, route, &letter(nobody)).await.refused_with(), (404, "recipient_unknown"));
    }
    data.fall_behind().await;
    assert_eq!(service.post(ann, "/relay/send", &letter(nobody)).await.refused_with(), (503, "projection_behind"));
    let bob = data.person().await;
    assert_eq!(service.post(ann, "/relay/send", &letter(bob)).await.status, 200, "a yes from the same copy is a yes");
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn a_repeat_gets_its_first_answer_even_when_it_would_be_refused_by_now() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let by_id = letter_as(Uuid::now_v7(), bob);
    let first_by_id = service.post(ann, "/relay/send", &by_id).await;
    let first_by_key = service.ask(ann, Method::POST, "/messages/send", Some("k"), Some(&letter(bob))).await;
    data.forget(bob).await;
    data.fall_behind().await;

    // Another process: this one remembers that Bob existed.
    let other = Service::over(&data).await;
    assert_eq!(other.post(ann, "/relay/send", &by_id).await, first_by_id);
    assert_eq!(other.ask(ann, Method::POST, "/messages/send", Some("k"), Some(&letter(bob))).await, first_by_key);
    assert_eq!(other.ask(ann, Method::POST, "/messages/send", Some("k"), Some(&by_id)).await.refused_with(), (422, "idempotency_mismatch"));
    assert_eq!(other.post(ann, "/relay/send", &letter(bob)).await.status, 503);
    assert_eq!(data.count("message.sent").await, 2);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_said_and_nothing_is_stored() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let with = |field: &str, value: Value| {
        let mut body = letter(bob);
        body[field] = value;
        body
    };
    for route in ROUTES {
        for (body, status, code) in [
            (json!({}), 422, "invalid"),
            (with("recipient_id", json!("bob")), 422, "invalid"),
            (with("message_id", json!("42")), 422, "invalid"),
            (with("reply_to", json!(7)), 422, "invalid"),
            (with("encrypted_content", json!("a\0b")), 422, "invalid"),
            (with("encrypted_content", json!("x".repeat(256 * 1024 + 1))), 422, "too_large"),
            (with("signatures", json!("x".repeat(32 * 1024))), 422, "too_large"),
            (with("sender_id", json!(bob)), 403, "not_yourself"),
            (with("user_id", json!(bob)), 403, "not_yourself"),
            (with("current_user_id", json!(bob)), 403, "not_yourself"),
        ] {
            assert_eq!(service.post(ann, route, &body).await.refused_with(), (status, code), "{route}");
        }
        let elsewhere = service.post(ann, &format!("{route}?current_user_id={bob}"), &letter(bob)).await;
        assert_eq!(elsewhere.refused_with(), (403, "not_yourself"));
        let request = Request::post(format!("/api/v1{route}")).header("content-type", "application/json").body(Body::from("{}")).unwrap();
        assert_eq!(service.answer(request).await.refused_with(), (401, "unauthenticated"));
    }
    assert_eq!(service.post(ann, "/relay/send", &with("ttl_days", json!(31))).await.refused_with(), (422, "invalid"));
    assert_eq!(data.count("message.sent").await, 0);
    let largest = with("encrypted_content", json!("x".repeat(256 * 1024)));
    assert_eq!(service.post(ann, "/messages/send", &largest).await.status, 200);
}

#[tokio::test]
async fn a_key_is_used_up_also_when_the_message_was_known_by_its_id() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob) = (data.person().await, data.person().await);
    let known = letter_as(Uuid::now_v7(), bob);
    let first = service.post(ann, "/messages/send", &known).await;
    let ask = async |key: &str, body: &Value| service.ask(ann, Method::POST, "/messages/send", Some(key), Some(body)).await;
    assert_eq!(ask("k", &known).await, first);
    assert_eq!(ask("k", &letter(bob)).await.refused_with(), (422, "idempotency_mismatch"));
    assert_eq!(ask("k", &known).await, first);

    // The same on the way to a refusal, in a process that does not remember that Bob existed.
    data.forget(bob).await;
    data.fall_behind().await;
    let other = Service::over(&data).await;
    let ask = async |body: &Value| other.ask(ann, Method::POST, "/messages/send", Some("l"), Some(body)).await;
    assert_eq!(ask(&known).await, first);
    assert_eq!(ask(&letter(bob)).await.refused_with(), (422, "idempotency_mismatch"));

    // And a key that is taken already belongs to what took it.
    let answers = join_all((0..8).map(|n| {
        if n % 2 == 0 {
            service.ask(ann, Method::POST, "/messages/send", Some("m"), Some(&known))
        } else {
            service.ask(ann, Method::POST, "/relay/send", Some("m"), Some(&known))
        }
    }))
    .await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 4, "{answers:?}");
    assert_eq!(data.count("message.sent").await, 1);
}

#[tokio::test]
async fn a_block_holds_in_both_directions_and_is_never_told_by_a_copy_that_is_behind() {
    let data = Data::new().await;
    let service = Service::over(&data).await;
    let (ann, bob, eve) = (data.person().await, data.person().await, data.person().await);
    let by_id = letter_as(Uuid::now_v7(), bob);
    let first_by_id = service.post(ann, "/relay/send", &by_id).await;
    let first_by_key = service.ask(ann, Method::POST, "/messages/send", Some("k"), Some(&letter(bob))).await;
    assert_eq!((first_by_id.status, first_by_key.status), (StatusCode::OK, StatusCode::OK));
    // Another process, which does not remember that nothing stood between the two: the block comes without its marks here.
    let service = Service::over(&data).await;
    data.block(bob, ann).await;
    let repeats = async || {
        assert_eq!(service.post(ann, "/relay/send", &by_id).await, first_by_id);
        assert_eq!(service.ask(ann, Method::POST, "/messages/send", Some("k"), Some(&letter(bob))).await, first_by_key);
    };
    for route in ROUTES {
        assert_eq!(service.post(ann, route, &letter(bob)).await.refused_with(), (403, "blocked"));
        assert_eq!(service.post(bob, route, &letter(ann)).await.refused_with(), (403, "blocked"));
        assert_eq!(service.post(ann, route, &letter(eve)).await.status, 200);
    }
    repeats().await;

    data.fall_behind_with_blocks().await;
    assert_eq!(service.post(ann, "/messages/send", &letter(bob)).await.refused_with(), (503, "projection_behind"));
    repeats().await;
    assert_eq!(data.count("message.sent").await, 5);
}
