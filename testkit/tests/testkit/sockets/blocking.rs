//! Nothing is pushed between two people while one has blocked the other.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::person::Person;
use testkit::servers::Pair;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};

use crate::faults::redis::AgingRedis;
use testkit::wait_until;

use super::{acknowledge, done, message_of, messages, people, send, until_message, until_told};

const BOUND: Duration = Duration::from_secs(10);

async fn block(who: &Person, whom: &Person, stands: bool) {
    let method = if stands { Method::POST } else { Method::DELETE };
    done(who, method, &format!("/api/v1/contacts/{}/block", whom.id), None).await;
}

#[tokio::test]
async fn after_a_block_nothing_of_the_other_is_pushed_but_ones_own_is() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let eve = Person::register(system, "eve").await;
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    let (read, deleted) = (send(&ann, &bob, "one").await, send(&bob, &ann, "two").await);
    until_message(&mut bobs, read).await;
    until_message(&mut anns, deleted).await;
    block(&bob, &ann, true).await;
    // Receipts and deletions are still possible; they are told to those whose they are.
    done(&bob, Method::PUT, &format!("/api/v1/messages/{read}/read"), None).await;
    acknowledge(&ann, deleted).await;
    done(&bob, Method::DELETE, &format!("/api/v1/messages/{deleted}"), None).await;
    let fence = send(&eve, &ann, "fence").await;
    let frames = until_message(&mut anns, fence).await;
    let of_them: Vec<_> = frames.iter().filter(|frame| [Some(read), Some(deleted)].contains(&message_of(frame))).collect();
    assert!(of_them.iter().all(|frame| frame["type"] == "message_sent"), "{of_them:?}");
    let own = bobs.find("message_deleted").await;
    assert_eq!(message_of(&own), Some(deleted));

    block(&bob, &ann, false).await;
    let again = send(&ann, &bob, "again").await;
    assert_eq!(messages(&until_message(&mut bobs, again).await), [again]);
}

#[tokio::test]
async fn what_waited_or_stood_in_the_log_before_a_block_is_not_pushed_after_it() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let eve = Person::register(system, "eve").await;
    let bobs = Socket::open(&bob).await;
    let cursor = bobs.cursor();
    bobs.close().await;
    let (of_ann, of_eve) = (send(&ann, &bob, "of ann").await, send(&eve, &bob, "of eve").await);
    until_told(&bob, of_eve).await;
    block(&ann, &bob, true).await;
    let mut waiting = Socket::open(&bob).await;
    assert_eq!(messages(&until_message(&mut waiting, of_eve).await), [of_eve]);
    let mut back = Socket::open_after(&bob, &cursor).await;
    assert_eq!(messages(&back.until(|frame| frame["type"] == "resumed").await), [of_eve]);
    let resumed = waiting.resume(&cursor).await;
    assert!(messages(&resumed).is_empty(), "{resumed:?}");

    // Each lifts their own only.
    block(&bob, &ann, true).await;
    block(&bob, &ann, false).await;
    assert_eq!(messages(&until_message(&mut Socket::open(&bob).await, of_eve).await), [of_eve]);
    block(&ann, &bob, false).await;
    assert_eq!(messages(&until_message(&mut Socket::open(&bob).await, of_eve).await), [of_ann, of_eve]);
}

#[tokio::test]
async fn when_a_block_ends_whoever_passed_over_something_for_it_is_told_to_reload() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (first, waits) = (send(&ann, &bob, "first").await, send(&ann, &bob, "waits").await);
    until_told(&bob, waits).await;
    acknowledge(&bob, first).await;
    block(&ann, &bob, true).await;
    let eve = Person::register(system, "eve").await;
    let fence = send(&eve, &bob, "fence").await;
    let mut bobs = Socket::open(&bob).await;
    assert_eq!(messages(&until_message(&mut bobs, fence).await), [fence]);
    acknowledge(&bob, fence).await;
    let cursor = bobs.cursor();
    block(&ann, &bob, false).await;
    bobs.expect("resume_reset").await;
    let mut back = Socket::open_after(&bob, &cursor).await;
    back.expect("resume_reset").await;
    back.expect("resumed").await;
    assert_eq!(bob.pending().await, [waits]);

    // So it is when something was deleted, or read, meanwhile: by those who have a socket open, and by those who come back.
    acknowledge(&bob, waits).await;
    let mut anns = Socket::open(&ann).await;
    block(&bob, &ann, true).await;
    let cursor = back.cursor();
    done(&ann, Method::DELETE, &format!("/api/v1/messages/{waits}"), None).await;
    done(&bob, Method::PUT, &format!("/api/v1/messages/{first}/read"), None).await;
    // All of that has been kept from somebody when this is told.
    let fence = send(&bob, &eve, "fence").await;
    bobs.until(|frame| frame["type"] == "message_sent" && message_of(frame) == Some(fence)).await;
    block(&bob, &ann, false).await;
    for socket in [&mut bobs, &mut back, &mut anns] {
        socket.find("resume_reset").await;
    }
    Socket::open_after(&bob, &cursor).await.find("resume_reset").await;

    // And when it stood in the log before the block, but was come to only while that stood.
    let deleted = send(&ann, &bob, "deleted").await;
    for socket in [&mut bobs, &mut back] {
        until_message(socket, deleted).await;
    }
    acknowledge(&bob, deleted).await;
    let cursor = back.cursor();
    done(&ann, Method::DELETE, &format!("/api/v1/messages/{deleted}"), None).await;
    bobs.find("message_deleted").await;
    block(&ann, &bob, true).await;
    let mut late = Socket::open_after(&bob, &cursor).await;
    late.expect("resumed").await;
    block(&ann, &bob, false).await;
    late.find("resume_reset").await;
    for socket in [&mut bobs, &mut back] {
        socket.find("resume_reset").await;
    }

    // Of nothing that was passed over nothing is said.
    block(&bob, &ann, true).await;
    block(&bob, &ann, false).await;
    let after = send(&ann, &bob, "after").await;
    for socket in [&mut bobs, &mut back] {
        let frames = until_message(socket, after).await;
        assert!(!frames.iter().any(|frame| frame["type"] == "resume_reset"), "{frames:?}");
    }
}

