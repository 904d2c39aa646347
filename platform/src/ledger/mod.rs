//! The ledger: where a command becomes durable, and where events come from.
//!
//! * [`append`](Append) what is written at once · [`Ledger`] the group-commit writer and the look-ups · [`Unit`] aggregates run on it
//! * [`Feed`] its events in order, for whoever follows · [`Publisher`] the copy to Kafka

mod append;
mod feed;
mod handle;
mod publisher;
mod unit;
mod writer;

pub use append::{Append, AppendError, CommandRecord, Effect, NewEvent, Stored};
pub use feed::{Feed, LedgerMeta, Page, WAKE_CHANNEL};
pub use handle::{Ledger, LedgerConfig};
pub use publisher::Publisher;
pub use unit::{Actor, Committed, Context, ExecuteError, Unit};
