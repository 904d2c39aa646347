//! Every event type of this release, with its schema: what `schemas/json/` is made of, and what `ce_dataschema` names.

use schemars::Schema;

use crate::auth::{AccountEvent, SessionEvent};
use crate::messages::{MessageEvent, ReceiptEvent};
use crate::users::{BlockEvent, ContactEvent, ProfileEvent};
use crate::{Event, Topic};

/// An event type in the version that this release writes.
#[derive(Debug, Clone)]
pub struct EventType {
    /// Where it is published.
    pub topic: Topic,
    /// `message`
    pub aggregate: &'static str,
    /// `message.sent`
    pub name: &'static str,
    /// `1`
    pub version: &'static str,
    /// JSON Schema (draft 2020-12) of its payload, with its [`schema_id`].
    pub schema: Schema,
}

impl EventType {
    /// `message.sent.v1`: its schema's file name, its sample's, and its name in the AsyncAPI document.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{}.v{}", self.name, self.version)
    }
}

/// The id of a payload's JSON Schema (`$id`, `ce_dataschema`): a name, not an address. Never changes.
#[must_use]
pub fn schema_id(name: &str, version: &str) -> String {
    format!("https://postrider.example/schemas/{name}.v{version}.json")
}

/// Every event type. A new aggregate is one line here; a new event of an aggregate is none.
#[must_use]
pub fn event_types() -> Vec<EventType> {
    [
        of::<AccountEvent>(AccountEvent::schemas()),
        of::<SessionEvent>(SessionEvent::schemas()),
        of::<ProfileEvent>(ProfileEvent::schemas()),
        of::<ContactEvent>(ContactEvent::schemas()),
        of::<BlockEvent>(BlockEvent::schemas()),
        of::<MessageEvent>(MessageEvent::schemas()),
        of::<ReceiptEvent>(ReceiptEvent::schemas()),
    ]
    .concat()
}

fn of<E: Event>(schemas: Vec<(&'static str, &'static str, Schema)>) -> Vec<EventType> {
    let described = schemas.into_iter().map(|(name, version, mut schema)| {
        schema.insert("$id".to_owned(), schema_id(name, version).into());
        EventType { topic: E::TOPIC, aggregate: E::AGGREGATE, name, version, schema }
    });
    described.collect()
}
