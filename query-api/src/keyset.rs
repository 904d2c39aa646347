//! Places in a list of messages, and how much of one is read at a time.

use time::OffsetDateTime;
use time::macros::datetime;

/// Most rows of a page.
pub const PAGE_ROWS: i64 = 1_000;

/// A page ends with the row that reaches this many bytes of content: with the largest message it is 1.6 MiB.
pub const PAGE_BYTES: i64 = 1 << 20;

/// A place in (time, position): before it, at it, after it. Total, since positions are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The event's time.
    pub at: OffsetDateTime,
    /// Its position.
    pub position: i64,
}

impl Key {
    /// Before everything.
    pub const FIRST: Self = Self { at: datetime!(0001-01-01 0:00 UTC), position: 0 };
    /// After everything.
    pub const LAST: Self = Self { at: datetime!(9999-12-31 23:59:59 UTC), position: i64::MAX };

    /// The place just before this one, so that "after it" includes this one.
    pub fn just_before(self) -> Self {
        Self { position: self.position - 1, ..self }
    }

    /// The place just after this one, so that "before it" includes this one.
    pub fn just_after(self) -> Self {
        Self { position: self.position.saturating_add(1), ..self }
    }
}

/// Whether a list may go on after a page of so many rows and bytes.
pub fn may_go_on(rows: usize, asked: i64, bytes: i64) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= asked) || bytes >= PAGE_BYTES
}
