//! How far somebody has seen their frames, as a client carries it.

use std::collections::BTreeMap;

use schemas::{Timestamp, Topic};

/// Per topic and partition, the position up to which a user's frames have been seen; what is missing has not been begun (0).
///
/// Positions come from the ledgers, so they mean the same in every process, whatever Redis has lost or in which order it was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<(Topic, i32), i64>);

impl Places {
    /// Up to where; 0: nothing.
    #[must_use]
    pub fn at(&self, topic: Topic, partition: i32) -> i64 {
        self.0.get(&(topic, partition)).copied().unwrap_or(0)
    }

    /// Raises a place, never lowers it. Whether it rose: what does not rise has been seen.
    pub fn raise(&mut self, topic: Topic, partition: i32, position: i64) -> bool {
        let place = self.0.entry((topic, partition)).or_insert(0);
        let rises = position > *place;
        *place = position.max(*place);
        rises
    }

    /// All that have been begun.
    pub fn iter(&self) -> impl Iterator<Item = (Topic, i32, i64)> + '_ {
        self.0.iter().map(|((topic, partition), position)| (*topic, *partition, *position))
    }
}

/// What a frame's `cursor` says. As text: opaque to clients, URL-safe, short (a few dozen characters; some hundred for whoever talks to very many).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of which lives (incarnation and generation) of the ledgers the places speak: a digest. Another one makes a cursor worthless.
    pub epoch: u32,
    /// When it was given, to the second: older than the logs are kept, and it is worth nothing.
    pub given: Timestamp,
    /// How far.
    pub places: Places,
}
