//! The ledger: where a command becomes durable, and where events come from.
//!
//! * [`Append`] what is written at once · [`Ledger`] the handle that commands hold · [`Unit`] aggregates run on it, [`Committed`] what came of it
//! * [`Writer`] group commit: `prepare` checks, `queue` bounds, `batch` submits, `connection` fences, `sqlstate` judges
//! * [`Feed`] its events in order, for whoever follows, [`Look`] for whoever asks · [`Publisher`] the copy to Kafka

mod append;
mod batch;
mod committed;
mod connection;
mod decide;
mod feed;
mod handle;
mod housekeeping;
mod incarnation;
mod lookups;
mod prepare;
mod problem;
mod publisher;
mod queue;
mod redact;
mod row;
mod sqlstate;
mod unit;
mod writer;

pub use append::{Append, AppendError, CommandRecord, Effect, NewEvent, NotStorable, Stored};
pub use committed::{CommitError, Committed, ExecuteError};
pub use connection::lookup_options;
pub use feed::{Feed, LedgerMeta, Look, Page};
pub use handle::{Ledger, LedgerConfig};
pub use incarnation::new_incarnation;
pub(crate) use incarnation::others_connected;
pub use lookups::Secret;
pub use publisher::Publisher;
pub use redact::Redaction;
pub use unit::{Actor, Context, Minted, Unit};
pub use writer::Writer;
