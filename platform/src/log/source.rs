//! Where events come from.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use schemas::{Recorded, Topic};
use uuid::Uuid;

/// Where a reader stands in one partition: what it has applied, and where its source would go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's life in which `last_position` counts.
    pub incarnation: Uuid,
    /// The topic's generation.
    pub generation: i32,
    /// Last position applied; 0: nothing.
    pub last_position: i64,
    /// Which source `next_offset` belongs to (`ledger`, `kafka:<cluster id>/<topic id>`); on another source the offset is found again by position.
    pub source: String,
    /// The source's own place: Kafka's next offset, or the ledger position scanned through.
    pub next_offset: i64,
}

/// Events in order per partition, without repeats and without gaps, whatever they come from.
#[async_trait]
pub trait EventSource: Send {
    /// Goes to these places (missing partitions: from the start). Called at first, and again whenever the reader found its rows moved by somebody else.
    ///
    /// # Errors
    /// [`SourceError::Ahead`] when a checkpoint or the topic is ahead of its ledger.
    async fn seek(&mut self, checkpoints: &BTreeMap<(Topic, i32), Checkpoint>) -> Result<(), SourceError>;

    /// The next events: at most 2,000 and 8 MiB. Waits at most 1 s, then returns an empty batch.
    ///
    /// # Errors
    /// [`SourceError`]
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call returns the same events.
    async fn next_batch(&mut self) -> Result<SourceBatch, SourceError>;

    /// Whether everything that stood in the source when it was asked has been handed out.
    async fn at_head(&mut self) -> Result<bool, SourceError>;

    /// How far it is behind: events (estimated) and seconds since the time of the oldest event not handed out.
    async fn lag(&mut self) -> Result<(i64, f64), SourceError>;
}

/// What a source hands out.
#[derive(Debug, Default)]
pub struct SourceBatch {
    /// In order per partition.
    pub events: Vec<Arc<Recorded>>,
    /// The checkpoints that stand once they are applied.
    pub checkpoints: BTreeMap<(Topic, i32), Checkpoint>,
}

/// What stops a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Something did not answer: try again.
    #[error("{0} is not available")]
    Unavailable(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// An event is missing: stop, and call somebody.
    #[error("{topic} partition {partition}: after position {last} comes {found}, which follows {claimed}")]
    Gap {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: i32,
        /// Last position applied.
        last: i64,
        /// The next one's position.
        found: i64,
        /// What it says comes before it.
        claimed: i64,
    },
    /// Checkpoint or topic know more than the ledger, or another life of it: a ledger was restored without `new-incarnation`.
    #[error("{0}")]
    Ahead(String),
}
