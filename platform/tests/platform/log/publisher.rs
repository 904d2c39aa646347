//! The publisher, seen from the topic: whatever happens to it, every event stands there once and in order, each naming its predecessor.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use platform::config::StartError;
use platform::ledger::{Feed, Publisher};
use platform::log::kafka::KafkaConfig;
use platform::log::{Checkpoints, EventSource, SourceError};
use platform::shutdown::Shutdown;
use rustix::process::{Pid, Signal, kill_process};
use schemas::Topic;
use testkit::wait_until;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::conformance::{Reader, seek};
use super::support::{FromKafka, ledger_pool};

const BOUND: Duration = Duration::from_secs(30);

/// Every position once, in order, each naming the one before it in its partition.
fn whole(records: &[(i32, i64, i64)], positions: &[i64]) {
    let mut heads = BTreeMap::new();
    for (partition, position, prev) in records {
        let head = heads.insert(*partition, *position).unwrap_or(0);
        assert_eq!(*prev, head, "partition {partition}: {position} names {prev}");
        assert!(*position > head);
    }
    let mut all: Vec<_> = records.iter().map(|(_, position, _)| *position).collect();
    all.sort_unstable();
    assert_eq!(all, positions);
}

async fn published(world: &FromKafka, position: i64) {
    wait_until(("published", position), BOUND, async || {
        let at: Option<i64> = sqlx::query_scalar("SELECT max(position) FROM publisher_cursor").fetch_one(&world.ledger.pool).await.unwrap();
        (at >= Some(position)).then_some(())
    })
    .await;
}

async fn stop(publisher: JoinHandle<Result<(), StartError>>, shutdown: &Shutdown) {
    shutdown.drain();
    tokio::time::timeout(BOUND, publisher).await.unwrap().unwrap().unwrap();
}

