//! What surrounds a payload, the same in a ledger row and in a Kafka record.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{Timestamp, Topic, partition};

/// What an event type is prefixed with in `ce_type`: `postrider.message.sent.v1`.
pub const CLOUD_EVENTS_TYPE_PREFIX: &str = "postrider.";

/// Why and by whom; stored as JSON beside the payload. All values are strings, as the tools of cqrs-es expect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// Follows one request through everything that it causes (`ce_correlationid`).
    pub correlation_id: String,
    /// The request or event that caused this one directly (`ce_causationid`).
    pub causation_id: String,
    /// The acting user's id, or `system` (`ce_actor`).
    pub actor: String,
    /// W3C trace context, when the request carried one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Of a client-minted aggregate: hex digest of what was asked, so that a repeat is told from a reuse.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the answer said beyond the event (`delivered` or `queued` of a send), so that a repeat says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// An event as it stands in a ledger or a topic: the one form in which events travel inside the system.
///
/// `position` rises strictly within a topic and is comparable only there; (`aggregate_type`, `aggregate_id`, `sequence`) and `event_id` identify it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Where it belongs.
    pub topic: Topic,
    /// The ledger's life in which `position` counts.
    pub incarnation: Uuid,
    /// Rising, with holes.
    pub position: i64,
    /// The position before it in the same partition of this generation, 0 for the first; `None` when it was read from a ledger, whose order needs no chain.
    pub prev_position: Option<i64>,
    /// `message`, `account`, …
    pub aggregate_type: String,
    /// Lower-case UUID of the aggregate.
    pub aggregate_id: String,
    /// From 1 within its stream.
    pub sequence: i64,
    /// `message.sent`
    pub event_type: String,
    /// `1`
    pub event_version: String,
    /// JSON, byte for byte as it was appended.
    pub payload: Box<RawValue>,
    /// Why and by whom.
    pub metadata: Metadata,
    /// Kafka key; events of one key are applied in order, and wait together when one of them is parked.
    pub partition_key: String,
    /// [`crate::key_hash`] of it.
    pub key_hash: i32,
    /// UUIDv7.
    pub event_id: Uuid,
    /// The event's time: assigned at append, never below its predecessor's in the ledger.
    pub recorded_at: Timestamp,
}

impl Recorded {
    /// Its partition in the topic's first generation.
    #[must_use]
    pub fn partition(&self) -> i32 {
        partition(self.key_hash, Topic::PARTITIONS)
    }

    /// Rough size in memory, for bounds.
    #[must_use]
    pub fn weight(&self) -> usize {
        512 + self.payload.get().len()
    }
}
