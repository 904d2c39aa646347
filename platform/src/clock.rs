//! The only source of time outside the ledger.

use schemas::Timestamp;

/// Now, in UTC, in whole microseconds.
///
/// For expiries, tokens and measurements; an event's time is the ledger's to give.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one place")]
    time::OffsetDateTime::now_utc().into()
}
