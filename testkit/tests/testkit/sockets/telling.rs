//! What is told, to whom, and in which shape.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

use super::{acknowledge, done, fields, listed, message_of, messages, people, send, send_by, until_message, until_told};

const CRYPTO: &str = "crypto_version,encryption_algorithm,kdf_algorithm,signatures";

#[tokio::test]
async fn a_message_reaches_every_socket_of_its_recipient_and_its_senders_learn_that_it_was_sent() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut laptop, mut phone) = (Socket::open(&ann).await, Socket::open(&bob).await, Socket::open(&bob).await);
    let body = json!({"recipient_id": bob.id, "message_id": Uuid::now_v7(), "encrypted_content": "a \"b\" \u{e9}\n", "encrypted_session_key": "key",
        "signatures": {"ed25519": [1, null]}, "crypto_version": "v2"});
    let answer = ann.post("/api/v1/messages/send", body.clone()).await.json();
    for socket in [&mut laptop, &mut phone] {
        let frame = socket.find("new_message").await;
        let contract = format!(
            "type,cursor,message_id,sender_id,recipient_id,encrypted_content,encrypted_session_key,timestamp,has_media,media_attachments,{CRYPTO}"
        );
        assert_eq!(fields(&frame), listed(&contract));
        for field in ["message_id", "recipient_id", "encrypted_content", "encrypted_session_key", "signatures", "crypto_version"] {
            assert_eq!(frame[field], body[field], "{field}");
        }
        assert_eq!((&frame["sender_id"], &frame["timestamp"]), (&json!(ann.id), &answer["created_at"]));
        assert_eq!((&frame["has_media"], &frame["media_attachments"]), (&json!(false), &json!([])));
        assert_eq!(frame["kdf_algorithm"], "HKDF-SHA256");
    }
    let sent = anns.find("message_sent").await;
    assert_eq!(fields(&sent), listed("type,cursor,message_id,status,timestamp,has_media,media_attachments"));
    assert_eq!((&sent["message_id"], &sent["status"]), (&body["message_id"], &json!("sent")));

    // What was announced can be read at once.
    let id = message_of(&sent).expect("an id");
    assert_eq!(bob.pending().await, [id]);
}

#[tokio::test]
async fn what_is_sent_through_the_relay_arrives_as_a_relay_message() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut bobs = Socket::open(&bob).await;
    let id = send_by(&ann, "/api/v1/relay/send", &bob, "hello").await;
    let frame = bobs.find("relay_message").await;
    assert_eq!(fields(&frame), listed("type,cursor,data"));
    let waiting = bob.get("/api/v1/relay/pending").await["messages"][0].clone();
    assert_eq!((frame["data"].clone(), message_of(&frame)), (waiting, Some(id)));
}

#[tokio::test]
async fn what_waits_comes_right_after_connecting_oldest_first_and_once() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut sent = Vec::new();
    for n in 0..30 {
        let path = if n % 2 == 0 { "/api/v1/messages/send" } else { "/api/v1/relay/send" };
        sent.push(send_by(&ann, path, &bob, &format!("message {n}")).await);
    }
    until_told(&bob, sent[29]).await;
    acknowledge(&bob, sent.remove(3)).await;
    let mut bobs = Socket::open(&bob).await;
    let frames = until_message(&mut bobs, *sent.last().expect("some")).await;
    assert!(frames.iter().all(|frame| frame["type"] == "relay_message"), "{frames:?}");
    assert_eq!(messages(&frames), sent);
    let live = send(&ann, &bob, "live").await;
    assert_eq!(messages(&until_message(&mut bobs, live).await), [live]);
    // Another device is told the same, whatever this one has done with it.
    for id in &sent {
        acknowledge(&bob, *id).await;
    }
    let late = send(&ann, &bob, "late").await;
    assert_eq!(messages(&until_message(&mut Socket::open(&bob).await, late).await), [live, late]);
    assert_eq!(messages(&until_message(&mut bobs, late).await), [late]);
}

#[tokio::test]
async fn a_thousand_that_wait_and_live_ones_among_them_come_in_one_order() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut sent = Vec::new();
    for n in 0..600 {
        sent.push(send(&ann, &bob, &format!("message {n}")).await);
    }
    let mut bobs = Socket::open(&bob).await;
    for n in 600..620 {
        sent.push(send(&ann, &bob, &format!("message {n}")).await);
    }
    assert_eq!(messages(&until_message(&mut bobs, sent[619]).await), sent);
}

