//! What was read, what was taken back, and what an inbox says of it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use testkit::{kafka, wait_until};
use uuid::Uuid;

use crate::cli::beside;

async fn send(from: &Person, to: &Person, content: &str) -> Uuid {
    let id = Uuid::now_v7();
    // With Kafka as log the copies that a send rests on may be seconds behind when it has just begun: it is refused then, and told to come again.
    wait_until("the send is taken", std::time::Duration::from_secs(60), async || {
        let sent = from.post("/api/v1/messages/send", Person::message(to.id, id, content)).await;
        assert!(sent.status == 200 || sent.status == 503 && sent.text.contains("projection_behind"), "{}", sent.text);
        (sent.status == 200).then_some(id)
    })
    .await
}

async fn read(who: &Person, id: Uuid) -> u16 {
    who.ask(Method::PUT, &format!("/api/v1/messages/{id}/read"), None).await.expect("an answer").status.as_u16()
}

async fn read_up_to(who: &Person, with: &Person, id: Uuid) {
    let path = format!("/api/v1/messages/conversation/{}/read", with.id);
    let answer = who.ask(Method::PUT, &path, Some(json!({"up_to": id}))).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
}

async fn delete(who: &Person, id: Uuid) -> u16 {
    who.ask(Method::DELETE, &format!("/api/v1/messages/{id}"), None).await.expect("an answer").status.as_u16()
}

/// Of each message in the conversation with somebody: its content, and whether it was read.
async fn history(who: &Person, with: &Person) -> Vec<(String, bool)> {
    let messages = who.get(&format!("/api/v1/messages/conversation/{}", with.id)).await;
    let shown = |message: &Value| {
        assert_eq!(message["is_read"].as_bool(), Some(!message["read_at"].is_null()), "{message}");
        (message["encrypted_content"].as_str().expect("text").to_owned(), message["is_read"] == true)
    };
    messages.as_array().expect("an array").iter().map(shown).collect()
}

/// What somebody's inbox says of the conversation with another: content of the last message, and how many are unread.
async fn inbox(who: &Person, with: &Person) -> Option<(Option<String>, i64)> {
    let inbox = who.get("/api/v1/messages/conversations").await;
    let one = inbox.as_array().expect("an array").iter().find(|one| one["user_id"] == json!(with.id))?;
    Some((one["last_message"]["encrypted_content"].as_str().map(str::to_owned), one["unread_count"].as_i64().expect("a number")))
}

fn told(list: &[(&str, bool)]) -> Vec<(String, bool)> {
    list.iter().map(|(content, read)| ((*content).to_owned(), *read)).collect()
}

#[tokio::test]
async fn what_is_read_is_seen_by_both_at_once_and_counted_no_more() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    assert_eq!(inbox(&ann, &bob).await, None);
    let one = send(&ann, &bob, "one").await;
    let two = send(&ann, &bob, "two").await;
    assert_eq!(inbox(&bob, &ann).await, Some((Some("two".into()), 2)));
    assert_eq!(inbox(&ann, &bob).await, Some((Some("two".into()), 0)));
    let shown = bob.get("/api/v1/messages/conversations").await;
    assert!(shown[0]["full_name"].as_str().is_some_and(|name| name.starts_with("ann ")), "{shown}");

    assert_eq!((read(&bob, one).await, read(&bob, one).await), (200, 200));
    for (who, with) in [(&ann, &bob), (&bob, &ann)] {
        assert_eq!(history(who, with).await, told(&[("one", true), ("two", false)]));
    }
    assert_eq!(bob.pending().await, [two], "what is read does not wait");
    let shown = ann.get(&format!("/api/v1/messages/conversation/{}", bob.id)).await;
    assert!(shown[0]["delivered_at"] == shown[0]["read_at"] && shown[0]["read_at"].is_string(), "reading is delivery: {shown}");
    assert_eq!(inbox(&bob, &ann).await, Some((Some("two".into()), 1)));
    assert_eq!((read(&ann, two).await, read(&ann, one).await), (403, 403));

    let answer = send(&bob, &ann, "answer").await;
    let three = send(&ann, &bob, "three").await;
    read_up_to(&bob, &ann, answer).await;
    assert_eq!(history(&ann, &bob).await, told(&[("one", true), ("two", true), ("answer", false), ("three", false)]));
    assert_eq!((inbox(&bob, &ann).await, inbox(&ann, &bob).await), (Some((Some("three".into()), 1)), Some((Some("three".into()), 1))));
    read_up_to(&bob, &ann, three).await;
    read_up_to(&ann, &bob, three).await;
    assert_eq!((inbox(&bob, &ann).await, inbox(&ann, &bob).await), (Some((Some("three".into()), 0)), Some((Some("three".into()), 0))));
    assert_eq!(bob.pending().await.len(), 0, "what is read up to does not wait");
    assert_eq!(ann.pending().await.len(), 0);
}

