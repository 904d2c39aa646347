//! What clients say over their sockets.

use serde_json::{Value, json};
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::System;
use testkit::wait_until;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{done, fields, listed, message_of, people, send, until_message};
use reqwest::Method;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(10);

/// A `message` as a client sends it.
fn letter(name: &str, to: &Person, content: &str) -> Value {
    json!({"message_id": name, "recipient_id": to.id, "encrypted_content": content, "encrypted_session_key": "key"})
}

/// The errors before the next `pong`: everything that is refused at once has been.
async fn errors(socket: &mut Socket) -> Vec<(Value, Value)> {
    let frames = socket.before_pong().await;
    let errors = frames.iter().filter(|frame| frame["type"] == "error");
    errors.map(|frame| (frame["code"].clone(), frame["client_id"].clone())).collect()
}

#[tokio::test]
async fn a_message_that_is_said_arrives_and_its_name_comes_back() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut phone, mut bobs) = (Socket::open(&ann).await, Socket::open(&ann).await, Socket::open(&bob).await);
    anns.send("message", letter("temp-1", &bob, "hello")).await;
    let arrived = bobs.find("new_message").await;
    assert_eq!((&arrived["sender_id"], &arrived["encrypted_content"]), (&json!(ann.id), &json!("hello")));
    for socket in [&mut anns, &mut phone] {
        let sent = socket.find("message_sent").await;
        assert_eq!(fields(&sent), listed("type,cursor,message_id,client_id,status,timestamp,has_media,media_attachments"));
        assert_eq!((&sent["client_id"], &sent["message_id"]), (&json!("temp-1"), &arrived["message_id"]));
    }
    let id = message_of(&arrived).expect("an id");
    assert_eq!((bob.conversation(ann.id).await, bob.pending().await), (vec![id], vec![id]));

    let own = Uuid::now_v7();
    anns.send("message", letter(&own.to_string(), &bob, "by its own id")).await;
    let sent = anns.find("message_sent").await;
    assert_eq!((message_of(&sent), sent.get("client_id")), (Some(own), None));
}

#[tokio::test]
async fn messages_said_one_after_the_other_stay_in_that_order() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    let ids: Vec<Uuid> = (0..100).map(|_| Uuid::now_v7()).collect();
    for (n, id) in ids.iter().enumerate() {
        anns.send("message", letter(&id.to_string(), &bob, &n.to_string())).await;
    }
    let frames = until_message(&mut bobs, ids[99]).await;
    assert_eq!(super::messages(&frames), ids);
    assert_eq!(bob.conversation(ann.id).await, ids);
}

#[tokio::test]
async fn what_was_said_before_the_socket_broke_is_sent_and_its_repeat_is_answered() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut anns = Socket::open(&ann).await;
    anns.send("message", letter("temp-1", &bob, "hello")).await;
    anns.close().await;
    let sent = wait_until("it is sent", BOUND, async || bob.pending().await.first().copied()).await;

    let mut again = Socket::open(&ann).await;
    again.send("message", letter("temp-1", &bob, "hello")).await;
    let told = again.find("message_sent").await;
    assert_eq!((message_of(&told), &told["client_id"]), (Some(sent), &json!("temp-1")));
    assert!(told["cursor"].is_string());
    assert_eq!(bob.pending().await, [sent]);
    // The name may come again, for something else.
    again.send("message", letter("temp-1", &bob, "something else")).await;
    assert_ne!(message_of(&again.find("message_sent").await), Some(sent));
}

#[tokio::test]
async fn receipts_take_messages_from_the_queue_tell_their_author_and_are_silent_when_repeated() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    let mut sent = Vec::new();
    for kind in ["ack", "delivery_confirmation", "read", "read_confirmation"] {
        let id = send(&ann, &bob, kind).await;
        until_message(&mut bobs, id).await;
        bobs.send(kind, json!({"message_id": id, "sender_id": ann.id})).await;
        let expected = if kind.starts_with("read") { "message_read" } else { "message_delivered" };
        let told = anns.find(expected).await;
        assert_eq!((message_of(&told), &told["user_id"]), (Some(id), &json!(bob.id)));
        sent.push((kind, id));
    }
    wait_until("nothing waits", BOUND, async || bob.pending().await.is_empty().then_some(())).await;

    for _ in 0..20 {
        for (kind, id) in &sent {
            bobs.send(kind, json!({"message_id": id})).await;
        }
        bobs.send("read", json!({"message_id": Uuid::now_v7()})).await;
        bobs.send("read", json!({"message_id": "temp-1"})).await;
        bobs.send("ack", json!({"message_id": "temp-1"})).await;
    }
    let fence = send(&bob, &ann, "fence").await;
    let frames = until_message(&mut anns, fence).await;
    assert!(!frames.iter().any(|frame| frame["type"] == "message_read" || frame["type"] == "message_delivered"), "{frames:?}");
    assert_eq!(errors(&mut bobs).await, []);
}

