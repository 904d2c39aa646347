//! How an event type is declared, written and read.

mod macros;
mod names;
pub(crate) use macros::events;

use cqrs_es::DomainEvent;
use serde_json::value::RawValue;

use crate::{Personal, Recorded, Topic, UserId};

/// The payload of one event type.
pub trait Payload {
    /// The Kafka key: see the table of topics in the contract.
    fn partition_key(&self) -> String;

    /// Everybody the event names: their next reads will contain it.
    fn names(&self) -> Vec<UserId>;

    /// Shows every personal field with its name (which is bound into its seal).
    fn personal(&mut self, _visit: &mut dyn FnMut(&'static str, &mut Personal)) {}
}

/// The events of one aggregate.
pub trait Event: DomainEvent + Sized {
    /// `message`
    const AGGREGATE: &'static str;
    /// Where they are published.
    const TOPIC: Topic;
    /// Every (type, version) that this release writes.
    const TYPES: &'static [(&'static str, &'static str)];

    /// `message.sent`
    fn name(&self) -> &'static str;
    /// `1`
    fn version(&self) -> &'static str;
    /// See [`Payload::partition_key`].
    fn partition_key(&self) -> String;
    /// See [`Payload::names`].
    fn names(&self) -> Vec<UserId>;
    /// See [`Payload::personal`].
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal));
    /// The payload as it is stored.
    ///
    /// # Errors
    /// When a personal field has not been sealed.
    fn payload(&self) -> Result<Box<RawValue>, serde_json::Error>;
    /// Reads a stored event of any version, through the upcasters.
    ///
    /// # Errors
    /// [`DecodeError`] when the type is not this aggregate's or the payload does not have its shape.
    fn decode(recorded: &Recorded) -> Result<Self, DecodeError>;
}

/// A stored event that this release cannot read. Never carries content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No such type in this release.
    #[error("unknown event type `{event_type}` version `{version}` at position {position}")]
    Unknown {
        /// `message.sent`
        event_type: String,
        /// `1`
        version: String,
        /// Where it stands.
        position: i64,
    },
    /// The payload is not what its type says. Only kind and place are kept, since serde's own text quotes values.
    #[error("`{event_type}` at position {position} cannot be read: {category} error at column {column}")]
    Malformed {
        /// `message.sent`
        event_type: String,
        /// Where it stands.
        position: i64,
        /// `Data`, `Syntax` or `Eof`.
        category: String,
        /// Byte in the payload's line.
        column: usize,
    },
}

impl DecodeError {
    pub(crate) fn unknown(recorded: &Recorded) -> Self {
        Self::Unknown { event_type: recorded.event_type.clone(), version: recorded.event_version.clone(), position: recorded.position }
    }

    pub(crate) fn malformed(recorded: &Recorded, error: &serde_json::Error) -> Self {
        Self::Malformed {
            event_type: recorded.event_type.clone(),
            position: recorded.position,
            category: format!("{:?}", error.classify()),
            column: error.column(),
        }
    }
}