#[tokio::test]
async fn whoever_shows_nobody_what_they_read_sees_it_themselves_alone() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let wants = async |shows: bool| {
        let answer = bob.ask(Method::PUT, "/api/v1/users/me/settings", Some(json!({"read_receipts": shows}))).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        // What Bob has changed is no news to Ann before it is in the read model.
        bob.get("/api/v1/users/me/settings").await;
    };
    let last_is_read = async |who: &Person| who.get("/api/v1/messages/conversations").await[0]["last_message"]["is_read"] == true;
    wants(false).await;
    let one = send(&ann, &bob, "one").await;
    assert_eq!(read(&bob, one).await, 200);
    assert_eq!((history(&ann, &bob).await, last_is_read(&ann).await), (told(&[("one", false)]), false));
    assert_eq!((history(&bob, &ann).await, last_is_read(&bob).await), (told(&[("one", true)]), true));
    assert_eq!(inbox(&bob, &ann).await, Some((Some("one".into()), 0)));
    wants(true).await;
    assert_eq!((history(&ann, &bob).await, last_is_read(&ann).await), (told(&[("one", true)]), true));
}

#[tokio::test]
async fn what_is_deleted_is_gone_for_both_at_once_and_a_page_goes_on_from_where_it_stood() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let one = send(&ann, &bob, "one").await;
    let two = send(&ann, &bob, "two").await;
    let three = send(&ann, &bob, "three").await;
    assert_eq!((delete(&bob, three).await, delete(&eve, three).await, delete(&ann, Uuid::now_v7()).await), (403, 403, 404));
    assert_eq!(delete(&ann, three).await, 200);
    for (who, with) in [(&ann, &bob), (&bob, &ann)] {
        assert_eq!(history(who, with).await, told(&[("one", false), ("two", false)]));
    }
    assert_eq!(bob.pending().await, [one, two]);
    assert_eq!(inbox(&bob, &ann).await, Some((Some("two".into()), 2)));
    let before = bob.get(&format!("/api/v1/messages/conversation/{}?limit=10&before={three}", ann.id)).await;
    assert_eq!(before.as_array().map(Vec::len), Some(2));
    assert_eq!(read(&bob, three).await, 404);
    assert_eq!(delete(&ann, three).await, 200, "again");
    for id in [one, two] {
        assert_eq!(delete(&ann, id).await, 200);
    }
    assert_eq!((inbox(&bob, &ann).await, inbox(&ann, &bob).await), (Some((None, 0)), Some((None, 0))));
    let again = ann.post("/api/v1/messages/send", Person::message(bob.id, one, "one")).await;
    assert_eq!((again.status.as_u16(), again.json()["encrypted_content"].clone()), (200, json!("")));
    assert_eq!(history(&bob, &ann).await, told(&[]));
    let events = beside(system, &["events", "--aggregate", &format!("message/{one}"), "--json"]).await.well();
    assert_eq!(events.lines().count(), 2, "it stays in its place: {events}");
    assert!(!events.contains("\"one\""), "{events}");
}

#[tokio::test]
async fn a_queue_and_an_inbox_come_page_by_page() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let mut ids = Vec::new();
    for n in 0..3 {
        let other = Person::register(system, "other").await;
        ids.push(send(&other, &ann, &format!("{n}")).await);
    }
    let next = async |path: String| {
        let answer = ann.ask(Method::GET, &path, None).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text);
        let link = answer.header("link").map(|link| link.trim_start_matches('<').split('>').next().expect("a URL").to_owned());
        (answer.json(), link)
    };
    let (first, link) = next("/api/v1/relay/pending?limit=2".into()).await;
    assert_eq!((first["count"].as_u64(), first["messages"][1]["id"].clone()), (Some(2), json!(ids[1])));
    assert_eq!(ann.post("/api/v1/relay/acknowledge", json!({"message_id": ids[1]})).await.status, 200);
    let (second, end) = next(link.expect("there is more")).await;
    assert_eq!((second["count"].as_u64(), second["messages"][0]["id"].clone(), end), (Some(1), json!(ids[2]), None));
    let (first, link) = next("/api/v1/messages/conversations?limit=2".into()).await;
    assert_eq!((first[0]["last_message"]["id"].clone(), first[1]["last_message"]["id"].clone()), (json!(ids[2]), json!(ids[1])));
    let (second, end) = next(link.expect("there is more")).await;
    assert_eq!((second[0]["last_message"]["id"].clone(), second[1].clone(), end), (json!(ids[0]), Value::Null, None));
    for path in ["relay/pending?after=x", "relay/pending?limit=0", "messages/conversations?before=x", "messages/conversations?limit=-1"] {
        assert_eq!(ann.ask(Method::GET, &format!("/api/v1/{path}"), None).await.expect("an answer").status, 422, "{path}");
    }
    let foreign = ann.ask(Method::GET, &format!("/api/v1/relay/pending?after={}", Uuid::now_v7()), None).await.expect("an answer");
    assert_eq!(foreign.status, 422);
}

