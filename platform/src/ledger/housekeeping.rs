//! Removing what has lapsed. Nobody depends on it: every reader ignores lapsed rows.

use super::connection::lane;
use super::lookups::bounded;
use super::{AppendError, Ledger};

/// Rows removed of each kind in one round.
const ROUND: i64 = 2_000;

impl Ledger {
    /// Removes idempotency records older than 24 h, and lapsed secrets and reservations: at most 2,000 of each. Says how many; call it again until it is 0. Of several processes one does it at a time, the others have nothing to do.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    ///
    /// # Cancel safety
    /// Safe: what was not committed is done next time.
    pub async fn housekeeping(&self) -> Result<u64, AppendError> {
        bounded(self.clean()).await
    }

    async fn clean(&self) -> Result<u64, sqlx::Error> {
        let mut transaction = self.pool().begin().await?;
        let mine = sqlx::query_scalar!(r#"SELECT pg_catalog.pg_try_advisory_xact_lock($1, -1) AS "mine!""#, lane(self.topic()));
        if !mine.fetch_one(&mut *transaction).await? {
            return Ok(0);
        }
        // The condition stands twice: a row that was renewed since it was found stays.
        let records = sqlx::query!(
            "DELETE FROM command_results WHERE recorded_at < clock_timestamp() - interval '24 hours'
                AND ctid = ANY (ARRAY (SELECT ctid FROM command_results WHERE recorded_at < clock_timestamp() - interval '24 hours' LIMIT $1))",
            ROUND
        );
        let secrets = sqlx::query!(
            "DELETE FROM secrets WHERE expires_at < clock_timestamp()
                AND ctid = ANY (ARRAY (SELECT ctid FROM secrets WHERE expires_at < clock_timestamp() LIMIT $1))",
            ROUND
        );
        let reservations = sqlx::query!(
            "DELETE FROM reservations WHERE expires_at < clock_timestamp()
                AND ctid = ANY (ARRAY (SELECT ctid FROM reservations WHERE expires_at < clock_timestamp() LIMIT $1))",
            ROUND
        );
        let removed = records.execute(&mut *transaction).await?.rows_affected()
            + secrets.execute(&mut *transaction).await?.rows_affected()
            + reservations.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(removed)
    }
}
