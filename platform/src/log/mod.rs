//! The log as its readers see it: sources, projections, checkpoints, topics.

mod checkpoint;
pub mod kafka;
mod ledger_source;
mod lock;
mod projection;
mod runner;
mod source;
pub mod topics;

pub use checkpoint::{Columns, Move, Moved};
pub use ledger_source::{LEDGER, LedgerSource};
pub use lock::{Ownership, ProjectionLock, Stands, Successor, at_once};
pub use projection::{ApplyError, Batch, Projection, ProjectionTx};
pub use runner::{Announce, ParkedKey, RetryError, Runner, RunnerConfig, list_parked, retry_parked, skip_parked};
pub use source::{Checkpoint, Checkpoints, Ends, EventSource, Origin, SCAN, SourceBatch, SourceError};