#[tokio::test]
async fn a_receipt_for_somebody_elses_message_is_like_one_for_a_message_that_does_not_exist() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let carl = Person::register(system, "carl").await;
    let (mut anns, mut carls) = (Socket::open(&ann).await, Socket::open(&carl).await);
    // Receipts for messages whose ids end alike are carried out one after the other: the last says that all are done.
    let alike = || {
        let mut id = Uuid::now_v7().into_bytes();
        id[15] = 0;
        Uuid::from_bytes(id)
    };
    let id = alike();
    assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, id, "for bob")).await.status, 200);
    anns.find("message_sent").await;
    for (who, socket) in [(&carl, &mut carls), (&ann, &mut anns)] {
        for kind in ["read", "read_confirmation", "ack", "delivery_confirmation"] {
            for message in [id, alike()] {
                socket.send(kind, json!({"message_id": message})).await;
            }
        }
        let fence = alike();
        assert_eq!(bob.post("/api/v1/messages/send", Person::message(who.id, fence, "fence")).await.status, 200);
        until_message(socket, fence).await;
        socket.send("ack", json!({"message_id": fence})).await;
        wait_until("nothing waits", BOUND, async || who.pending().await.is_empty().then_some(())).await;
        assert_eq!(errors(socket).await, []);
    }
    assert_eq!(bob.pending().await.len(), 1, "and it stays where it was");
}

#[tokio::test]
async fn what_is_refused_over_http_is_refused_here_with_the_clients_id_and_nothing_closes_the_socket() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut anns = Socket::open(&ann).await;
    let mut refused = async |payload: Value| {
        anns.send("message", payload).await;
        let error = anns.find("error").await;
        assert!(error["detail"].is_string());
        (error["code"].as_str().unwrap_or_default().to_owned(), error["client_id"].clone())
    };
    let mut foreign = letter("m-2", &bob, "hello");
    foreign["sender_id"] = json!(bob.id);
    let mut unknown = letter("m-3", &bob, "hello");
    unknown["recipient_id"] = json!(Uuid::now_v7());
    assert_eq!(refused(json!({"message_id": "m-1"})).await, ("invalid".into(), json!("m-1")));
    assert_eq!(refused(foreign).await, ("not_yourself".into(), json!("m-2")));
    assert_eq!(refused(unknown).await, ("recipient_unknown".into(), json!("m-3")));
    assert_eq!(refused(letter("m-4", &bob, &"x".repeat(256 * 1024 + 1))).await, ("too_large".into(), json!("m-4")));
    done(&bob, Method::POST, &format!("/api/v1/contacts/{}/block", ann.id), Some(json!({}))).await;
    assert_eq!(refused(letter("m-5", &bob, "hello")).await, ("blocked".into(), json!("m-5")));

    for odd in [Message::text("{"), Message::text("[1]"), Message::text("{}"), Message::binary(vec![0, 159, 146, 150])] {
        anns.say(odd).await;
    }
    anns.send("nonsense", json!({})).await;
    anns.send("group_message", json!({"message_id": "g-1"})).await;
    anns.send("contact_added", json!({"inviter_id": ann.id, "contact_id": bob.id})).await;
    let codes: Vec<_> = errors(&mut anns).await.into_iter().map(|(code, _)| code).collect();
    assert_eq!(codes, ["invalid", "invalid", "invalid", "invalid", "unknown_type", "unknown_type"]);
}

#[tokio::test]
async fn typing_is_shown_to_every_socket_of_a_peer_throttled_and_never_across_a_block() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut phone, mut laptop) = (Socket::open(&ann).await, Socket::open(&bob).await, Socket::open(&bob).await);
    for on in [true, true, true, false] {
        anns.send("typing", json!({"recipient_id": bob.id, "is_typing": on})).await;
    }
    for socket in [&mut phone, &mut laptop] {
        let frames = socket.until(|frame| frame["type"] == "typing" && frame["is_typing"] == false).await;
        let typing: Vec<&Value> = frames.iter().filter(|frame| frame["type"] == "typing").collect();
        assert_eq!(
            typing,
            [
                &json!({"type": "typing", "sender_id": ann.id, "is_typing": true}),
                &json!({"type": "typing", "sender_id": ann.id, "is_typing": false})
            ]
        );
    }
    done(&bob, Method::POST, &format!("/api/v1/contacts/{}/block", ann.id), Some(json!({}))).await;
    anns.send("typing", json!({"recipient_id": bob.id, "is_typing": false})).await;
    assert_eq!(errors(&mut anns).await, [], "who is blocked is not told so by this");
    let carl = Person::register(system, "carl").await;
    let fence = send(&carl, &bob, "fence").await;
    let frames = until_message(&mut phone, fence).await;
    assert!(!frames.iter().any(|frame| frame["type"] == "typing"), "{frames:?}");
}
