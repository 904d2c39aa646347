//! The log as its readers see it: sources, projections, checkpoints, topics.

mod checkpoint;
mod kafka_source;
mod ledger_source;
mod projection;
mod runner;
mod source;
pub mod topics;

pub use projection::{ApplyError, Batch, Projection, ProjectionTx};
pub use runner::{Runner, RunnerConfig};
pub use source::{EventSource, SourceBatch, SourceError};
