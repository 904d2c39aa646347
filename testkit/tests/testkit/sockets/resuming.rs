//! Coming back: nothing is missed, and nothing is told twice.

use std::time::{Duration, Instant};

use platform::frames::Cursor;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

use super::{acknowledge, done, message_of, messages, people, send, send_by, until_message, until_told};

fn kinds(frames: &[Value]) -> Vec<(&str, Option<Uuid>)> {
    frames.iter().map(|frame| (frame["type"].as_str().expect("a type"), message_of(frame))).collect()
}

#[tokio::test]
async fn a_cursor_at_connect_brings_everything_since_as_it_would_have_come_and_then_resumed() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut bobs = Socket::open(&bob).await;
    let before = send(&ann, &bob, "before").await;
    until_message(&mut bobs, before).await;
    let cursor = bobs.cursor();
    bobs.close().await;
    let missed = send(&ann, &bob, "missed").await;
    let own = send(&bob, &ann, "own").await;
    let gone = send(&ann, &bob, "gone").await;
    let relayed = send_by(&ann, "/api/v1/relay/send", &bob, "relayed").await;
    acknowledge(&ann, own).await;
    // Another device's acknowledgement takes nothing from this one.
    acknowledge(&bob, missed).await;
    done(&ann, Method::DELETE, &format!("/api/v1/messages/{gone}"), None).await;
    let fence = send(&ann, &bob, "fence").await;
    assert_eq!(bob.conversation(ann.id).await.last(), Some(&fence));
    until_message(&mut Socket::open(&bob).await, fence).await;

    for _ in 0..2 {
        let mut back = Socket::open_after(&bob, &cursor).await;
        let frames = back.until(|frame| frame["type"] == "resumed").await;
        let expected = [
            ("new_message", Some(missed)),
            ("message_sent", Some(own)),
            ("relay_message", Some(relayed)),
            ("message_delivered", Some(own)),
            ("message_deleted", Some(gone)),
            ("new_message", Some(fence)),
            ("resumed", None),
        ];
        assert_eq!(kinds(&frames), expected);
        let live = send(&ann, &bob, "live").await;
        assert_eq!(messages(&until_message(&mut back, live).await), [live]);
        acknowledge(&bob, live).await;
        // From the newest cursor on there is nothing.
        let mut again = Socket::open_after(&bob, &back.cursor()).await;
        let frames = again.until(|frame| frame["type"] == "resumed").await;
        assert!(messages(&frames).is_empty(), "{frames:?}");
        done(&ann, Method::DELETE, &format!("/api/v1/messages/{live}"), None).await;
        if messages(&frames).is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn every_cursor_of_a_conversation_brings_exactly_what_came_after_it() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut bobs = Socket::open(&bob).await;
    let (mut cursors, mut sent) = (vec![bobs.cursor()], Vec::new());
    for n in 0..10 {
        let id = if n % 3 == 2 { send(&bob, &ann, "x").await } else { send(&ann, &bob, "x").await };
        bobs.until(|frame| message_of(frame) == Some(id)).await;
        cursors.push(bobs.cursor());
        sent.push(id);
    }
    for (n, cursor) in cursors.iter().enumerate() {
        let mut back = Socket::open_after(&bob, cursor).await;
        let mut frames = back.until(|frame| frame["type"] == "resumed").await;
        frames.pop();
        assert_eq!(frames.iter().filter_map(message_of).collect::<Vec<_>>(), sent[n..], "after {n}");
    }
}

#[tokio::test]
async fn a_resume_on_an_open_socket_brings_what_was_missed_and_repeats_nothing_that_it_has_told() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let cursor = Socket::open(&bob).await.cursor();
    let (acknowledged, waiting) = (send(&ann, &bob, "acknowledged").await, send(&ann, &bob, "waiting").await);
    let own = send(&bob, &ann, "own").await;
    acknowledge(&bob, acknowledged).await;
    until_message(&mut Socket::open(&bob).await, waiting).await;

    let mut back = Socket::open(&bob).await;
    assert_eq!(messages(&until_message(&mut back, waiting).await), [waiting]);
    let live = send(&ann, &bob, "live").await;
    until_message(&mut back, live).await;
    for (round, expected) in
        [(1, vec![("new_message", Some(acknowledged)), ("message_sent", Some(own)), ("resumed", None)]), (2, vec![("resumed", None)])]
    {
        let frames = back.resume(&cursor).await;
        assert_eq!(kinds(&frames), expected, "round {round}");
    }
    let later = send(&ann, &bob, "later").await;
    assert_eq!(messages(&until_message(&mut back, later).await), [later]);
}

