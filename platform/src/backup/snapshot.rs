//! What one database looked like at one moment, held until it has been archived.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::Part;
use super::manifest::{Keys, LedgerState, hex};
use crate::config::StartError;
use crate::postgres::connect;

/// A transaction that sees this moment, and its name for others who want to see the same.
pub(super) struct Snapshot {
    connection: PgConnection,
    pub(super) name: String,
    /// The server's major version.
    pub(super) major: u32,
}

impl Snapshot {
    pub(super) async fn take(part: &Part<'_>) -> Result<Self, StartError> {
        let mut connection = connect(part.url, "backup").await?;
        let failed = |error| StartError::because(format!("the database of `{}` cannot be archived", part.name), error);
        // Held as long as the archives take.
        let begin = "SET idle_in_transaction_session_timeout = 0; BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        connection.execute(begin).await.map_err(failed)?;
        let name: String = sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut connection).await.map_err(failed)?;
        let major = server_major(&mut connection).await.map_err(failed)?;
        for schema in &part.schemas {
            let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
                .bind(*schema)
                .fetch_one(&mut connection)
                .await
                .map_err(failed)?;
            if !there {
                return Err(StartError::new(format!("there is no schema {schema} in {} yet: `postrider migrate` makes it", part.url)));
            }
        }
        Ok(Self { connection, name, major })
    }

    pub(super) async fn ledger(&mut self, schema: &str) -> Result<LedgerState, StartError> {
        ledger_state(&mut self.connection, schema).await
    }

    pub(super) async fn keys(&mut self) -> Result<Keys, StartError> {
        let row: Option<(Vec<u8>, bool)> = sqlx::query_as("SELECT fingerprint, wrapping_key IS NOT NULL FROM keys.key_store")
            .fetch_optional(&mut self.connection)
            .await
            .map_err(|error| StartError::because("the key store cannot be read", error))?;
        let (fingerprint, kept_in_store) = row
            .ok_or_else(|| StartError::new("the key store is empty: `postrider up` has never run here, and there is nothing to back up"))?;
        Ok(Keys { fingerprint: hex(&fingerprint), kept_in_store })
    }

    pub(super) async fn close(self) {
        let _nothing_was_written = self.connection.close().await;
    }
}

/// Which life a ledger is in, and how far it is.
pub(super) async fn ledger_state(connection: &mut PgConnection, schema: &str) -> Result<LedgerState, StartError> {
    let sql = format!("SELECT incarnation, generation, coalesce((SELECT max(position) FROM {schema}.events), 0) FROM {schema}.ledger_meta");
    let (incarnation, generation, head) = sqlx::query_as(AssertSqlSafe(sql))
        .fetch_one(connection)
        .await
        .map_err(|error| StartError::because(format!("the ledger {schema} cannot be read"), error))?;
    Ok(LedgerState { incarnation, generation, head })
}

/// The server's major version.
pub(super) async fn server_major(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let number: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int").fetch_one(connection).await?;
    Ok(u32::try_from(number).unwrap_or_default() / 10_000)
}