#[tokio::test]
async fn whoever_did_not_read_for_a_while_gets_the_rest_as_soon_as_they_do() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = people(&system).await;
    let (mut reads, mut slow) = (Socket::open(&bob).await, Socket::open_narrow(&bob).await);
    let mut sent = Vec::new();
    // Until three of them wait in the process: the connection takes no more.
    loop {
        sent.push(send(&ann, &bob, &"x".repeat(100 << 10)).await);
        until_message(&mut reads, sent[sent.len() - 1]).await;
        let told = system.metric("socket_events_sent_total").await.expect("it is counted");
        let (all, told) = (u32::try_from(2 * sent.len()).expect("a few"), told.round());
        if f64::from(all) - told >= 3.0 {
            break;
        }
        assert!(sent.len() < 200, "no connection takes 20 MB unread");
    }
    for id in sent {
        // Well before the server's next ping.
        let frame = slow.next_within(Duration::from_secs(8)).await.expect("it stays open").expect("nothing is held back");
        assert_eq!(message_of(&frame), Some(id));
    }
}

#[tokio::test]
async fn authors_see_when_their_messages_arrive_are_read_and_both_see_when_one_is_deleted() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    let (one, two) = (send(&ann, &bob, "one").await, send(&ann, &bob, "two").await);
    until_message(&mut bobs, two).await;

    acknowledge(&bob, one).await;
    let delivered = anns.find("message_delivered").await;
    assert_eq!(fields(&delivered), listed("type,cursor,message_id,user_id,timestamp"));
    assert_eq!((message_of(&delivered), &delivered["user_id"]), (Some(one), &json!(bob.id)));

    done(&bob, Method::PUT, &format!("/api/v1/messages/{one}/read"), None).await;
    let read = anns.find("message_read").await;
    assert_eq!(fields(&read), listed("type,cursor,message_id,user_id,timestamp"));
    assert_eq!((message_of(&read), &read["user_id"]), (Some(one), &json!(bob.id)));

    done(&bob, Method::PUT, &format!("/api/v1/messages/conversation/{}/read", ann.id), Some(json!({"up_to": two}))).await;
    let read = anns.find("message_read").await;
    assert_eq!((message_of(&read), &read["up_to"]), (Some(two), &json!(true)));

    done(&ann, Method::DELETE, &format!("/api/v1/messages/{two}"), None).await;
    for socket in [&mut anns, &mut bobs] {
        let deleted = socket.find("message_deleted").await;
        assert_eq!(fields(&deleted), listed("type,cursor,message_id,sender_id,recipient_id,timestamp"));
        assert_eq!((message_of(&deleted), &deleted["recipient_id"]), (Some(two), &json!(bob.id)));
    }
}

#[tokio::test]
async fn who_does_not_show_what_they_read_is_not_given_away_from_the_moment_they_say_so() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut anns = Socket::open(&ann).await;
    for shows in [true, false, true] {
        done(&bob, Method::PUT, "/api/v1/users/me/settings", Some(json!({"read_receipts": shows}))).await;
        let (id, fence) = (send(&ann, &bob, "hello").await, send(&ann, &bob, "fence").await);
        done(&bob, Method::PUT, &format!("/api/v1/messages/{id}/read"), None).await;
        acknowledge(&bob, fence).await;
        let frames = anns.until(|frame| frame["type"] == "message_delivered" && message_of(frame) == Some(fence)).await;
        let read = frames.iter().any(|frame| frame["type"] == "message_read" && message_of(frame) == Some(id));
        assert_eq!(read, shows, "{frames:?}");
    }
}

#[tokio::test]
async fn whoever_is_added_to_a_list_of_contacts_is_told_by_whom() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut bobs = Socket::open(&bob).await;
    assert_eq!(ann.post("/api/v1/contacts", json!({"contact_id": bob.id})).await.status, 200);
    let frame = bobs.find("contact_added").await;
    assert_eq!(fields(&frame), listed("type,cursor,contact_id,user_id,username,email,full_name,public_key,is_online,timestamp"));
    assert_eq!((&frame["user_id"], &frame["contact_id"], &frame["email"]), (&json!(ann.id), &json!(ann.id), &json!(ann.email)));
}

#[tokio::test]
async fn a_message_to_oneself_is_both_sent_and_received() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let mut anns = Socket::open(&ann).await;
    let id = send(&ann, &ann, "a note").await;
    let mut kinds = Vec::new();
    while kinds.len() < 2 {
        let frame = anns.next().await;
        if message_of(&frame) == Some(id) {
            kinds.push(frame["type"].as_str().expect("a type").to_owned());
        }
    }
    kinds.sort_unstable();
    assert_eq!(kinds, ["message_sent", "new_message"]);
}

#[tokio::test]
async fn nobody_else_hears_of_it() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let eve = Person::register(system, "eve").await;
    let (mut bobs, mut eves) = (Socket::open(&bob).await, Socket::open(&eve).await);
    let id = send(&ann, &bob, "for bob").await;
    until_message(&mut bobs, id).await;
    let quiet = eves.next_within(Duration::from_millis(200)).await;
    assert_eq!(quiet.map_err(|ended| ended.code), Ok(None::<Value>));
}
