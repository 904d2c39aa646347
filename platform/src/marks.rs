//! What a user did, or was named in, and how far a reader must therefore be.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemas::{Topic, UserId};
use uuid::Uuid;

/// A place in a topic that a reader must have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Topic.
    pub topic: Topic,
    /// Generation of the topic.
    pub generation: i32,
    /// Partition in that generation.
    pub partition: i32,
    /// Position of the last event that matters.
    pub position: i64,
}

/// What `X-Consistency-Token` says: marks, and the ledgers' incarnations in which they count. Text: `1.<base64url>`; unreadable ones are 422.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// First four bytes of the incarnation, per topic; marks of another incarnation ask for nothing.
    pub incarnations: BTreeMap<Topic, u32>,
    /// What to wait for.
    pub marks: Vec<Mark>,
}

impl ConsistencyToken {
    /// Writes it.
    #[must_use]
    pub fn encode(&self) -> String {
        todo!()
    }
    /// Reads it; `None` when it is nonsense.
    #[must_use]
    pub fn decode(_text: &str) -> Option<Self> {
        todo!()
    }
}

/// Marks in Redis: per user a hash `mark:<user>` of `topic/generation/partition → position`, kept 30 s, only ever raised. Clones share one writer.
///
/// Writes of concurrent commands are gathered into one script call, which also publishes one wake-up per topic on `wake` (see [`crate::ledger::Feed`]).
#[derive(Clone, Debug)]
pub struct Marks {
    #[allow(dead_code)]
    inner: Arc<()>,
}

/// What Redis knows of somebody's marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// These; possibly none.
    Marks(Vec<Mark>),
    /// Redis is away, was away within 30 s, or somebody could not leave a mark: wait for the heads of the sources instead.
    Unsure,
}

impl Marks {
    /// Starts the writer.
    #[must_use]
    pub fn new(_redis: crate::redis::Redis, _shutdown: &crate::shutdown::Shutdown) -> Self {
        todo!()
    }
    /// Leaves marks for everybody named. Returns when Redis has them or has been found away (then `marks:lost` is set as soon as it is back, before this process trusts it again); never fails.
    pub async fn leave(&self, _users: &[UserId], _marks: &[Mark]) {
        todo!()
    }
    /// What several users' next reads must contain, in one round trip.
    pub async fn of(&self, _users: &[UserId]) -> Known {
        todo!()
    }
}

/// The head of a source, from the view `<service>_ledger.ledger_head`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The ledger's life.
    pub incarnation: Uuid,
    /// Of its topic.
    pub generation: i32,
    /// Position of the newest committed event, 0 when there is none.
    pub head: i64,
    /// Up to where the publisher has published, and the last position per partition; for readers of Kafka.
    pub published: Option<(i64, Vec<i64>)>,
}

/// Asks for heads; one query per source and 50 ms for all who wait. Clones share it.
#[derive(Clone, Debug)]
pub struct Heads {}

impl Heads {
    /// With one pool per topic, connected as `postrider_reader`.
    #[must_use]
    pub fn new(_readers: BTreeMap<Topic, sqlx::PgPool>) -> Self {
        todo!()
    }
    /// The head, read after this call began.
    ///
    /// # Errors
    /// When the source's database does not answer in time.
    pub async fn head(&self, _topic: Topic) -> Result<Head, sqlx::Error> {
        todo!()
    }
}
