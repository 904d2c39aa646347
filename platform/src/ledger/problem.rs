//! How the ledger's failures look to clients.

use axum::http::StatusCode;

use super::{AppendError, CommitError, ExecuteError, NotStorable};
use crate::http::Problem;
use crate::vault::VaultError;

/// How infrastructure failures of commands look to clients; conflicts and reservations are each command's own to word, and are a plain 409 here.
impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Unavailable => {
                Self::unavailable("unavailable", "The service cannot store anything right now; nothing was changed")
            }
            AppendError::OutcomeUnknown => {
                Self::unavailable("outcome_unknown", "Whether this was stored is not known yet; repeating the request finds out")
            }
            AppendError::Rejected(NotStorable::TooLarge { .. }) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "too_large", "This is more than can be stored")
            }
            AppendError::Rejected(NotStorable::Nul | NotStorable::LoneSurrogate | NotStorable::Refused(_)) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_storable", "This holds characters that cannot be stored")
            }
            AppendError::Rejected(reason @ (NotStorable::Disorder | NotStorable::Encoding(_))) => {
                tracing::error!(error = &reason as &dyn std::error::Error, "a command made an append that cannot be stored");
                Self::internal()
            }
            AppendError::Conflict { .. } | AppendError::Duplicate { .. } => {
                Self::conflict("conflict", "Somebody else changed this at the same time")
            }
            AppendError::Reserved { .. } => Self::conflict("taken", "This is taken already"),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Mismatch => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_mismatch", "This Idempotency-Key belongs to another request")
            }
            CommitError::Ledger(error) => error.into(),
            CommitError::Vault(error) => of_vault(&error),
            CommitError::Unreadable(error) => of_unreadable(&error),
            // Worded by the command that knows the reason's type; what is left says at least that it was a refusal.
            CommitError::Refused(_) => Self::conflict("conflict", "Somebody else changed this at the same time"),
        }
    }
}

impl<R: Into<Problem>> From<ExecuteError<R>> for Problem {
    fn from(error: ExecuteError<R>) -> Self {
        match error {
            ExecuteError::Refused(reason) => reason.into(),
            ExecuteError::Ledger(error) => error.into(),
            ExecuteError::Vault(error) => of_vault(&error),
            ExecuteError::Unreadable(error) => of_unreadable(&error),
        }
    }
}

fn of_vault(error: &VaultError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "personal data could not be sealed or opened");
    match error {
        VaultError::Unavailable(_) => {
            Problem::unavailable("unavailable", "The service cannot store anything right now; nothing was changed")
        }
        _ => Problem::internal(),
    }
}

fn of_unreadable(error: &schemas::DecodeError) -> Problem {
    tracing::error!(error = error as &dyn std::error::Error, "a stored event cannot be read");
    Problem::internal()
}
