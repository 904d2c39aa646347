//! `postrider parked`: an event that cannot be applied, and how an operator gets past it.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

use super::beside;

#[tokio::test]
async fn a_poisoned_conversation_is_listed_given_up_and_goes_on() {
    let system = System::start(SystemConfig::default()).await;
    let listed = beside(&system, &["parked", "list"]).await;
    assert_eq!((listed.code, listed.out.as_str()), (Some(0), ""));
    assert!(listed.err.contains("no key is parked"), "{}", listed.err);
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let send = async || {
        let id = Uuid::now_v7();
        assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, id, "text")).await.status, 200);
        id
    };
    let first = send().await;
    let (key, position) = poison(&system).await;
    let waits = send().await;
    let parked = wait_until("both projections have parked the key", Duration::from_secs(20), async || {
        let lines = beside(&system, &["parked", "list", "--json"]).await.well();
        let parked: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (parked.len() == 2 && parked.iter().all(|parked| parked["events"] == 2)).then_some(parked)
    })
    .await;
    for (parked, projection) in parked.iter().zip(["conversations", "relay"]) {
        let seen = json!([parked["projection"], parked["topic"], parked["key"], parked["position"]]);
        assert_eq!(seen, json!([projection, "messages", key, position]));
        assert!(parked["reason"].as_str().unwrap().contains("cannot be read"), "{parked}");
    }
    let table = beside(&system, &["parked", "list", "--projection", "relay"]).await.well();
    assert!(table.lines().count() == 2 && table.contains(&key) && table.contains("cannot be read"), "{table}");

    let retried = beside(&system, &["parked", "retry", "conversations", &key]).await;
    retried.refused(&["1 keys still wait", "postrider parked skip"]);
    assert!(retried.out.contains(&format!("position {position} still cannot be applied")), "{}", retried.out);
    beside(&system, &["parked", "retry", "conversations", "nobody"]).await.refused(&["no event of nobody waits in conversations"]);
    beside(&system, &["parked", "retry", "conversations"]).await.refused(&["KEY"]);
    let wrong = (position + 1).to_string();
    let skip = |position: String| ["parked".into(), "skip".into(), "conversations".into(), key.clone(), "--position".into(), position];
    let refused: [String; 6] = skip(wrong);
    beside(&system, &refused.each_ref().map(String::as_str)).await.refused(&[&format!("at position {position}"), "nothing was skipped"]);
    let right: [String; 6] = skip(position.to_string());
    let skipped = beside(&system, &right.each_ref().map(String::as_str)).await.well();
    assert!(skipped.contains("is given up") && skipped.contains("1 events wait behind it"), "{skipped}");
    assert_eq!(ann.conversation(bob.id).await, [first], "what waits behind is not there yet");
    let retried = beside(&system, &["parked", "retry", "conversations", "--all"]).await.well();
    assert!(retried.contains("1 events of") && retried.contains("the key is free"), "{retried}");
    assert_eq!(ann.conversation(bob.id).await, [first, waits]);
    let last = send().await;
    assert_eq!(ann.conversation(bob.id).await, [first, waits, last], "the conversation goes on");
    assert_eq!(bob.pending().await, [first], "the relay has a parked key of its own");
}

/// Appends an event that nobody can read to the conversation of the newest message; its key and position.
async fn poison(system: &System) -> (String, i64) {
    let running: Value = serde_json::from_str(&std::fs::read_to_string(system.directory.join("data/running")).unwrap()).unwrap();
    let server = running["postgres"].as_str().unwrap();
    let (base, _) = server.rsplit_once('/').unwrap();
    let mut ledger = PgConnection::connect(&format!("{base}/message_db")).await.unwrap();
    sqlx::query_as(
        "INSERT INTO messages_ledger.events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, partition_key, key_hash, event_id, recorded_at)
         SELECT aggregate_type, gen_random_uuid()::text, 1, event_type, event_version, '{\"poison\": 1}', metadata, partition_key, key_hash, gen_random_uuid(), recorded_at
           FROM messages_ledger.events ORDER BY position DESC LIMIT 1 RETURNING partition_key, position",
    )
    .fetch_one(&mut ledger)
    .await
    .unwrap()
}
