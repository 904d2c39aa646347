//! `postrider listen`.

use std::io::Write;

use serde_json::Value;
use testkit::person::Person;
use testkit::system::System;
use uuid::Uuid;

use super::{Said, command};

/// Runs it with a secret on standard input, to its end.
async fn listen(args: &[&str], secret: &str) -> Said {
    let system = System::shared().await;
    let (url, secret) = (system.url(""), format!("{secret}\n"));
    let args = [&["listen"], args, &["--url", &url]].concat();
    let mut command = command(&system.directory, &args, &[]);
    command.stdin(std::process::Stdio::piped());
    let ended = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(secret.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let output = tokio::time::timeout(std::time::Duration::from_secs(60), ended).await.unwrap().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Said { code: output.status.code(), out, err }
}

#[tokio::test]
async fn listening_shows_frames_and_takes_nothing_from_the_queue() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let id = Uuid::now_v7();
    assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await.status, 200);

    let said = listen(&[&bob.email, "--limit", "2"], &bob.password).await.well();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("connection_established ") && lines[1].starts_with("relay_message "), "{said}");

    let said = listen(&["--token", "--json", "--limit", "2"], &bob.token).await.well();
    let frames: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((frames[1]["type"].as_str(), frames[1]["data"]["id"].as_str()), (Some("relay_message"), Some(id.to_string().as_str())));
    let cursor = frames[1]["cursor"].as_str().unwrap();
    assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "again")).await.status, 200);
    let said = listen(&[&bob.email, "--json", "--limit", "2", "--cursor", cursor], &bob.password).await.well();
    assert!(said.lines().nth(1).unwrap().contains("new_message"), "{said}");

    assert_eq!(bob.pending().await.len(), 2);
    let sessions = bob.get("/api/v1/auth/sessions").await;
    assert_eq!(sessions.as_array().unwrap().len(), 1, "the sessions of the command have ended with it: {sessions}");
}

#[tokio::test]
async fn whoever_cannot_sign_in_hears_nothing() {
    let bob = Person::register(System::shared().await, "bob").await;
    listen(&[&bob.email], "wrong").await.refused(&[&bob.email, "cannot sign in", "Invalid credentials"]);
    listen(&["--token"], "nonsense").await.refused(&["the token is not accepted"]);
}
