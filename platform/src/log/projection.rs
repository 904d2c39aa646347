//! A fold over events into tables.

use std::future::Future;
use std::sync::Arc;

use schemas::read_models::ReadModel;
use schemas::{DecodeError, Recorded};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Move, Moved};
use crate::vault::VaultError;

/// Events in order, none of them of a parked key.
pub type Batch<'a> = &'a [Arc<Recorded>];

/// The transaction that moves the checkpoint; its `search_path` is the projection's schema and nothing else.
pub type ProjectionTx<'a> = sqlx::Transaction<'a, sqlx::Postgres>;

/// Why a batch could not be folded. Data errors name their event, whose key is parked; the rest is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This event cannot be read or makes no sense.
    #[error("event {event_id} at position {position}: {reason}")]
    Event {
        /// The event.
        event_id: Uuid,
        /// Where it stands.
        position: i64,
        /// What is wrong with it, without content.
        reason: String,
    },
    /// Something did not answer.
    #[error("a dependency is not available")]
    Infrastructure(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ApplyError {
    /// A stored event that this release cannot read.
    #[must_use]
    pub fn decode(event: &Recorded, error: &DecodeError) -> Self {
        Self::Event { event_id: event.event_id, position: event.position, reason: error.to_string() }
    }
    /// A vault's failure while opening an event: broken seals are the event's fault, the rest is infrastructure.
    #[must_use]
    pub fn vault(event: &Recorded, error: VaultError) -> Self {
        match error {
            VaultError::Broken { .. } => Self::Event { event_id: event.event_id, position: event.position, reason: error.to_string() },
            other => Self::Infrastructure(Box::new(other)),
        }
    }
}

/// A read model in the making. Applied twice equals once; a rebuild equals what stands.
pub trait Projection: Send + Sync + 'static {
    /// Its name, its database, its topics.
    type Model: ReadModel;
    /// A batch, folded in order per key.
    type Folded: Send + Sync;

    /// Ordered; raised with every change of `SCHEMA` or of the fold. A newer build refills, an older one refuses.
    const BUILD: i32;
    /// Its tables, without schema names. (`checkpoints` and `parked` are the runner's.)
    const SCHEMA: &'static str;

    /// Reads a batch and folds it, outside any transaction: here, and only here, may the vault be asked.
    fn fold(&self, batch: Batch<'_>) -> impl Future<Output = Result<Self::Folded, ApplyError>> + Send;

    /// Whether there is nothing to write: then the checkpoint is moved, in one statement, and nothing else is done. `false` is always right.
    fn is_empty(_folded: &Self::Folded) -> bool {
        false
    }

    /// Moves the checkpoint and writes all of it in one statement ([`crate::moving`]), where this projection has one for what was folded: a batch that people wait for then costs one round trip instead of
    /// four. `None`: it has none, and nothing was done. The session's `search_path` is the projection's schema.
    fn apply_at_once(
        &self,
        _connection: &mut PgConnection,
        _move: &Move,
        _folded: &Self::Folded,
    ) -> impl Future<Output = Result<Option<Moved>, sqlx::Error>> + Send {
        std::future::ready(Ok(None))
    }

    /// Writes it with set-based statements, within the transaction that moves the checkpoint. SQLSTATE 22 and 23 are data errors (the culprit is found by bisection), everything else is infrastructure.
    fn apply(&self, tx: &mut ProjectionTx<'_>, folded: &Self::Folded) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}