#[tokio::test]
async fn the_queue_as_a_whole_is_counted_for_everybody_and_cleaned_by_admins_alone() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let first = send(&ann, &bob, "one").await;
    send(&ann, &bob, "two").await;
    assert_eq!(bob.post("/api/v1/relay/acknowledge", json!({"message_id": first})).await.status, 200);
    assert_eq!(bob.post(&format!("/api/v1/relay/user/{}/online", bob.id), json!({})).await.json(), json!({"status": "online"}));
    let stats = bob.get("/api/v1/relay/stats").await;
    let expected = json!({"total_messages": 1, "deliverable_messages": 1, "expired_messages": 0, "acknowledged_messages": 1, "online_users": 1, "unique_recipients": 1});
    assert_eq!(stats, json!({"success": true, "stats": expected}));
    let refused = ann.post("/api/v1/relay/cleanup", json!({})).await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].clone()), (403, json!("admin_only")));
    assert_eq!((ann.get("/api/v1/groups").await, ann.get("/api/v1/groups/").await), (json!([]), json!([])));
}

#[tokio::test]
async fn reading_up_to_a_message_while_others_arrive_leaves_exactly_those_unread() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let stop = AtomicBool::new(false);
    let writing = async {
        let mut sent = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            sent.extend(join_all((0..4).map(|n| send(&ann, &bob, if n == 0 { "a" } else { "b" }))).await);
        }
        sent
    };
    let reading = async {
        let mut last = None;
        for _ in 0..25 {
            let seen = bob.conversation(ann.id).await;
            if let Some(newest) = seen.last() {
                // Two devices at once say the same.
                tokio::join!(read_up_to(&bob, &ann, *newest), read_up_to(&bob, &ann, *newest));
                let shown = history(&bob, &ann).await;
                assert!(shown.iter().take(seen.len()).all(|(_, read)| *read), "everything up to it is read");
                last = Some(*newest);
            }
        }
        stop.store(true, Ordering::Relaxed);
        last.expect("something was read")
    };
    let (sent, last) = tokio::join!(writing, reading);
    let order = ann.conversation(bob.id).await;
    assert_eq!(order.len(), sent.len());
    let later = order.len() - 1 - order.iter().position(|id| *id == last).expect("it stands");
    assert_eq!(inbox(&bob, &ann).await.map(|(_, unread)| unread), i64::try_from(later).ok());
    let said = beside(&system, &["verify", "unread"]).await.well();
    assert!(said.contains("unread messages in"), "{said}");
}

/// Everything that people see of messages.
async fn everything(people: &[Person]) -> BTreeMap<String, Value> {
    let mut seen = BTreeMap::new();
    for who in people {
        let mut paths = vec!["/api/v1/messages/conversations".to_owned(), "/api/v1/relay/pending".into()];
        paths.extend(people.iter().map(|with| format!("/api/v1/messages/conversation/{}", with.id)));
        for path in paths {
            seen.insert(format!("{} {path}", who.id), who.get(&path).await);
        }
    }
    // Everybody's numbers, last: the reads before have waited for what each of them did.
    seen.insert("/api/v1/relay/stats".to_owned(), people[0].get("/api/v1/relay/stats").await);
    seen
}

