//! Who projects: a connection that holds the lock.

use std::time::Duration;

use sqlx::{Connection, PgConnection, PgPool};

const PATIENCE: Duration = Duration::from_secs(10);

/// A session with the lock of a name. The comparison of checkpoints is the fence; the lock keeps two from doing the same work.
pub(super) struct Owner {
    connection: PgConnection,
    lock: String,
}

impl Owner {
    /// Connects, without the lock yet.
    pub(super) async fn connect(pool: &PgPool, name: &str) -> Result<Self, sqlx::Error> {
        let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "10s"), ("lock_timeout", "10s")]);
        let connection =
            tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(Self { connection, lock: format!("projection.{name}") })
    }

    /// Whether it is ours now, alone or (`shared`) with others who share it.
    pub(super) async fn try_lock(&mut self, shared: bool) -> Result<bool, sqlx::Error> {
        if shared {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0)) AS "locked!""#, self.lock)
                .fetch_one(&mut self.connection)
                .await
        } else {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#, self.lock)
                .fetch_one(&mut self.connection)
                .await
        }
    }

    /// Fails when the connection, and the lock with it, is gone.
    pub(super) async fn still(&mut self) -> Result<(), sqlx::Error> {
        tokio::time::timeout(PATIENCE, self.connection.ping()).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }
}