/// Ends the session that holds the publisher's lock.
async fn cut_the_lock(world: &FromKafka) {
    wait_until("somebody holds the lock", BOUND, async || {
        let cut: Option<bool> = sqlx::query_scalar(
            "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks
              WHERE locktype = 'advisory' AND objsubid = 1 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        )
        .fetch_one(&world.ledger.pool)
        .await
        .unwrap();
        (cut == Some(true)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_event_is_published_once_in_order_and_names_its_predecessor() {
    let world = FromKafka::new().await;
    let mut positions = world.ledger.fill(0, 3000, 40).await;
    positions.extend(world.ledger.fill(3000, 10, 40).await);
    whole(&world.records(3010).await, &positions);
}

#[tokio::test]
async fn a_publisher_that_ended_is_followed_by_one_that_goes_on_where_it_was() {
    let world = FromKafka::unpublished().await;
    let mut positions = Vec::new();
    for round in 0..3 {
        positions.extend(world.ledger.fill(round * 100, 100, 9).await);
        let shutdown = Shutdown::new();
        let publisher = world.publish_until(&shutdown).await;
        published(&world, *positions.last().unwrap()).await;
        stop(publisher, &shutdown).await;
    }
    whole(&world.records(300).await, &positions);
}

#[tokio::test]
async fn the_second_publisher_waits_until_the_first_is_gone() {
    let world = FromKafka::unpublished().await;
    let (first, second) = (Shutdown::new(), Shutdown::new());
    let one = world.publish_until(&first).await;
    let mut positions = world.ledger.fill(0, 50, 9).await;
    published(&world, positions[49]).await;
    let two = world.publish_until(&second).await;
    positions.extend(world.ledger.fill(50, 50, 9).await);
    published(&world, positions[99]).await;
    let epochs = "SELECT epoch FROM publisher_cursor";
    assert_eq!(sqlx::query_scalar::<_, i64>(epochs).fetch_one(&world.ledger.pool).await.unwrap(), 1);
    stop(one, &first).await;
    positions.extend(world.ledger.fill(100, 50, 9).await);
    published(&world, positions[149]).await;
    assert_eq!(sqlx::query_scalar::<_, i64>(epochs).fetch_one(&world.ledger.pool).await.unwrap(), 2);
    stop(two, &second).await;
    whole(&world.records(150).await, &positions);
}

#[tokio::test]
async fn a_publisher_that_loses_its_lock_again_and_again_publishes_nothing_twice() {
    let world = FromKafka::unpublished().await;
    let (a, b) = (Shutdown::new(), Shutdown::new());
    let (one, two) = (world.publish_until(&a).await, world.publish_until(&b).await);
    let mut positions = Vec::new();
    for round in 0..6 {
        for part in 0..5 {
            positions.extend(world.ledger.fill(round * 1000 + part * 200, 200, 30).await);
            if part == 2 {
                published(&world, 1).await;
                cut_the_lock(&world).await;
            }
        }
    }
    published(&world, *positions.last().unwrap()).await;
    whole(&world.records(6000).await, &positions);
    stop(one, &a).await;
    stop(two, &b).await;
}

/// Not a test of its own: the publisher of the tests below, in a process that can be killed and stopped.
#[tokio::test]
#[ignore = "run as a child by other tests"]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "how its parent tells it")]
    let [url, brokers, prefix] = ["CHILD_URL", "CHILD_BROKERS", "CHILD_PREFIX"].map(|name| std::env::var(name).unwrap());
    let pool = ledger_pool(&url).await;
    let feed = Feed::open(pool.clone(), Topic::Messages, None, &Shutdown::new()).await.unwrap();
    let kafka = KafkaConfig { brokers, prefix, ..KafkaConfig::default() };
    Publisher::new(feed, pool, kafka).run(Shutdown::new()).await.unwrap();
}

fn child_of(world: &FromKafka, crash_point: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::publisher::child", "--ignored"])
        .env("CHILD_URL", &world.ledger.url)
        .env("CHILD_BROKERS", &world.kafka.brokers)
        .env("CHILD_PREFIX", &world.kafka.prefix)
        .env("POSTRIDER_CRASH_POINT", crash_point)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_before_a_crash_and_not_noted_is_not_published_again() {
    let world = FromKafka::unpublished().await;
    let positions = world.ledger.fill(0, 5000, 40).await;
    // Two pages: the first is noted, the second is in the topic when the process dies.
    let status = tokio::time::timeout(BOUND, child_of(&world, "publisher.after_ack:2").wait()).await.unwrap().unwrap();
    assert!(!status.success());
    let noted: i64 = sqlx::query_scalar("SELECT position FROM publisher_cursor").fetch_one(&world.ledger.pool).await.unwrap();
    assert_eq!(noted, positions[1999]);
    assert!(world.records(4000).await.len() >= 4000);
    world.publish().await;
    published(&world, positions[4999]).await;
    whole(&world.records(5000).await, &positions);
}

#[tokio::test]
async fn a_publisher_that_slept_beyond_its_lock_publishes_nothing_when_it_wakes() {
    let world = FromKafka::unpublished().await;
    let mut positions = world.ledger.fill(0, 1000, 30).await;
    let mut sleeper = child_of(&world, "");
    published(&world, positions[999]).await;
    let pid = Pid::from_raw(i32::try_from(sleeper.id().unwrap()).unwrap()).unwrap();
    // It is put to sleep in the middle of work, and loses its lock while it sleeps.
    positions.extend(world.ledger.fill(1000, 4000, 30).await);
    kill_process(pid, Signal::STOP).unwrap();
    cut_the_lock(&world).await;
    positions.extend(world.ledger.fill(5000, 1000, 30).await);
    world.publish().await;
    published(&world, *positions.last().unwrap()).await;
    kill_process(pid, Signal::CONT).unwrap();
    positions.extend(world.ledger.fill(6000, 1000, 30).await);
    published(&world, *positions.last().unwrap()).await;
    whole(&world.records(7000).await, &positions);
    sleeper.kill().await.unwrap();
}

#[tokio::test]
async fn a_topic_ahead_of_its_ledger_is_refused() {
    let world = FromKafka::unpublished().await;
    let positions = world.ledger.fill(0, 20, 3).await;
    let shutdown = Shutdown::new();
    let publisher = world.publish_until(&shutdown).await;
    published(&world, positions[19]).await;
    stop(publisher, &shutdown).await;
    // Restored to an older state, cursor included.
    sqlx::query("DELETE FROM events WHERE position > $1").bind(positions[9]).execute(&world.ledger.pool).await.unwrap();
    sqlx::query("DELETE FROM publisher_cursor").execute(&world.ledger.pool).await.unwrap();
    let refused = tokio::time::timeout(BOUND, world.publish().await).await.unwrap().unwrap().unwrap_err();
    let cause = std::error::Error::source(&refused).unwrap().to_string();
    assert!(cause.contains("restored"), "{cause}");
}

#[tokio::test]
async fn a_lost_cursor_is_found_again_in_the_topic() {
    let world = FromKafka::unpublished().await;
    let mut positions = world.ledger.fill(0, 200, 9).await;
    let shutdown = Shutdown::new();
    let publisher = world.publish_until(&shutdown).await;
    published(&world, positions[199]).await;
    stop(publisher, &shutdown).await;
    sqlx::query("DELETE FROM publisher_cursor").execute(&world.ledger.pool).await.unwrap();
    positions.extend(world.ledger.fill(200, 10, 9).await);
    world.publish().await;
    whole(&world.records(210).await, &positions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_killed_and_comes_back_has_every_event_once() {
    let broker = Arc::new(tokio::task::spawn_blocking(testkit::kafka::Broker::start).await.unwrap());
    let world = FromKafka::on(&broker).await;
    world.publish().await;
    let (mut source, mut reader) = (world.reader("reader").await, Reader::default());
    let mut positions = world.ledger.fill(0, 2000, 30).await;
    seek(&mut source, &Checkpoints::new()).await;
    reader.read(&mut source, 1500).await;
    for round in 1..3 {
        positions.extend(world.ledger.fill(round * 2000, 1000, 30).await);
        let killed = broker.clone();
        tokio::task::spawn_blocking(move || killed.kill()).await.unwrap();
        positions.extend(world.ledger.fill(round * 2000 + 1000, 1000, 30).await);
        let back = broker.clone();
        tokio::task::spawn_blocking(move || back.resume()).await.unwrap();
        published(&world, *positions.last().unwrap()).await;
    }
    whole(&world.records(6000).await, &positions);
    // And who read meanwhile goes on.
    while reader.seen.len() < 6000 {
        match source.next_batch().await {
            Ok(batch) => reader.take(&batch),
            Err(SourceError::Reassigned | SourceError::Unavailable(..)) => seek(&mut source, &reader.checkpoints).await,
            Err(other) => panic!("{other}"),
        }
    }
    reader.has_all(6000);
}
