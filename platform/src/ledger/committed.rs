//! What a command answers with, and why it may not.

use std::collections::BTreeMap;

use schemas::{DecodeError, Recorded, partition};

use super::{AppendError, Ledger};
use crate::marks::{ConsistencyToken, Mark};
use crate::vault::VaultError;

/// Something durable: events with their places, fresh or found again.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The events, personal fields still sealed.
    pub events: Vec<Recorded>,
    /// For `X-Consistency-Token`.
    pub token: ConsistencyToken,
    /// Whether this very command had been answered before.
    pub again: bool,
}

/// What an aggregate or the ledger answers.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The aggregate refuses, with a reason that its user understands.
    #[error(transparent)]
    Refused(R),
    /// The ledger did not answer, or would not store it.
    #[error(transparent)]
    Ledger(#[from] AppendError),
    /// Personal data could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A stored event of the aggregate cannot be read by this release.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

/// Why a unit was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The same `Idempotency-Key` came with another body.
    #[error("the idempotency key belongs to another request")]
    Mismatch,
    /// The ledger did not store it.
    #[error(transparent)]
    Ledger(#[from] AppendError),
    /// Somebody else changed an aggregate in between, and as it is now it refuses the command: its own error, see [`CommitError::refused`].
    #[error("an aggregate that was changed in between refuses: {0}")]
    Refused(Box<dyn std::error::Error + Send + Sync>),
    /// Personal data could not be sealed or opened when the command was run again.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A stored event of an aggregate cannot be read by this release.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
}

impl CommitError {
    /// The refusal of an aggregate with this error type, if that is what it is.
    ///
    /// # Errors
    /// Itself, when it is something else.
    pub fn refused<R: std::error::Error + 'static>(self) -> Result<R, Self> {
        match self {
            Self::Refused(reason) => reason.downcast().map(|reason| *reason).map_err(Self::Refused),
            other => Err(other),
        }
    }
}

impl<R: std::error::Error + Send + Sync + 'static> From<ExecuteError<R>> for CommitError {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(reason) => Self::Refused(Box::new(reason)),
            ExecuteError::Ledger(error) => Self::Ledger(error),
            ExecuteError::Vault(error) => Self::Vault(error),
            ExecuteError::Unreadable(error) => Self::Unreadable(error),
        }
    }
}

/// Where a reader must be to have seen these events: the last position in each partition.
pub(super) fn token(ledger: &Ledger, events: &[Recorded]) -> ConsistencyToken {
    let (meta, topic) = (ledger.meta(), ledger.topic());
    let mut last: BTreeMap<i32, i64> = BTreeMap::new();
    for event in events {
        let position = last.entry(partition(event.key_hash, meta.partitions)).or_default();
        *position = event.position.max(*position);
    }
    if last.is_empty() {
        return ConsistencyToken::default();
    }
    let [a, b, c, d, ..] = meta.incarnation.into_bytes();
    let marks = last.into_iter().map(|(partition, position)| Mark { topic, generation: meta.generation, partition, position });
    ConsistencyToken { incarnations: [(topic, u32::from_be_bytes([a, b, c, d]))].into(), marks: marks.collect() }
}
