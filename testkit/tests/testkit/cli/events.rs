//! `postrider events` and `postrider config`: looking, beside what runs and without it.

use std::io::{BufRead, BufReader};

use serde_json::Value;
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

use super::{beside, command, ended, run};

async fn send(from: &Person, to: &Person) -> Uuid {
    let id = Uuid::now_v7();
    assert_eq!(from.post("/api/v1/messages/send", Person::message(to.id, id, "hidden")).await.status, 200);
    id
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["aggregate_id"].as_str()).collect()
}

#[tokio::test]
async fn events_of_a_topic_or_an_aggregate_are_shown_with_and_without_a_running_system() {
    let mut system = System::start(SystemConfig::default()).await;
    let said = beside(&system, &["events", "--topic", "messages"]).await;
    assert_eq!((said.code, said.out.as_str()), (Some(0), ""));
    assert!(said.err.contains("no events of messages.events in the ledger"), "{}", said.err);
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let mut sent = Vec::new();
    for _ in 0..5 {
        sent.push(send(&ann, &bob).await.to_string());
    }
    let table = beside(&system, &["events", "--topic", "messages.events"]).await.well();
    assert_eq!(table.lines().count(), 6, "a heading and five rows:\n{table}");
    assert!(sent.iter().zip(table.lines().skip(1)).all(|(id, row)| row.contains(id) && row.contains("message.sent.v1")), "{table}");
    // The newest, oldest first; then those after a position, oldest first.
    let newest = json(&beside(&system, &["events", "--topic=messages", "--limit=2", "--json"]).await.well());
    assert_eq!(ids(&newest), [&sent[3], &sent[4]]);
    let all = json(&beside(&system, &["events", "--topic=messages", "--json"]).await.well());
    let after = all[1]["position"].to_string();
    let next = json(&beside(&system, &["events", "--topic=messages", "--after", &after, "--limit=2", "--json"]).await.well());
    assert_eq!(ids(&next), [&sent[2], &sent[3]]);
    let one = json(&beside(&system, &["events", "--aggregate", &format!("message/{}", sent[2]), "--json"]).await.well());
    assert_eq!((ids(&one), &one[0]["payload"]["sender_id"]), (vec![sent[2].as_str()], &Value::from(ann.id.to_string())));
    // Whoever looks sees no more personal data than whoever reads the log.
    let account = beside(&system, &["events", "--aggregate", &format!("account/{}", ann.id), "--json"]).await.well();
    assert!(json(&account)[0]["payload"]["email"]["sealed"].is_string() && !account.contains(&ann.email), "{account}");

    beside(&system, &["events", "--aggregate", "parcel/1"])
        .await
        .refused(&["parcel", "there are account, session, profile, contact, block, message, receipt"]);
    beside(&system, &["events", "--aggregate", "message/1"]).await.refused(&["\"1\"", "UUID"]);
    beside(&system, &["events", "--topic", "parcels"]).await.refused(&["parcels", "auth.events, users.events, messages.events"]);
    let mismatched = ["events", "--topic", "auth", "--aggregate", &format!("message/{}", sent[0])];
    beside(&system, &mismatched).await.refused(&["messages.events, not in auth.events"]);
    beside(&system, &["events"]).await.refused(&["--topic", "--aggregate"]);

    system.stop().await;
    let later = beside(&system, &["events", "--topic=messages", "--json"]).await.well();
    assert_eq!(json(&later), all, "the ledger stands without a process");
}

#[tokio::test]
async fn who_follows_sees_what_is_appended_until_nobody_reads_any_more() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let data = system.directory.join("data");
    let args = ["--data-dir", data.to_str().unwrap(), "events", "--topic=messages", "--follow", "--json"];
    let mut child = command(&system.directory, &args, &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        let id = send(&ann, &bob).await;
        let (read, back) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            (line, lines)
        })
        .await
        .unwrap();
        lines = back;
        assert_eq!(ids(&json(&read)), [id.to_string()]);
    }
    drop(lines);
    assert_eq!(ended(&mut child).await, Some(0), "a closed pipe ends it, though nothing more happens");
}

#[tokio::test]
async fn output_that_is_closed_early_is_no_error() {
    let dir = testkit::servers::temporary_directory();
    for args in [["config", "--defaults"].as_slice(), &["config"], &["config", "--json"]] {
        assert!(run(&dir, args, &[]).await.well().lines().count() > 10);
        let mut child = command(&dir, args, &[]).spawn().unwrap();
        drop(child.stdout.take());
        assert_eq!(ended(&mut child).await, Some(0), "{args:?}");
        let said = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(said, "", "{args:?}");
    }
}
