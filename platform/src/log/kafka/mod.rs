//! Kafka, or Redpanda: how to reach it, how an event looks there, and reading it.

mod complaints;
mod group;
mod look;
mod lookup;
mod record;
mod source;

use std::collections::BTreeMap;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use schemas::Topic;
use uuid::Uuid;

pub use look::TopicLook;
pub(crate) use lookup::{Lookup, Tail};
pub(crate) use record::headers;
pub use record::{RecordError, decode};
pub use source::KafkaSource;

/// A Kafka cluster.
#[derive(Debug, Clone, Default)]
pub struct KafkaConfig {
    /// `host:port,host:port`
    pub brokers: String,
    /// Stands before the names of topics, groups and transactional ids, where several installations share a cluster. Empty by default.
    pub prefix: String,
    /// Further options of librdkafka (security), passed on as they are.
    pub options: BTreeMap<String, String>,
}

impl KafkaConfig {
    /// Options that every client shares.
    #[must_use]
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "postrider");
        for (key, value) in &self.options {
            config.set(key, value);
        }
        config
    }

    /// The topic's name in this cluster.
    #[must_use]
    pub fn topic(&self, topic: Topic, generation: i32) -> String {
        format!("{}{}", self.prefix, topic.name(generation))
    }
}

/// The life of a ledger and where it ends: what a log may at most contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEnd {
    /// The ledger's life.
    pub incarnation: Uuid,
    /// Of its topic.
    pub generation: i32,
    /// Position of its newest event.
    pub head: i64,
}

/// Where ledgers end, asked of the ledgers themselves. [`crate::marks::Heads`] is what production uses.
#[async_trait]
pub trait LedgerEnds: std::fmt::Debug + Send + Sync {
    /// Of one ledger, read after this call began.
    ///
    /// # Errors
    /// When its database does not answer.
    async fn end(&self, topic: Topic) -> Result<LedgerEnd, sqlx::Error>;
}

#[async_trait]
impl LedgerEnds for crate::marks::Heads {
    async fn end(&self, topic: Topic) -> Result<LedgerEnd, sqlx::Error> {
        let head = self.head(topic).await?;
        Ok(LedgerEnd { incarnation: head.incarnation, generation: head.generation, head: head.head })
    }
}

/// For whoever holds the ledger itself; every topic is this one.
#[async_trait]
impl LedgerEnds for crate::ledger::Feed {
    async fn end(&self, _: Topic) -> Result<LedgerEnd, sqlx::Error> {
        Ok(LedgerEnd { incarnation: self.meta().incarnation, generation: self.meta().generation, head: self.head().await? })
    }
}
