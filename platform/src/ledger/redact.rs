//! Blanking what was deleted. The one change that a stored event ever sees.

use serde_json::value::RawValue;
use sqlx::types::Json;
use uuid::Uuid;

use super::lookups::bounded;
use super::{AppendError, Ledger};

/// What is left of an event, and why.
#[derive(Debug, Clone)]
pub struct Redaction {
    /// The event.
    pub event_id: Uuid,
    /// Where it stands.
    pub position: i64,
    /// What is left of its payload: of the same type and version, so that it still decodes.
    pub payload: Box<RawValue>,
    /// The event that justifies it.
    pub by: Uuid,
}

impl Ledger {
    /// Replaces a stored event's payload. Its place, its id and all that chains it stay as they are; it is marked with the event that justifies this, and is
    /// never changed again. `false`: that was done before, or there is no such event.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn redact(&self, redaction: Redaction) -> Result<bool, AppendError> {
        let blank = sqlx::query!(
            "UPDATE events SET payload = $3, redacted_by = $4 WHERE position = $1 AND event_id = $2 AND redacted_by IS NULL",
            redaction.position,
            redaction.event_id,
            Json(redaction.payload) as Json<Box<RawValue>>,
            redaction.by,
        );
        Ok(bounded(blank.execute(self.pool())).await?.rows_affected() > 0)
    }

    /// Removes a command-side note that has been dealt with.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn forget_secret(&self, kind: &str, key: &str) -> Result<(), AppendError> {
        bounded(sqlx::query!("DELETE FROM secrets WHERE kind = $1 AND key = $2", kind, key).execute(self.pool())).await?;
        Ok(())
    }
}
