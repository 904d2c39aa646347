//! An event as its table has it.

use schemas::{Metadata, Recorded, Timestamp, Topic};
use serde_json::value::RawValue;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

/// What a query of events selects.
pub(super) struct Row {
    pub(super) position: i64,
    pub(super) aggregate_type: String,
    pub(super) aggregate_id: String,
    pub(super) sequence: i64,
    pub(super) event_type: String,
    pub(super) event_version: String,
    pub(super) payload: Json<Box<RawValue>>,
    pub(super) metadata: Json<Box<RawValue>>,
    pub(super) partition_key: String,
    pub(super) key_hash: i32,
    pub(super) event_id: Uuid,
    pub(super) recorded_at: OffsetDateTime,
}

impl Row {
    /// As it travels inside the process.
    pub(super) fn recorded(self, topic: Topic, incarnation: Uuid) -> Recorded {
        Recorded {
            topic,
            incarnation,
            position: self.position,
            prev_position: None,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload.0,
            metadata: metadata(self.position, &self.metadata.0),
            partition_key: self.partition_key,
            key_hash: self.key_hash,
            event_id: self.event_id,
            recorded_at: Timestamp::from(self.recorded_at),
        }
    }
}

/// Metadata says why and by whom, never what: when somebody else's tool wrote it otherwise, the event still counts.
fn metadata(position: i64, json: &RawValue) -> Metadata {
    serde_json::from_str(json.get()).unwrap_or_else(|error| {
        tracing::warn!(position, %error, "an event's metadata cannot be read; it goes on without");
        Metadata::default()
    })
}
