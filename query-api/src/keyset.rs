//! Places in a list of messages, how clients name them, and how much of a list is read at a time.

use std::fmt;
use std::str::FromStr;

use platform::http::{Params, Problem, Violation};
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

/// Most elements of a page that is asked for.
const MOST: i64 = 1_000;

/// `limit`: how many a client asks for.
///
/// # Errors
/// 422 for what is no positive integer.
pub fn limit(params: &Params) -> Result<Option<i64>, Problem> {
    const LIMIT: &str = "must be a positive integer";
    match params.parse::<u64>("limit", LIMIT)? {
        Some(0) => Err(invalid("limit", LIMIT)),
        // Who asks for more gets what there is at most, and a link to the rest.
        limit => Ok(limit.map(|limit| i64::try_from(limit).unwrap_or(MOST).min(MOST))),
    }
}

/// What is wrong with a parameter.
pub fn invalid(field: &'static str, message: &'static str) -> Problem {
    Problem::invalid(vec![Violation { field: field.into(), message: message.into() }])
}

/// A place as clients see it, in lists of something else than messages: they give back what they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub Key);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{:x}", self.0.at.unix_timestamp_nanos() / 1_000, self.0.position)
    }
}

impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (at, position) = text.split_once('-').ok_or(())?;
        let (at, position) = (i64::from_str_radix(at, 16).map_err(|_| ())?, i64::from_str_radix(position, 16).map_err(|_| ())?);
        let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000).map_err(|_| ())?;
        Ok(Self(Key { at, position }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Key};
    use time::macros::datetime;

    #[test]
    fn a_cursor_reads_as_it_was_written_and_nothing_else_does() {
        for key in [
            Key { at: datetime!(2026-01-31 10:30:00.123456 UTC), position: 7 },
            Key { at: datetime!(1970-01-01 0:00 UTC), position: i64::MAX },
        ] {
            assert_eq!(Cursor(key).to_string().parse(), Ok(Cursor(key)));
        }
        for nonsense in ["", "-", "x", "1", "1-", "1-x", "7fffffffffffffff-1", "1-80000000000000000"] {
            assert!(nonsense.parse::<Cursor>().is_err(), "{nonsense}");
        }
    }
}
