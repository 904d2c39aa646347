//! What one append is made of, and what can become of it.

use schemas::{Metadata, Recorded, Timestamp, Topic};
use serde_json::value::RawValue;
use uuid::Uuid;

/// An event that wants to be stored.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// `message`
    pub aggregate_type: &'static str,
    /// Lower-case UUID.
    pub aggregate_id: String,
    /// The place in its stream that it expects to take, from 1.
    pub sequence: i64,
    /// UUIDv7; how the writer recognises its own after a lost connection.
    pub event_id: Uuid,
    /// `message.sent`
    pub event_type: String,
    /// `1`
    pub event_version: String,
    /// At most 900 KiB; no U+0000, no lone surrogate.
    pub payload: Box<RawValue>,
    /// Why and by whom.
    pub metadata: Metadata,
    /// Kafka key.
    pub partition_key: String,
    /// Its own time, for backfilled events only.
    pub at: Option<Timestamp>,
}

impl NewEvent {
    /// As it stands in the ledger, and as [`super::Feed`] would read it there.
    pub(super) fn recorded(self, topic: Topic, incarnation: Uuid, key_hash: i32, stored: Stored) -> Recorded {
        Recorded {
            topic,
            incarnation,
            position: stored.position,
            prev_position: None,
            aggregate_type: self.aggregate_type.to_owned(),
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata: self.metadata,
            partition_key: self.partition_key,
            key_hash,
            event_id: self.event_id,
            recorded_at: stored.at,
        }
    }
}

/// An idempotency record: written with the events, kept 24 h.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// User id, or `public:<route>`.
    pub actor: String,
    /// The client's key.
    pub key: String,
    /// Of route and body.
    pub digest: [u8; 32],
    /// HTTP status of the first answer.
    pub status: u16,
}

/// What travels in the same transaction, beside the events.
#[derive(Clone, PartialEq, Eq)]
pub enum Effect {
    /// Takes a unique name for an owner; refused when somebody else holds it.
    Claim {
        /// `email.v1`
        kind: &'static str,
        /// A keyed digest.
        key: String,
        /// Aggregate id.
        owner: String,
        /// When it lapses.
        expires_at: Option<Timestamp>,
    },
    /// Gives a name back.
    Release {
        /// `email.v1`
        kind: &'static str,
        /// A keyed digest.
        key: String,
        /// Aggregate id.
        owner: String,
    },
    /// Stores a command-side secret (a hash, a token's digest): never part of an event.
    Put {
        /// `password`
        kind: &'static str,
        /// What it belongs to.
        key: String,
        /// The secret.
        value: Vec<u8>,
        /// When it lapses.
        expires_at: Option<Timestamp>,
    },
    /// Removes one.
    Delete {
        /// `password`
        kind: &'static str,
        /// What it belongs to.
        key: String,
    },
}

impl std::fmt::Debug for Effect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claim { kind, owner, .. } => write!(f, "Claim({kind} for {owner})"),
            Self::Release { kind, owner, .. } => write!(f, "Release({kind} of {owner})"),
            Self::Put { kind, .. } => write!(f, "Put({kind})"),
            Self::Delete { kind, .. } => write!(f, "Delete({kind})"),
        }
    }
}

/// What is stored together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Append {
    /// In order; those of one stream follow each other.
    pub events: Vec<NewEvent>,
    /// Of the command that causes them.
    pub record: Option<CommandRecord>,
    /// Beside them.
    pub effects: Vec<Effect>,
}

/// Where an event came to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// In the ledger.
    pub position: i64,
    /// The event's time.
    pub at: Timestamp,
}

/// What is wrong with data that no ledger can hold. Never quotes it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotStorable {
    /// An event above 900 KiB, as encoded.
    #[error("an event of {bytes} bytes is too large")]
    TooLarge {
        /// Of the encoded payload.
        bytes: usize,
    },
    /// U+0000, which Postgres takes into `json` and cannot give back as text.
    #[error("text with U+0000")]
    Nul,
    /// Half of a surrogate pair.
    #[error("text with a lone surrogate")]
    LoneSurrogate,
    /// Events of a stream that do not follow each other: a mistake of the caller.
    #[error("events of one stream that do not follow each other")]
    Disorder,
    /// The payload could not be encoded: a mistake of the caller.
    #[error("a payload that cannot be encoded: {0}")]
    Encoding(String),
    /// The database refuses it, with this SQLSTATE.
    #[error("the database refuses it ({0})")]
    Refused(String),
}

/// Why an append was not stored. All but the last are certain: nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// This command was carried out before.
    #[error("this command was carried out before")]
    Duplicate {
        /// Of route and body, as it was then.
        digest: Vec<u8>,
        /// The status answered then.
        status: u16,
        /// Positions of its events, in order.
        positions: Vec<i64>,
    },
    /// Somebody else appended to the stream.
    #[error("{aggregate_type} {aggregate_id} is at {head}, not {expected}")]
    Conflict {
        /// `message`
        aggregate_type: String,
        /// Its id.
        aggregate_id: String,
        /// Where the append thought the stream ends.
        expected: i64,
        /// Where it does.
        head: i64,
    },
    /// A name is taken.
    #[error("a {kind} is reserved by another")]
    Reserved {
        /// `email.v1`
        kind: String,
        /// Who holds it.
        owner: String,
    },
    /// The data cannot be stored (too large, not representable).
    #[error("the append cannot be stored: {0}")]
    Rejected(NotStorable),
    /// Certain like the others: nothing was written, because the ledger could not be reached or has no room. 503.
    #[error("the ledger is not available")]
    Unavailable,
    /// It was submitted and no answer came in time; it may still be stored. 503 `outcome_unknown`; a repeat finds out.
    #[error("whether it was stored is not known yet")]
    OutcomeUnknown,
}
