//! A ledger to read from, written through its own function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::config::StartError;
use platform::ledger::{Feed, Publisher};
use platform::log::kafka::{KafkaConfig, KafkaSource};
use platform::log::topics::Topics;
use platform::shutdown::Shutdown;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use schemas::{Topic, key_hash};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool};
use testkit::kafka::Broker;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The messages ledger in a database of its own.
pub struct TestLedger {
    /// With the ledger's schema as search_path.
    pub pool: PgPool,
    /// Without.
    pub database: PgPool,
    /// Of the database.
    pub url: String,
}

impl TestLedger {
    pub async fn new() -> Self {
        let database = testkit::servers::database().await;
        sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE SCHEMA messages_ledger; SET search_path = messages_ledger; {}; SET search_path = public",
            include_str!("../../../../migrations/ledger/0001_ledger.sql")
        )))
        .execute(&database.pool)
        .await
        .unwrap();
        Self { pool: ledger_pool(&database.url).await, database: database.pool, url: database.url }
    }

    pub async fn feed(&self) -> Feed {
        Feed::open(self.pool.clone(), Topic::Messages, None, &Shutdown::new()).await.unwrap()
    }

    /// Appends one event per (key, JSON); returns their positions.
    pub async fn append(&self, events: &[(String, String)]) -> Vec<i64> {
        let n = i32::try_from(events.len()).unwrap();
        let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
        let (_, positions): (Vec<i32>, Vec<i64>) = sqlx::query_as(
            "SELECT outcome, pos FROM append_batch(7, $1, NULL, NULL, NULL, NULL, (SELECT array_agg(g) FROM generate_series(1, $1) g), array_fill(0, ARRAY[$1]),
               array_fill('message'::text, ARRAY[$1]), $2, array_fill(1::bigint, ARRAY[$1]), array_fill('message.sent'::text, ARRAY[$1]), array_fill('1'::text, ARRAY[$1]),
               $3::text[]::json[], array_fill('{\"correlation_id\":\"c\",\"causation_id\":\"c\",\"actor\":\"system\"}'::json, ARRAY[$1]), $4, $5, $6, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .bind(n)
        .bind(ids.iter().map(Uuid::to_string).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, json)| json.clone()).collect::<Vec<_>>())
        .bind(events.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>())
        .bind(events.iter().map(|(key, _)| key_hash(key)).collect::<Vec<_>>())
        .bind(&ids)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        positions
    }

    /// Appends `count` events over `keys` keys, each saying its number from `from`.
    pub async fn fill(&self, from: usize, count: usize, keys: usize) -> Vec<i64> {
        let mut positions = Vec::new();
        let events: Vec<_> = (from..from + count).map(|n| (format!("key-{}", n % keys), format!(r#"{{"n":{n}}}"#))).collect();
        for chunk in events.chunks(1000) {
            positions.extend(self.append(chunk).await);
        }
        positions
    }
}

/// The number that [`TestLedger::fill`] wrote.
pub fn number(event: &schemas::Recorded) -> i64 {
    serde_json::from_str::<serde_json::Value>(event.payload.get()).unwrap()["n"].as_i64().unwrap()
}

/// Connections whose search_path is the ledger's schema.
pub async fn ledger_pool(url: &str) -> PgPool {
    let options = url.parse::<PgConnectOptions>().unwrap().options([("search_path", "messages_ledger")]);
    PgPoolOptions::new().max_connections(6).connect_with(options).await.unwrap()
}

/// The messages ledger with its topic on the broker of this test binary, and a publisher between them.
pub struct FromKafka {
    pub ledger: TestLedger,
    pub kafka: KafkaConfig,
    pub shutdown: Shutdown,
}

impl FromKafka {
    pub async fn new() -> Self {
        let world = Self::unpublished().await;
        world.publish().await;
        world
    }

    /// Without a publisher yet.
    pub async fn unpublished() -> Self {
        Self::on(tokio::task::spawn_blocking(testkit::kafka::broker).await.unwrap()).await
    }

    /// On a broker of its own.
    pub async fn on(broker: &Broker) -> Self {
        let prefix = format!("{}-", Uuid::now_v7().simple());
        let kafka = KafkaConfig { brokers: broker.address.clone(), prefix, ..KafkaConfig::default() };
        Topics::new(kafka.clone()).unwrap().apply(&BTreeMap::new()).await.unwrap();
        Self { ledger: TestLedger::new().await, kafka, shutdown: Shutdown::new() }
    }

    /// Starts a publisher.
    pub async fn publish(&self) -> JoinHandle<Result<(), StartError>> {
        self.publish_until(&self.shutdown).await
    }

    pub async fn publish_until(&self, shutdown: &Shutdown) -> JoinHandle<Result<(), StartError>> {
        tokio::spawn(Publisher::new(self.ledger.feed().await, self.ledger.pool.clone(), self.kafka.clone()).run(shutdown.clone()))
    }

    pub async fn reader(&self, name: &str) -> KafkaSource {
        KafkaSource::new(self.kafka.clone(), name, Topic::Messages, Arc::new(self.ledger.feed().await))
    }

    /// Everything in the topic as it stands: partition, position, predecessor, in the order of offsets within a partition.
    pub async fn records(&self, at_least: usize) -> Vec<(i32, i64, i64)> {
        let config = self.kafka.clone();
        tokio::task::spawn_blocking(move || {
            let consumer: BaseConsumer = config
                .client()
                .set("group.id", "looking")
                .set("enable.auto.commit", "false")
                .set("isolation.level", "read_committed")
                .set("enable.partition.eof", "true")
                .create()
                .unwrap();
            let mut all = TopicPartitionList::new();
            for partition in 0..Topic::PARTITIONS {
                all.add_partition_offset(&config.topic(Topic::Messages, 1), partition, Offset::Beginning).unwrap();
            }
            consumer.assign(&all).unwrap();
            let (mut records, mut ended, begin) = (Vec::new(), BTreeSet::new(), Instant::now());
            while records.len() < at_least || ended.len() < 12 {
                assert!(begin.elapsed() < Duration::from_secs(30), "{} of {at_least} records", records.len());
                match consumer.poll(Duration::from_millis(100)) {
                    Some(Ok(message)) => {
                        ended.remove(&message.partition());
                        let event = platform::log::kafka::decode(Topic::Messages, &message).unwrap();
                        assert_eq!(message.timestamp().to_millis().unwrap(), event.recorded_at.unix_micros() / 1000);
                        records.push((message.partition(), event.position, event.prev_position.unwrap()));
                    }
                    Some(Err(KafkaError::PartitionEOF(partition))) => {
                        ended.insert(partition);
                    }
                    Some(Err(error)) => panic!("{error}"),
                    None => {}
                }
            }
            records
        })
        .await
        .unwrap()
    }
}

impl Drop for FromKafka {
    fn drop(&mut self) {
        self.shutdown.drain();
    }
}
