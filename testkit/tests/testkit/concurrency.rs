//! Two processes on the same servers do each thing once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::log::kafka::{KafkaConfig, decode};
use platform::private::{DataDir, PrivatePostgres, PrivateRedis};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use rustix::process::Signal;
use schemas::Topic;
use sqlx::{Connection, PgConnection};
use testkit::kafka;
use testkit::load::{Acknowledging, Load, violations};
use testkit::servers::temporary_directory;
use testkit::system::{System, SystemConfig, signal};
use testkit::wait_until;

/// A Postgres and a Redis of their own, which live for as long as the test.
struct Ground {
    postgres: PrivatePostgres,
    redis: PrivateRedis,
}

impl Ground {
    async fn new() -> Self {
        let locked = Arc::new(DataDir::open(&temporary_directory()).and_then(|dir| dir.lock()).expect("a directory"));
        let (postgres, redis) = tokio::join!(PrivatePostgres::start(&locked), PrivateRedis::start(&locked));
        Self { postgres: postgres.expect("a Postgres"), redis: redis.expect("a Redis") }
    }

    fn config(&self) -> SystemConfig {
        SystemConfig::default().env("DATABASE_URL", self.postgres.url()).env("REDIS_URL", self.redis.url())
    }

    /// As superuser.
    async fn connect(&self, database: &str) -> PgConnection {
        let (server, _) = self.postgres.url().rsplit_once('/').expect("a URL with a database");
        PgConnection::connect(&format!("{server}/{database}")).await.expect("Postgres answers")
    }

    /// Ends the sessions that hold the publishers' locks, as a network that drops them would.
    async fn cut_the_publishers_locks(&self) {
        for (database, topic) in [("auth_db", Topic::Auth), ("user_db", Topic::Users), ("message_db", Topic::Messages)] {
            let mut connection = self.connect(database).await;
            wait_until(("its lock is held", topic), Duration::from_secs(20), async || {
                let cut: Option<bool> = sqlx::query_scalar(
                    "SELECT bool_or(pg_terminate_backend(pid)) FROM pg_locks
                      WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                        AND (classid::bigint << 32 | objid::bigint) = hashtextextended($1, 0)",
                )
                .bind(format!("publisher.{topic}"))
                .fetch_one(&mut connection)
                .await
                .expect("an answer");
                (cut == Some(true)).then_some(())
            })
            .await;
        }
    }

    /// Waits until what stands in the messages' ledger now is in its topic.
    async fn everything_is_published(&self) {
        let head = self.positions().await.last().copied();
        let mut connection = self.connect("message_db").await;
        wait_until(("published", head), Duration::from_secs(30), async || {
            let query = "SELECT max(position) FROM messages_ledger.publisher_cursor";
            let published: Option<i64> = sqlx::query_scalar(query).fetch_one(&mut connection).await.expect("an answer");
            (published >= head).then_some(())
        })
        .await;
    }

    /// Every position of the messages' ledger.
    async fn positions(&self) -> Vec<i64> {
        let query = "SELECT position FROM messages_ledger.events ORDER BY position";
        sqlx::query_scalar(query).fetch_all(&mut self.connect("message_db").await).await.expect("an answer")
    }
}

/// What stands committed in a topic: partition, position, predecessor; once there are as many as expected.
fn topic_in_whole(config: &SystemConfig, at_least: usize) -> Vec<(i32, i64, i64)> {
    let value = |name: &str| config.env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).expect(name);
    let kafka = KafkaConfig { brokers: value("KAFKA_BROKERS"), prefix: value("POSTRIDER_KAFKA__TOPIC_PREFIX"), ..KafkaConfig::default() };
    let mut client = kafka.client();
    client.set("group.id", "looking").set("enable.auto.commit", "false").set("isolation.level", "read_committed");
    let consumer: BaseConsumer = client.set("enable.partition.eof", "true").create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..Topic::PARTITIONS {
        all.add_partition_offset(&kafka.topic(Topic::Messages, 1), partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&all).expect("an assignment");
    let (mut records, mut ended, begin) = (Vec::new(), BTreeSet::new(), Instant::now());
    while records.len() < at_least || ended.len() < all.count() {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} of {at_least} records", records.len());
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                ended.remove(&message.partition());
                let event = decode(Topic::Messages, &message).expect("an event");
                records.push((message.partition(), event.position, event.prev_position.expect("it names its predecessor")));
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(ended.insert(partition)),
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    records
}

/// Every event of the ledger stands in the topic once, in order, and names the one before it.
async fn topic_is_right(ground: &Ground, config: &SystemConfig) {
    let positions = ground.positions().await;
    let (config, count) = (config.clone(), positions.len());
    let records = tokio::task::spawn_blocking(move || topic_in_whole(&config, count)).await.expect("the topic can be read");
    let mut heads = BTreeMap::new();
    for (partition, position, prev) in &records {
        let head = heads.insert(*partition, *position).unwrap_or(0);
        assert!(*position > head, "partition {partition}: {position} comes after {head}");
        assert_eq!(*prev, head, "partition {partition}: the predecessor that {position} names");
    }
    let mut published: Vec<i64> = records.iter().map(|(_, position, _)| *position).collect();
    published.sort_unstable();
    assert_eq!(published, positions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_project_each_event_once_even_when_one_is_killed_again_and_again() {
    let ground = Ground::new().await;
    let (mut one, other) = (System::start(ground.config()).await, System::start(ground.config()).await);
    // Who writes to one process is read at the other.
    let load = Load::between(&one, &other, 2, Acknowledging::EveryThird).await;
    let back = Load::between(&other, &one, 1, Acknowledging::EveryThird).await;
    for _ in 0..4 {
        load.goes_on(10).await;
        one.kill();
        one.start_again();
        one.ready().await;
    }
    load.goes_on(10).await;
    let (mut promises, back) = tokio::join!(load.end(), back.end());
    promises.extend(back);
    assert_eq!(violations(&promises).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_partitions_of_a_broker_even_when_one_is_killed_again_and_again() {
    let ground = Ground::new().await;
    let config = ground.config().kafka(kafka::broker());
    let (mut one, other) = (System::start(config.clone()).await, System::start(config.clone()).await);
    let load = Load::between(&one, &other, 2, Acknowledging::EveryThird).await;
    for _ in 0..2 {
        load.goes_on(10).await;
        one.kill();
        one.start_again();
        one.ready().await;
    }
    load.goes_on(10).await;
    assert_eq!(violations(&load.end().await).await, Vec::<String>::new());
    topic_is_right(&ground, &config).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_slept_beyond_its_locks_publishes_nothing_out_of_order_when_it_wakes() {
    let ground = Ground::new().await;
    let config = ground.config().kafka(kafka::broker());
    let sleeper = System::start(config.clone()).await;
    let through_the_sleeper = Load::begin(&sleeper, 2).await;
    through_the_sleeper.goes_on(20).await;
    let pid = sleeper.pid().expect("it runs");
    signal(pid, Signal::STOP);
    ground.cut_the_publishers_locks().await;
    let other = System::start(config.clone()).await;
    let load = Load::begin(&other, 1).await;
    load.goes_on(20).await;
    ground.everything_is_published().await;
    signal(pid, Signal::CONT);
    through_the_sleeper.goes_on(20).await;
    load.goes_on(20).await;
    let (mut promises, through_the_sleeper) = tokio::join!(load.end(), through_the_sleeper.end());
    promises.extend(through_the_sleeper);
    assert_eq!(violations(&promises).await, Vec::<String>::new());
    topic_is_right(&ground, &config).await;
}
