//! What people are told over their sockets, as it happens.

mod blocking;
mod ending;
mod kafka;
mod opening;
mod presence;
mod protocol;
mod resuming;
mod talking;
mod telling;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::System;
use uuid::Uuid;

pub async fn people(system: &System) -> (Person, Person) {
    tokio::join!(Person::register(system, "ann"), Person::register(system, "bob"))
}

/// Sends a message, and returns its id.
pub async fn send(from: &Person, to: &Person, content: &str) -> Uuid {
    send_by(from, "/api/v1/messages/send", to, content).await
}

pub async fn send_by(from: &Person, path: &str, to: &Person, content: &str) -> Uuid {
    let id = Uuid::now_v7();
    let answer = from.post(path, Person::message(to.id, id, content)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    id
}

pub async fn acknowledge(who: &Person, message: Uuid) {
    assert_eq!(who.post("/api/v1/relay/acknowledge", json!({"message_id": message})).await.status, 200);
}

pub async fn done(who: &Person, method: Method, path: &str, body: Option<Value>) {
    let answer = who.ask(method, path, body).await.expect("an answer");
    assert!(answer.status.is_success(), "{path}: {}", answer.text);
}

/// The message that a frame is about.
pub fn message_of(frame: &Value) -> Option<Uuid> {
    let id = if frame["type"] == "relay_message" { &frame["data"]["id"] } else { &frame["message_id"] };
    id.as_str()?.parse().ok()
}

/// The ids of messages that these frames bring, in their order.
pub fn messages(frames: &[Value]) -> Vec<Uuid> {
    let brings = |frame: &&Value| ["new_message", "relay_message"].iter().any(|kind| frame["type"] == **kind);
    frames.iter().filter(brings).filter_map(message_of).collect()
}

/// Reads until this message has come, by whichever frame brings it.
pub async fn until_message(socket: &mut Socket, id: Uuid) -> Vec<Value> {
    socket.until(|frame| message_of(frame) == Some(id) && messages(std::slice::from_ref(frame)) == [id]).await
}

/// Waits until a socket of theirs would be told of this message.
pub async fn until_told(who: &Person, id: Uuid) {
    until_message(&mut Socket::open(who).await, id).await;
}

/// The names of a frame's fields.
pub fn fields(object: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = object.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

/// The same, as the contract lists them.
pub fn listed(fields: &str) -> Vec<&str> {
    let mut fields: Vec<&str> = fields.split(',').map(str::trim).collect();
    fields.sort_unstable();
    fields
}
