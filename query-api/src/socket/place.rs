//! Where a client is: what it has seen, as its cursor says it.

use platform::frames::Cursor;
use schemas::{Topic, UserId, conversation_id, key_hash, partition};

/// Where an event stands: topic, partition, position.
pub(super) type Place = (Topic, i32, i64);

/// Between a cursor's places and how far the queue was read; in no alphabet of the former.
const QUEUE: char = '~';

/// A cursor as a socket gives it: the places up to which its client has seen everything but, perhaps, some of what was waiting when it connected.
///
/// That is pulled slowly, and whoever breaks off in the middle of it and comes back with a cursor has not seen the rest. So until its end a cursor also says how far it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bookmark {
    pub(super) cursor: Cursor,
    /// The position up to which what waited was sent; `None`: all of it was.
    pub(super) queue: Option<i64>,
}

impl Bookmark {
    /// As it is given to clients.
    pub(super) fn write(&self) -> String {
        let mut text = self.cursor.to_string();
        if let Some(position) = self.queue {
            text.push(QUEUE);
            text += &position.to_string();
        }
        text
    }

    /// As it comes back; `None` for what is none of ours.
    pub(super) fn read(text: &str) -> Option<Self> {
        let (cursor, queue) = match text.split_once(QUEUE) {
            Some((cursor, queue)) => (cursor, Some(queue.parse().ok().filter(|position| *position >= 0)?)),
            None => (text, None),
        };
        Some(Self { cursor: cursor.parse().ok()?, queue })
    }
}

/// The partition of what is between two people.
pub(super) fn partition_between(one: UserId, other: UserId) -> i32 {
    partition(key_hash(&conversation_id(one, other).to_string()), Topic::PARTITIONS)
}
