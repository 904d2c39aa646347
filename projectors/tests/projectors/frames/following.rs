use std::sync::Arc;
use std::time::Duration;

use platform::frames::Places;
use platform::log::SCAN;
use projectors::frames::Fold;
use schemas::users::{ContactAdded, ContactEvent, ContactOrigin};
use schemas::{ContactRowId, MessageId, Recorded, Topic, UserId};
use testkit::wait_until;
use uuid::Uuid;

use super::world::{LONG, Line, World, lines};
use crate::history::{deliveries, recorded, sent, user};

fn message(from: u8, to: u8, position: i64) -> Arc<Recorded> {
    sent(MessageId(Uuid::now_v7()), from, to, position, Some(1_000), false)
}

/// What a user's log holds when nothing goes wrong.
pub fn expected(events: &[Arc<Recorded>], user: UserId) -> Vec<Line> {
    let fold = Fold::of(events.iter().map(|event| (event, event.partition())), |error| panic!("{error}"));
    let own = fold.appends.into_iter().filter(|append| append.user == user);
    own.map(|append| (Topic::Messages, append.partition, append.position, append.text)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_batching_with_processes_that_die_between_leaves_each_log_as_the_plain_fold() {
    let world = World::new().await;
    world.process(1).await.is_ready().await;
    for (n, delivery) in deliveries(6).into_iter().enumerate() {
        // Histories begin at 1: each in a life of its own would be another test.
        let offset = world.messages.head();
        let events: Vec<_> = delivery.events.iter().map(|event| moved(event, offset)).collect();
        let (log, mut before) = (world.log().await, Vec::new());
        for person in 0..4 {
            before.push(lines(&log, user(person)).await);
        }
        for (turn, part) in events.chunks(7).enumerate() {
            world.messages.append(part);
            // Killed anywhere, with another one beside it that takes over.
            let (one, two) = (world.process(1 + turn % 5).await, world.process(3).await);
            for _ in 0..turn * 3 {
                tokio::task::yield_now().await;
            }
            drop(one);
            if turn % 2 == 0 {
                two.stands_at(Topic::Messages, world.messages.head()).await;
            }
        }
        let last = world.process(100).await;
        last.stands_at(Topic::Messages, world.messages.head()).await;
        for (before, person) in before.into_iter().zip(0..4) {
            let all: Vec<Line> = before.into_iter().chain(expected(&events, user(person))).collect();
            assert_eq!(lines(&last.log, user(person)).await, all, "history {n}, user {person}");
        }
    }
}

/// The same event further on in the ledger.
fn moved(event: &Arc<Recorded>, offset: i64) -> Arc<Recorded> {
    Arc::new(Recorded { position: event.position + offset, ..(**event).clone() })
}

#[tokio::test]
async fn nothing_is_told_before_every_read_model_that_it_announces_contains_it() {
    let world = World::new().await;
    let process = world.process_behind(10).await;
    process.is_ready().await;
    let row = ContactRowId(Uuid::now_v7());
    let added = ContactAdded { contact_row_id: row, user_id: user(1), contact_id: user(2), nickname: None, origin: ContactOrigin::Added };
    world.messages.append(&[message(1, 2, 5)]);
    world.users.append(&[recorded(&ContactEvent::Added(added), row, 9)]);
    let silent = async || {
        let nothing = tokio::time::timeout(Duration::from_millis(300), async {
            while lines(&process.log, user(2)).await.is_empty() {
                tokio::task::yield_now().await;
            }
        });
        nothing.await.is_err()
    };
    process.covers("conversations", Topic::Messages, 5);
    process.covers("relay", Topic::Messages, 4);
    process.covers("contacts", Topic::Users, 8);
    assert!(silent().await);
    process.covers("relay", Topic::Messages, 5);
    wait_until("the message is told", LONG, async || (lines(&process.log, user(2)).await.len() == 1).then_some(())).await;
    process.covers("contacts", Topic::Users, 9);
    wait_until("the contact is told", LONG, async || (lines(&process.log, user(2)).await.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_redis_that_knows_nothing_begins_at_the_head_and_not_with_history() {
    let world = World::new().await;
    world.messages.append(&[message(1, 2, 5), message(1, 2, 8)]);
    world.head(Topic::Messages, 1, 8).await;
    let process = world.process(10).await;
    process.is_ready().await;
    let stored = process.log.after(user(2), &Places::default()).await.unwrap();
    assert!(stored.entries.is_empty() && !stored.whole, "what was before is found in Postgres");
    assert_eq!(stored.head.at(Topic::Messages, 3), 8);
    world.messages.append(&[message(1, 2, 9)]);
    process.stands_at(Topic::Messages, 9).await;
    assert!(process.log.after(user(2), &stored.head).await.unwrap().whole);
    assert_eq!(lines(&process.log, user(2)).await.len(), 1);
}

#[tokio::test]
async fn an_emptied_redis_goes_on_where_the_process_stood_and_after_its_death_where_postgres_says() {
    let mut world = World::new().await;
    let process = world.process(10).await;
    process.is_ready().await;
    world.messages.append(&[message(1, 2, 5)]);
    process.stands_at(Topic::Messages, 5).await;
    world.redis.tell("FLUSHALL").await;
    // Nothing has happened since, and yet it is noticed.
    process.stands_at(Topic::Messages, 5).await;
    process.stands_at(Topic::Users, 0).await;
    assert_eq!(lines(&process.log, user(2)).await, []);
    world.messages.append(&[message(1, 2, 6)]);
    process.stands_at(Topic::Messages, 6).await;
    assert_eq!(lines(&process.log, user(2)).await.len(), 1);
    let kept = async || {
        let kept: Option<i64> = sqlx::query_scalar("SELECT last_position FROM frames.stood WHERE topic = 'messages' AND partition = $1")
            .bind(SCAN)
            .fetch_optional(&world.pool)
            .await
            .unwrap();
        (kept == Some(6)).then_some(())
    };
    wait_until("Postgres knows", LONG, kept).await;
    drop(process);
    world.redis.kill();
    world.messages.append(&[message(1, 2, 7), message(2, 1, 8)]);
    world.head(Topic::Messages, 1, 8).await;
    world.redis.start().await;
    let process = world.process(10).await;
    process.is_ready().await;
    assert_eq!(lines(&process.log, user(2)).await, expected(&world.messages.events()[2..], user(2)), "what came meanwhile is told");
}

#[tokio::test]
async fn a_redis_with_an_old_state_is_caught_up_with_or_left_behind_when_that_would_take_long() {
    let mut world = World::new().await;
    let process = world.process(10).await;
    process.is_ready().await;
    world.messages.append(&[message(1, 2, 5)]);
    process.stands_at(Topic::Messages, 5).await;
    world.redis.tell("SAVE").await;
    world.messages.append(&[message(1, 2, 6)]);
    process.stands_at(Topic::Messages, 6).await;
    world.redis.kill();
    world.redis.start().await;
    process.stands_at(Topic::Messages, 6).await;
    assert_eq!(lines(&process.log, user(2)).await, expected(&world.messages.events(), user(2)));
    // Far ahead, in positions.
    world.messages.append(&[message(1, 2, 1_000_000)]);
    process.stands_at(Topic::Messages, 1_000_000).await;
    world.redis.kill();
    world.redis.start().await;
    process.stands_at(Topic::Messages, 1_000_000).await;
    let stored = process.log.after(user(2), &Places::default()).await.unwrap();
    assert!(stored.entries.is_empty() && !stored.whole);
    world.messages.append(&[message(1, 2, 1_000_001)]);
    process.stands_at(Topic::Messages, 1_000_001).await;
    assert_eq!(lines(&process.log, user(2)).await.len(), 1);
}

#[tokio::test]
async fn who_stands_by_is_ready_and_takes_over() {
    let world = World::new().await;
    world.messages.append(&[message(1, 2, 5)]);
    let one = world.process(10).await;
    one.is_ready().await;
    let two = world.process(10).await;
    two.is_ready().await;
    drop(one);
    world.messages.append(&[message(1, 2, 6)]);
    two.stands_at(Topic::Messages, 6).await;
    assert_eq!(lines(&two.log, user(2)).await.len(), 2);
}
