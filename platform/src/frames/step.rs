//! What the projection does to the logs at once.

use std::time::Duration;

use schemas::{Topic, UserId};
use uuid::Uuid;

use super::{Kept, standing};
use crate::log::Checkpoints;

/// Samples of where the projection stood are so many to a retention: that much later than its age says, something kept may be taken for gone.
const GRAINS: u32 = 24;

/// An entry to be appended.
#[derive(Debug, Clone)]
pub struct Append {
    /// To whose log.
    pub user: UserId,
    /// Of the event.
    pub partition: i32,
    /// Of the event.
    pub position: i64,
    /// As [`super::Logged::text`].
    pub text: String,
    /// The body that goes with it, by its id: handed to open sockets with the entry, and kept nowhere. One that this step does not bring is looked up by whoever wants it.
    pub body: Option<Uuid>,
    /// Nothing is appended while one of these two has blocked the other.
    pub between: Option<(UserId, UserId)>,
}

/// That somebody blocks somebody, or no longer does, since which event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Who blocks.
    pub by: UserId,
    /// Whom.
    pub towards: UserId,
    /// Whether the block stands.
    pub stands: bool,
    /// Of the event, in `users.events`: the later one counts, whoever tells it first.
    pub partition: i32,
    /// Of the event.
    pub position: i64,
}

/// One step of the projection: everything of it happens, or nothing. Redis does nothing else meanwhile: a few hundred events, a megabyte.
#[derive(Debug, Clone)]
pub struct Step {
    /// Whose events.
    pub topic: Topic,
    /// In the order of their events.
    pub appends: Vec<Append>,
    /// Bodies that go with its entries, by id.
    pub bodies: Vec<(Uuid, String)>,
    /// In the order of their events; they hold for what is appended by this very step.
    pub blocks: Vec<Block>,
    /// Where the projection stood before (what `to` does not name is not looked at).
    pub from: Checkpoints,
    /// Where it stands afterwards.
    pub to: Checkpoints,
}

/// What became of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It is in the logs, and the pushers concerned have been told.
    Taken,
    /// The checkpoint is another than `from`: somebody else moved it, or Redis lost its newest writes. Nothing was done.
    Moved,
}

fn millis(duration: Duration) -> String {
    duration.as_millis().max(1).to_string()
}

fn flag(set: bool) -> String {
    u8::from(set).to_string()
}

impl Block {
    pub(super) fn args(&self) -> [String; 5] {
        let Self { by, towards, stands, partition, position } = *self;
        [by.to_string(), towards.to_string(), flag(stands), partition.to_string(), position.to_string()]
    }
}

impl Step {
    /// As the script reads them; `None` when nothing moves.
    pub(super) fn args(&self, kept: Kept) -> Option<Vec<String>> {
        let life = standing::life(self.to.values().next()?);
        let mut args = Vec::with_capacity(16 + 3 * self.to.len() + 2 * self.bodies.len() + 7 * self.appends.len());
        args.extend([self.topic.to_string(), life]);
        args.extend([millis(kept.retention), millis(kept.retention / GRAINS), kept.entries.max(1).to_string()]);
        args.push(self.to.len().to_string());
        for (place @ (_, partition), to) in &self.to {
            args.extend([partition.to_string(), self.from.get(place).map(standing::row).unwrap_or_default(), standing::row(to)]);
        }
        args.push(self.bodies.len().to_string());
        for (id, body) in &self.bodies {
            args.extend([id.to_string(), body.clone()]);
        }
        args.push(self.blocks.len().to_string());
        for Block { by, towards, stands, position, .. } in &self.blocks {
            args.extend([by.to_string(), towards.to_string(), flag(*stands), position.to_string()]);
        }
        args.push(self.appends.len().to_string());
        for Append { user, partition, position, text, body, between } in &self.appends {
            let (one, other) = between.map(|(one, other)| (one.to_string(), other.to_string())).unwrap_or_default();
            args.extend([user.to_string(), partition.to_string(), position.to_string(), text.clone()]);
            args.extend([body.map(|id| id.to_string()).unwrap_or_default(), one, other]);
        }
        Some(args)
    }
}
