//! What travels: ids, events, the envelope around them, and the names that writer and reader of a read model share.
//!
//! The Rust types here are the source of the JSON Schemas in `schemas/json/` (made by `cargo run -p schemas --bin generate`) and of
//! every event that is ever stored. A released name, field or meaning never changes: a new version is added, and
//! [`upcast`] lifts the old ones.
#![warn(missing_docs)]

pub mod auth;
mod catalogue;
mod envelope;
mod event;
pub mod frames;
mod ids;
mod message_object;
pub mod messages;
mod murmur2;
mod personal;
pub mod read_models;
pub mod search;
mod timestamp;
mod topic;
pub mod upcast;
pub mod users;

pub use catalogue::{EventType, event_types, schema_id};
pub use envelope::{CLOUD_EVENTS_TYPE_PREFIX, Metadata, Recorded};
pub use event::{DecodeError, Event, Payload};
pub use ids::{
    BlockId, ContactRowId, ConversationId, MessageId, NAMESPACE, ReceiptId, SessionId, UserId, block_id, conversation_id,
    message_id_of_client, reaction_id, receipt_id,
};
pub use message_object::MessageObject;
pub use murmur2::{key_hash, partition};
pub use personal::{Personal, StillSealed};
pub use timestamp::Timestamp;
pub use topic::Topic;
