//! An aggregate for tests: a tally that people add to, up to a limit.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use schemas::{DecodeError, Event, Personal, Recorded, Topic, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Added {
    pub by: UserId,
    pub total: u32,
}

impl DomainEvent for Added {
    fn event_type(&self) -> String {
        self.name().to_owned()
    }
    fn event_version(&self) -> String {
        self.version().to_owned()
    }
}

impl Event for Added {
    const AGGREGATE: &'static str = "tally";
    const TOPIC: Topic = Topic::Messages;
    const TYPES: &'static [(&'static str, &'static str)] = &[("tally.added", "1")];
    fn name(&self) -> &'static str {
        "tally.added"
    }
    fn version(&self) -> &'static str {
        "1"
    }
    fn partition_key(&self) -> String {
        self.by.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.by]
    }
    fn personal(&mut self, _: &mut dyn FnMut(&'static str, &mut Personal)) {}
    fn payload(&self) -> Result<Box<RawValue>, serde_json::Error> {
        serde_json::value::to_raw_value(self)
    }
    fn decode(recorded: &Recorded) -> Result<Self, DecodeError> {
        Ok(serde_json::from_str(recorded.payload.get()).unwrap())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no more than {0}")]
pub struct Full(pub u32);

/// Adds one, unless there are `limit` already; a limit of 0 asks for nothing.
#[derive(Debug, Clone, Copy)]
pub struct Add {
    pub by: UserId,
    pub limit: u32,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Tally {
    pub total: u32,
}

impl Aggregate for Tally {
    const TYPE: &'static str = "tally";
    type Command = Add;
    type Event = Added;
    type Error = Full;
    type Services = ();

    async fn handle(&mut self, command: Add, (): &(), sink: &EventSink<Self>) -> Result<(), Full> {
        if command.limit == 0 {
            return Ok(());
        }
        if self.total >= command.limit {
            return Err(Full(command.limit));
        }
        sink.write(Added { by: command.by, total: self.total + 1 }, self).await;
        Ok(())
    }

    fn apply(&mut self, event: Added) {
        self.total = event.total;
    }
}

/// Somebody whose name is personal data.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Person;

impl Aggregate for Person {
    const TYPE: &'static str = "account";
    type Command = ();
    type Event = schemas::auth::AccountEvent;
    type Error = Full;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), sink: &EventSink<Self>) -> Result<(), Full> {
        let user_id = UserId(uuid::Uuid::now_v7());
        let registered = schemas::auth::AccountRegistered {
            user_id,
            email: None,
            username: Personal::of(user_id, "ann"),
            full_name: None,
            role: schemas::auth::Role::User,
            public_keys: vec![],
            origin: schemas::auth::Origin::Registered,
        };
        sink.write(schemas::auth::AccountEvent::Registered(registered), self).await;
        Ok(())
    }

    fn apply(&mut self, _: schemas::auth::AccountEvent) {}
}