#[tokio::test]
async fn each_of_several_resumes_is_answered_in_its_turn() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut bobs = Socket::open(&bob).await;
    let early = bobs.cursor();
    let id = send(&ann, &bob, "hello").await;
    until_message(&mut bobs, id).await;
    let mut back = Socket::open(&bob).await;
    until_message(&mut back, id).await;
    let asked = ["nonsense", &early, "", &early, &early, "nonsense"];
    for cursor in asked {
        back.send("resume", json!({"cursor": cursor})).await;
    }
    let fence = send(&ann, &bob, "fence").await;
    let frames = until_message(&mut back, fence).await;
    let answers: Vec<&str> = frames.iter().filter_map(|frame| frame["type"].as_str()).filter(|kind| kind.starts_with("resume")).collect();
    assert_eq!(answers, asked.map(|cursor| if cursor == early { "resumed" } else { "resume_reset" }), "{frames:?}");
    assert_eq!(messages(&frames), [fence], "nothing is repeated");
}

#[tokio::test]
async fn a_flood_of_resumes_is_refused_and_holds_up_nobody() {
    const FLOOD: usize = 1_000;
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut carls = Socket::open(&Person::register(system, "carl").await).await;
    let carl = carls.established()["user_id"].clone();
    let cursor = Socket::open(&bob).await.cursor();
    let mut last = Uuid::nil();
    for n in 0..50 {
        last = send(&ann, &bob, &format!("message {n}")).await;
    }
    until_told(&bob, last).await;
    let (mut flood, mut beside) = (Socket::open(&bob).await, Socket::open(&bob).await);
    until_message(&mut flood, last).await;
    until_message(&mut beside, last).await;

    let began = Instant::now();
    for _ in 0..FLOOD {
        flood.send("resume", json!({"cursor": cursor})).await;
    }
    flood.send("fence", json!({"message_id": "fence"})).await;
    // Nobody waits for that, not even the same user at another socket.
    let id = Uuid::now_v7();
    let letter = json!({"message_id": id, "recipient_id": carl, "encrypted_content": "x", "encrypted_session_key": "key"});
    beside.send("message", letter).await;
    assert_eq!(messages(&until_message(&mut carls, id).await), [id]);
    let held_up = began.elapsed();
    assert!(held_up < Duration::from_secs(5), "{held_up:?}");

    let frames = flood.until(|frame| frame["client_id"] == "fence").await;
    let refused = frames.iter().filter(|frame| frame["code"] == "rate_limited" && frame["client_id"].is_null()).count();
    // 20 frames each: of a socket that may say a thousand at once, and two hundred a second.
    let most = 50 + 10 * usize::try_from(began.elapsed().as_secs() + 1).expect("seconds");
    assert!((1..=most).contains(&(FLOOD - refused)), "{refused} of {FLOOD} were refused");
    assert!(messages(&frames).is_empty(), "what it was told it is not told again");
    let live = send(&ann, &bob, "live").await;
    let rest = until_message(&mut flood, live).await;
    assert_eq!(messages(&rest), [live]);
    let answered = frames.iter().chain(&rest).filter(|frame| frame["type"] == "resumed").count();
    assert_eq!(answered, FLOOD - refused, "each is answered");
}

#[tokio::test]
async fn a_cursor_that_says_nothing_is_answered_and_everything_that_waits_follows() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let waiting = send(&ann, &bob, "waiting").await;
    until_told(&bob, waiting).await;
    for nonsense in ["", "nonsense", "AQAAAAAB", "%F0%9F%98%80", "~1"] {
        let mut bobs = Socket::open_after(&bob, nonsense).await;
        let frames = until_message(&mut bobs, waiting).await;
        assert_eq!(kinds(&frames), [("resume_reset", None), ("relay_message", Some(waiting))], "{nonsense}");
        let frames = bobs.resume(nonsense).await;
        assert_eq!(kinds(&frames), [("resume_reset", None)], "{nonsense}");
        let live = send(&ann, &bob, "live").await;
        until_message(&mut bobs, live).await;
        acknowledge(&bob, live).await;
    }
}

