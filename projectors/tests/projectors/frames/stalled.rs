//! A process that stands still, keeps the lock, and goes on after somebody else did.

use platform::frames::{Append, Step, Stepped};
use platform::log::Checkpoints;
use schemas::{MessageId, Topic};
use uuid::Uuid;

use super::following::expected;
use super::world::{World, lines};
use crate::history::{sent, user};

#[tokio::test]
async fn a_process_that_stands_still_is_replaced_and_what_it_still_says_when_it_goes_on_is_not_heard() {
    let world = World::new().await;
    let before = world.process(10).await;
    before.is_ready().await;
    let message = |position| sent(MessageId(Uuid::now_v7()), 1, 2, position, Some(1_000), false);
    world.messages.append(&[message(5)]);
    before.stands_at(Topic::Messages, 5).await;
    let log = world.log().await;
    let stood = log.stands(Topic::Messages).await.unwrap().unwrap();
    before.shutdown.drain();
    let mut stopped = world.pool.acquire().await.unwrap().detach();
    sqlx::query("SELECT pg_advisory_lock(hashtextextended('projection.frames.messages', 0))").execute(&mut stopped).await.unwrap();

    let after = world.process(10).await;
    world.messages.append(&[message(6), message(8)]);
    after.stands_at(Topic::Messages, 8).await;
    assert!(sqlx::query("SELECT 1").execute(&mut stopped).await.is_err(), "its session is gone");
    // It had read as far as 6 when it was stopped, and now says so.
    let step = |from: &Checkpoints, position: i64| {
        let to = from
            .iter()
            .map(|(place, row)| (*place, platform::log::Checkpoint { last_position: position, next_offset: position, ..row.clone() }));
        let append = Append { user: user(2), partition: 0, position, text: "{}".into(), body: None, between: None };
        Step { topic: Topic::Messages, appends: vec![append], bodies: vec![], blocks: vec![], from: from.clone(), to: to.collect() }
    };
    assert_eq!(log.step(&step(&stood, 6)).await.unwrap(), Stepped::Moved);
    world.messages.append(&[message(9)]);
    after.stands_at(Topic::Messages, 9).await;
    for person in [1, 2] {
        assert_eq!(lines(&log, user(person)).await, expected(&world.messages.events(), user(person)));
    }
}

#[tokio::test]
async fn a_process_that_stands_still_while_redis_is_emptied_is_replaced() {
    let world = World::new().await;
    let before = world.process(10).await;
    before.is_ready().await;
    before.shutdown.drain();
    let mut stopped = world.pool.acquire().await.unwrap().detach();
    for name in ["messages", "users"] {
        sqlx::query("SELECT pg_advisory_lock(hashtextextended('projection.frames.' || $1, 0))")
            .bind(name)
            .execute(&mut stopped)
            .await
            .unwrap();
    }
    world.redis.tell("FLUSHALL").await;
    world.process(10).await.is_ready().await;
}