#[tokio::test]
async fn a_word_of_a_block_or_its_end_that_was_missed_is_looked_up() {
    let servers = Pair::start().await;
    let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
    let mut system = System::start(config).await;
    let mut redis =
        redis::Client::open(servers.redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("a connection");
    let (ann, bob) = people(&system).await;
    let mut bobs = Socket::open(&bob).await;
    for _ in 0..3 {
        block(&bob, &ann, true).await;
        // Nobody hears what is published until the channels stand again.
        let _: i64 = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).query_async(&mut redis).await.expect("it kills");
        block(&bob, &ann, false).await;
        let id = send(&ann, &bob, "you may").await;
        assert_eq!(messages(&until_message(&mut bobs, id).await), [id]);
    }
    system.stop().await;
}

/// People have blocked another, and nobody can know it: no read model has it yet, and Redis has forgotten what it lacks.
async fn nothing_comes_through_while_a_block_cannot_be_known(emptied: impl AsyncFnOnce(&mut AgingRedis)) {
    let mut redis = AgingRedis::start().await;
    let mut system = System::start(SystemConfig::default().env("REDIS_URL", redis.url())).await;
    let (ann, bob) = people(&system).await;
    let (carl, eve) = (Person::register(&system, "carl").await, Person::register(&system, "eve").await);
    // Of the two, bob has a socket open all the time.
    let (mut anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    for who in [&bob, &carl] {
        let waits = send(&ann, who, "before the block").await;
        until_told(who, waits).await;
    }
    bobs.find("new_message").await;

    let mut postgres = system.postgres("message_db").await;
    sqlx::raw_sql("BEGIN; LOCK TABLE blocks.blocks IN EXCLUSIVE MODE").execute(&mut postgres).await.expect("it locks");
    block(&bob, &ann, true).await;
    block(&carl, &ann, true).await;
    emptied(&mut redis).await;
    let mut opened = vec![(&bob, bobs)];
    for round in 0..3 {
        for who in [&bob, &carl] {
            let name = format!("{round} to {}", who.id);
            anns.send("typing", json!({"recipient_id": who.id, "is_typing": true})).await;
            let letter = json!({"message_id": name, "recipient_id": who.id, "encrypted_content": "x", "encrypted_session_key": "key"});
            anns.send("message", letter).await;
            let refused = anns.until(|frame| frame["client_id"] == name).await;
            assert_eq!(refused.last().map(|frame| &frame["type"]), Some(&json!("error")), "{refused:?}");
            match Socket::connect(who, "").await {
                // Whatever it is told is looked at in the end.
                Ok(socket) => opened.push((who, socket)),
                Err(refused) => assert_eq!(refused.status, 503, "{}", refused.text),
            }
        }
    }

    sqlx::raw_sql("ROLLBACK").execute(&mut postgres).await.expect("it unlocks");
    for who in [&bob, &carl] {
        let socket = wait_until("sockets open again", BOUND, async || Socket::connect(who, "").await.ok()).await;
        opened.push((who, socket));
    }
    let fences = [send(&eve, &bob, "fence").await, send(&eve, &carl, "fence").await];
    for (who, mut socket) in opened {
        let fence = fences[usize::from(who.id == carl.id)];
        let frames = until_message(&mut socket, fence).await;
        assert_eq!(messages(&frames), [fence], "{frames:?}");
        assert!(!frames.iter().any(|frame| frame["type"] == "typing"), "{frames:?}");
    }
    system.stop().await;
}

#[tokio::test]
async fn a_redis_that_came_back_empty_lets_nothing_through_whose_block_it_has_forgotten() {
    nothing_comes_through_while_a_block_cannot_be_known(async |redis| redis.age().await).await;
}

#[tokio::test]
async fn a_redis_that_was_emptied_lets_nothing_through_whose_block_it_has_forgotten() {
    nothing_comes_through_while_a_block_cannot_be_known(async |redis| redis.flush().await).await;
}

#[tokio::test]
async fn who_is_blocked_cannot_show_up_as_a_contact() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let eve = Person::register(system, "eve").await;
    let mut anns = Socket::open(&ann).await;
    block(&ann, &bob, true).await;
    done(&bob, Method::POST, "/api/v1/contacts/add", Some(json!({ "contact_id": ann.id }))).await;
    let fence = send(&eve, &ann, "fence").await;
    let frames = until_message(&mut anns, fence).await;
    assert!(frames.iter().all(|frame| frame["type"] != "contact_added"), "{frames:?}");
}
