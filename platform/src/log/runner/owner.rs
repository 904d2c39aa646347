//! Who projects: one connection that holds the projection's lock and carries its transactions, so that losing one is losing the other.

use std::time::Duration;

use schemas::read_models::ReadModel;
use sqlx::{Connection, PgConnection};

use super::schema;
use super::{RunnerConfig, Trouble};
use crate::log::checkpoint;
use crate::log::{EventSource, Projection};
use crate::shutdown::Shutdown;

/// How often somebody who stands by looks.
const STAND_BY: Duration = Duration::from_millis(500);

/// A session with the projection's lock.
pub(super) struct Owner {
    connection: PgConnection,
    lock: String,
    shared: bool,
}

impl Owner {
    /// Waits until the lock is free (`None` when the drain comes first). Who stands by becomes ready when whoever runs the projection has caught up.
    pub(super) async fn acquire<P: Projection>(
        config: &RunnerConfig,
        source: &mut dyn EventSource,
        shutdown: &Shutdown,
    ) -> Result<Option<Self>, Trouble> {
        let name = P::Model::NAME;
        let connection = tokio::time::timeout(Duration::from_secs(10), connect(&config.pool)).await.map_err(timed_out)??;
        let mut owner = Self { connection, lock: format!("projection.{name}"), shared: !config.exclusive };
        let (mut ends, mut said) = (None, false);
        while !owner.try_lock(owner.shared).await? {
            if !said {
                tracing::info!(projection = name, "another process runs this projection; standing by");
                said = true;
            }
            // Who shares waits only while somebody refills, and catches up by itself afterwards.
            if config.exclusive && ends.is_none() {
                ends = Some(source.ends().await.map_err(|e| Trouble::source(name, e))?);
            }
            if config.readiness.missing().contains(&name)
                && let Some(rows) = schema::look::<P>(&mut owner.connection).await?
                && let Some(ends) = &ends
            {
                source.seek(&checkpoint::begun(&rows)).await.map_err(|e| Trouble::source(name, e))?;
                if source.has_passed(ends) {
                    config.readiness.set(name, true);
                }
            }
            tokio::select! {
                () = shutdown.draining() => return Ok(None),
                () = tokio::time::sleep(STAND_BY) => {}
            }
        }
        Ok(Some(owner))
    }

    /// Waits until nobody else holds the lock, not even shared; `false` when the drain comes first.
    pub(super) async fn alone(&mut self, shutdown: &Shutdown) -> Result<bool, Trouble> {
        if !self.shared {
            return Ok(true);
        }
        sqlx::query!("SELECT pg_advisory_unlock_shared(hashtextextended($1, 0))", self.lock).fetch_one(&mut self.connection).await?;
        while !self.try_lock(false).await? {
            tokio::select! {
                () = shutdown.draining() => return Ok(false),
                () = tokio::time::sleep(STAND_BY) => {}
            }
        }
        self.shared = false;
        Ok(true)
    }

    async fn try_lock(&mut self, shared: bool) -> Result<bool, sqlx::Error> {
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

    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

/// A connection like the pool's, with bounds on everything that can hang. One that sleeps in the middle of a transaction loses it.
async fn connect(pool: &sqlx::PgPool) -> Result<PgConnection, sqlx::Error> {
    let options = pool.connect_options().as_ref().clone().options([
        ("statement_timeout", "60s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "60s"),
    ]);
    PgConnection::connect_with(&options).await
}

pub(super) fn timed_out(_: tokio::time::error::Elapsed) -> Trouble {
    Trouble::Infrastructure("the projection's database did not answer in time".into())
}