#[tokio::test]
async fn who_breaks_off_in_the_middle_of_what_waits_gets_the_rest_by_the_cursor() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut sent = Vec::new();
    for n in 0..20 {
        sent.push(send(&ann, &bob, &format!("message {n}")).await);
    }
    until_told(&bob, sent[19]).await;
    let mut bobs = Socket::open(&bob).await;
    let greeted = bobs.cursor();
    let seen = messages(&until_message(&mut bobs, sent[6]).await);
    assert_eq!(seen, sent[..7]);
    let cursor = bobs.cursor();
    drop(bobs);
    sent.push(send(&ann, &bob, "later").await);
    until_told(&bob, sent[20]).await;
    for (cursor, from) in [(cursor, 7), (greeted, 0)] {
        let mut back = Socket::open_after(&bob, &cursor).await;
        let frames = back.until(|frame| frame["type"] == "resumed").await;
        assert_eq!(messages(&frames), sent[from..]);
    }
}

#[tokio::test]
async fn whoever_reads_so_slowly_that_the_log_has_moved_on_is_told_to_reload_before_what_waits() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_FRAMES__LOG_ENTRIES", 10)).await;
    let (ann, bob) = people(&system).await;
    let mut sent = Vec::new();
    // More than the connection takes unread.
    for _ in 0..200 {
        sent.push(send(&ann, &bob, &"w".repeat(64 << 10)).await);
    }
    until_told(&bob, sent[199]).await;
    let mut slow = Socket::open_narrow(&bob).await;
    let mut live = Vec::new();
    // More than a socket keeps aside, also of events whose bodies are looked up later.
    for _ in 0..300 {
        live.push(send(&ann, &bob, &"l".repeat(600)).await);
    }
    until_told(&bob, live[299]).await;
    let taken = live.remove(5);
    acknowledge(&bob, taken).await;
    assert!(!bob.pending().await.contains(&taken));

    let frames = until_message(&mut slow, live[298]).await;
    let brought = messages(&frames);
    sent.extend(&live);
    let differs = brought.iter().zip(&sent).position(|(brought, sent)| brought != sent);
    let odd = differs.map(|at| (brought[at] == taken, brought.iter().position(|id| *id == brought[at])));
    assert!(
        brought == sent,
        "everything that still waits, in its order: {} and {}, from {differs:?} on (the acknowledged one? first at? {odd:?})",
        brought.len(),
        sent.len()
    );
    let resets: Vec<usize> = (0..frames.len()).filter(|at| frames[*at]["type"] == "resume_reset").collect();
    assert_eq!(resets.len(), 1);
    let missing = frames.iter().position(|frame| message_of(frame) == Some(live[5])).expect("it came");
    assert!(resets[0] < missing, "the word comes before the gap");
    let next = send(&ann, &bob, "next").await;
    assert_eq!(messages(&until_message(&mut slow, next).await), [next]);
}

#[tokio::test]
async fn a_cursor_of_what_has_not_happened_yet_is_no_cursor() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let mut socket = Socket::open(&bob).await;
    let text = socket.cursor();
    let mut cursor: Cursor = text.split('~').next().expect("a first part").parse().expect("a cursor");
    cursor.places.raise(schemas::Topic::Messages, 3, i64::MAX / 2);
    let frames = socket.resume(&cursor.to_string()).await;
    assert_eq!(frames.last().map(|frame| frame["type"].clone()), Some("resume_reset".into()), "{frames:?}");
    let mut another = Socket::open_after(&bob, &cursor.to_string()).await;
    assert_eq!(another.until(|frame| frame["type"] == "resume_reset").await.len(), 1);
    let id = send(&ann, &bob, "live").await;
    until_message(&mut socket, id).await;
    until_message(&mut another, id).await;
}
