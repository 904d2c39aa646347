//! Where events come from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use schemas::{Recorded, Topic};
use uuid::Uuid;

/// The partition under which a source keeps a place that belongs to no partition: the ledger source's position scanned through.
pub const SCAN: i32 = -1;

/// Where a reader stands in one partition: what it has applied, and where its source would go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The ledger's life in which `last_position` counts.
    pub incarnation: Uuid,
    /// The topic's generation.
    pub generation: i32,
    /// Last position applied; 0: nothing.
    pub last_position: i64,
    /// Which source `next_offset` belongs to (`ledger`, `kafka:<cluster id>/<topic>`); on another source the offset is found again by position.
    pub source: String,
    /// The source's own place: Kafka's next offset, or the ledger position scanned through.
    pub next_offset: i64,
}

/// Where a reader stands, by topic and partition ([`SCAN`]: the source's own scan). A partition that is missing has not been begun.
pub type Checkpoints = BTreeMap<(Topic, i32), Checkpoint>;

/// One topic's events in order per partition, without repeats and without gaps, whatever they come from.
#[async_trait]
pub trait EventSource: Send {
    /// Goes to these places (missing partitions: from the start). Called at first, and again whenever the reader found its rows moved by somebody else or the source said [`SourceError::Reassigned`].
    ///
    /// # Errors
    /// [`SourceError::Ahead`] when a checkpoint or the topic is ahead of its ledger.
    async fn seek(&mut self, checkpoints: &Checkpoints) -> Result<(), SourceError>;

    /// The next events: at most 2,000 and 8 MiB. Waits at most 1 s, then returns an empty batch.
    ///
    /// # Errors
    /// [`SourceError`]
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: the next call returns the same events.
    async fn next_batch(&mut self) -> Result<SourceBatch, SourceError>;

    /// A batch was applied and its checkpoints stand: the source may tell dashboards.
    fn applied(&mut self, _checkpoints: &Checkpoints) {}

    /// Where the source ends now, to be compared with [`EventSource::has_passed`]: what a reader that wants to have caught up once must hand out.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]
    async fn ends(&mut self) -> Result<Ends, SourceError>;

    /// Whether everything that stood before these ends, in the partitions that this reader has, has been handed out.
    fn has_passed(&self, ends: &Ends) -> bool;

    /// How far it is behind: events (estimated) and seconds since the time of the oldest event not handed out.
    ///
    /// # Errors
    /// [`SourceError::Unavailable`]
    async fn lag(&mut self) -> Result<(i64, f64), SourceError>;
}

/// Where a source ends: per partition (or under [`SCAN`]) the first place that holds nothing yet.
pub type Ends = BTreeMap<i32, i64>;

/// What a source hands out.
#[derive(Debug, Default, Clone)]
pub struct SourceBatch {
    /// In order per partition.
    pub events: Vec<Arc<Recorded>>,
    /// Per event: its partition, and the source's place after it.
    pub places: Vec<(i32, i64)>,
    /// What all checkpoints of the batch have in common.
    pub origin: Option<Arc<Origin>>,
    /// For sources that scan: the place scanned through, which may lie beyond the last event (repeats are dropped).
    pub scanned: Option<i64>,
}

/// The source, the topic and the life of the ledger that a batch comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Of all events in the batch.
    pub topic: Topic,
    /// See [`Checkpoint::source`].
    pub source: String,
    /// See [`Checkpoint::incarnation`].
    pub incarnation: Uuid,
    /// See [`Checkpoint::generation`].
    pub generation: i32,
}

impl SourceBatch {
    /// The checkpoints that stand once the batch is applied.
    #[must_use]
    pub fn checkpoints(&self) -> Checkpoints {
        let Some(origin) = &self.origin else { return Checkpoints::new() };
        let mut checkpoints = Checkpoints::new();
        let mut stand = |partition, last_position, next_offset| {
            checkpoints.insert(
                (origin.topic, partition),
                Checkpoint {
                    incarnation: origin.incarnation,
                    generation: origin.generation,
                    last_position,
                    source: origin.source.clone(),
                    next_offset,
                },
            );
        };
        // Backwards: the last event of a partition is where it stands.
        let mut seen = BTreeSet::new();
        for (event, (partition, next_offset)) in self.events.iter().zip(&self.places).rev() {
            if seen.insert(*partition) {
                stand(*partition, event.position, *next_offset);
            }
        }
        if let Some(scanned) = self.scanned {
            stand(SCAN, scanned, scanned);
        }
        checkpoints
    }

    /// Whether nothing would move.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.scanned.is_none()
    }

    /// A part of it, as a batch of its own.
    #[must_use]
    pub fn part(&self, range: std::ops::Range<usize>) -> Self {
        let last = range.end == self.events.len();
        let events = self.events[range.clone()].to_vec();
        let scanned = if last { self.scanned } else { self.scanned.and(events.last().map(|e| e.position)) };
        Self { places: self.places[range].to_vec(), origin: self.origin.clone(), scanned, events }
    }
}

/// What stops a source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Something did not answer: try again.
    #[error("{0} is not available")]
    Unavailable(&'static str, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// Partitions were given to this reader or taken from it, and what was fetched for them is dropped: read the rows again and seek.
    #[error("partitions were reassigned")]
    Reassigned,
    /// An event is missing: stop, and call somebody.
    #[error("{topic} partition {partition}: after position {last} comes {found}, which follows {claimed}; an event is missing in between")]
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
    /// A record that is no event of ours: without the headers of the contract, or with wrong ones.
    #[error("{topic} partition {partition} offset {offset}: {reason}")]
    Foreign {
        /// Topic.
        topic: Topic,
        /// Partition.
        partition: i32,
        /// Where it stands.
        offset: i64,
        /// What is wrong with it.
        reason: String,
    },
    /// Checkpoint or topic know more than the ledger, or another life of it: a ledger was restored without `new-incarnation`.
    #[error("{0}")]
    Ahead(String),
}

impl SourceError {
    pub(crate) fn ledger(error: sqlx::Error) -> Self {
        Self::Unavailable("the ledger", Box::new(error))
    }

    /// Refuses what knows another life of the ledger, or more than it holds.
    pub(crate) fn refuse_ahead(who: &str, topic: Topic, (incarnation, position): (Uuid, i64), ledger: Uuid, head: i64) -> Result<(), Self> {
        let service = topic.service();
        if incarnation != ledger {
            return Err(Self::Ahead(format!(
                "{who} belongs to incarnation {incarnation} of the {service} ledger, but the ledger is incarnation {ledger}: it was replaced by another. \
                 Point {service} at the ledger that {who} was made from, or rebuild the projection and the topic from this one."
            )));
        }
        if position > head {
            return Err(Self::Ahead(format!(
                "{who} has reached position {position} of the {service} ledger, but the ledger ends at {head}: it was restored, or failed over, without being declared, \
                 and new events would take positions that were given before. Stop the writers, bring the lost rows back, or declare a new incarnation of the ledger."
            )));
        }
        Ok(())
    }
}