/// A little of everything by everybody, at once.
async fn a_life_of_messages(people: &[Person]) {
    let lives = people.iter().enumerate().map(async |(n, ann)| {
        for round in 0..6 {
            let bob = &people[(n + 1 + round % (people.len() - 1)) % people.len()];
            let ids = join_all((0..4).map(async |i| send(ann, bob, &format!("{n} {round} {i}")).await)).await;
            let receipt = json!({"message_id": ids[0]});
            tokio::join!(
                async { assert_eq!(bob.post("/api/v1/relay/acknowledge", receipt.clone()).await.status, 200) },
                async { assert_eq!(bob.post("/api/v1/relay/acknowledge", receipt.clone()).await.status, 200) },
                async { assert_eq!(read(bob, ids[1]).await, read(bob, ids[1]).await) },
                async { assert_eq!(delete(ann, ids[2]).await, 200) },
                async { assert!(matches!(read(bob, ids[2]).await, 200 | 404)) },
                read_up_to(bob, ann, ids[round % 4]),
                read_up_to(bob, ann, ids[round % 4]),
            );
        }
    });
    join_all(lives).await;
}

/// Lives, drops every read model of messages, starts again, and finds everything as it was; the log tells the same.
async fn is_the_same_after_a_rebuild_from_nothing(config: SystemConfig, broker: bool) {
    let mut system = System::start(config).await;
    let people = join_all((0..4).map(|_| Person::register(&system, "ann"))).await;
    a_life_of_messages(&people).await;
    let before = everything(&people).await;
    let mut postgres = system.postgres("message_db").await;
    sqlx::raw_sql("DROP SCHEMA conversations CASCADE; DROP SCHEMA relay CASCADE").execute(&mut postgres).await.expect("they are gone");
    drop(postgres);
    system.kill();
    system.start_again();
    system.ready().await;
    assert_eq!(everything(&people).await, before);
    let ledger = beside(&system, &["verify", "unread"]).await.well();
    if broker {
        let topic = wait_until("the topic is complete", std::time::Duration::from_secs(20), async || {
            let topic = beside(&system, &["verify", "unread", "--broker"]).await;
            (topic.code == Some(0)).then_some(topic.out)
        })
        .await;
        assert_eq!(topic, ledger, "ledger and topic tell the same");
    }
}

#[tokio::test]
async fn a_rebuild_from_nothing_gives_what_was_there_with_the_ledger_as_log() {
    is_the_same_after_a_rebuild_from_nothing(SystemConfig::default(), false).await;
}

#[tokio::test]
async fn a_rebuild_from_nothing_gives_what_was_there_with_kafka_as_log() {
    let broker = tokio::task::spawn_blocking(kafka::broker).await.expect("a broker");
    is_the_same_after_a_rebuild_from_nothing(SystemConfig::default().kafka(broker), true).await;
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_by_a_crash_is_completed_by_the_next_start() {
    let mut system = System::start(SystemConfig::default().env("POSTRIDER_CRASH_POINT", "delete.before_blanking")).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let id = send(&ann, &bob, "something secret").await;
    assert!(ann.ask(Method::DELETE, &format!("/api/v1/messages/{id}"), None).await.is_err(), "it dies before it answers");
    system.config = system.config.clone().without("POSTRIDER_CRASH_POINT");
    system.start_again();
    system.ready().await;
    assert_eq!(history(&bob, &ann).await, told(&[]));
    assert_eq!(delete(&ann, id).await, 200, "the repeat finds it done");
    wait_until("the ledger keeps no word of it", std::time::Duration::from_secs(20), async || {
        let events = beside(&system, &["events", "--aggregate", &format!("message/{id}"), "--json"]).await.well();
        (events.lines().count() == 2 && !events.contains("secret")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_count_that_drifts_is_found_and_shown() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    send(&ann, &bob, "one").await;
    send(&ann, &bob, "two").await;
    send(&ann, &ann, "a note").await;
    assert_eq!(inbox(&bob, &ann).await, Some((Some("two".into()), 2)));
    let said = beside(&system, &["verify", "unread"]).await.well();
    assert!(said.contains("2 unread messages in 1 conversations"), "{said}");
    let mut postgres = system.postgres("message_db").await;
    sqlx::raw_sql("UPDATE conversations.messages SET read_at = now() WHERE encrypted_content = 'one'")
        .execute(&mut postgres)
        .await
        .expect("a fault");
    let said = beside(&system, &["verify", "unread"]).await;
    said.refused(&["1 conversations differ"]);
    assert_eq!(said.code, Some(1));
    let line = said.out.lines().nth(1).expect("a line").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((line[0].clone(), line[2].as_str(), line[3].as_str()), (bob.id.to_string(), "1", "2"));
    let help = beside(&system, &["verify", "unread", "--help"]).await.well();
    assert!(help.contains("Exit code") && help.contains("--broker"), "{help}");
}
