//! What runs have found, each by itself.

use serde_json::{Value, json};
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::SystemConfig;
use uuid::Uuid;

use super::rig::Rig;

async fn send(from: &Person, to: &Person) -> Value {
    let id = Uuid::now_v7();
    let answer = from.post("/api/v1/messages/send", Person::message(to.id, id, "hello")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    json!(id)
}

/// The messages that a socket brings, up to this one.
async fn brought(socket: &mut Socket, last: &Value) -> Vec<Value> {
    let frames = socket.until(|frame| frame["message_id"] == *last || frame["data"]["id"] == *last).await;
    let messages = frames.iter().filter(|frame| ["new_message", "relay_message"].map(Into::into).contains(&frame["type"]));
    messages.map(|frame| if frame["data"].is_null() { &frame["message_id"] } else { &frame["data"]["id"] }).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_while_redis_is_away_reaches_open_sockets_when_it_is_back() {
    let mut rig = Rig::start(1, SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&rig.processes[0], "ann").await, Person::register(&rig.processes[0], "bob").await);
    let mut socket = Socket::open(&bob).await;
    let mut sent = vec![send(&ann, &bob).await];
    assert_eq!(brought(&mut socket, &sent[0]).await, sent);
    for _ in 0..3 {
        rig.redis.kill();
        sent.clear();
        for _ in 0..10 {
            sent.push(send(&ann, &bob).await);
        }
        rig.redis.start_again().await;
        sent.push(send(&ann, &bob).await);
        assert_eq!(brought(&mut socket, &sent[10]).await, sent, "once each, in their order");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_resumes_right_after_redis_was_set_back_lacks_nothing() {
    let mut rig = Rig::start(1, SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&rig.processes[0], "ann").await, Person::register(&rig.processes[0], "bob").await);
    // Whatever is appended anew has been given to this one, and is not given to it again.
    let mut open = Socket::open(&bob).await;
    for _ in 0..3 {
        let begin = send(&ann, &bob).await;
        brought(&mut open, &begin).await;
        let cursor = open.cursor();
        rig.redis.copy();
        let mut sent = Vec::new();
        for _ in 0..20 {
            sent.push(send(&ann, &bob).await);
        }
        assert_eq!(brought(&mut open, &sent[19]).await, sent);
        rig.redis.age().await;
        // As soon as it can be, which is while the log is being filled again.
        let mut resumed = testkit::wait_until("a socket", std::time::Duration::from_secs(20), async || {
            Socket::connect(&bob, &format!("&cursor={cursor}")).await.ok()
        })
        .await;
        assert_eq!(brought(&mut resumed, &sent[19]).await, sent, "once each, in their order");
        sent.clear();
        sent.push(send(&ann, &bob).await);
        assert_eq!(brought(&mut open, &sent[0]).await, sent);
        assert_eq!(brought(&mut resumed, &sent[0]).await, sent);
    }
}
