//! The one way to ask a read model: bounded in time, and unmoved by a rebuild's swap.

use std::time::Duration;

use futures::future::BoxFuture;
use platform::http::Problem;
use sqlx::{Connection, PgConnection, PgPool};

/// How long one question may take, with the wait for a connection.
const BOUND: Duration = Duration::from_secs(5);

/// `cached plan must not change result type`: a rebuild has put a table with another shape in this one's place.
const STALE_PLAN: &str = "0A000";

/// Asks on a connection of the pool, which is free again when this returns.
///
/// # Errors
/// 503 when the database does not answer; 500 when what it answers cannot be read.
pub async fn ask<T, F>(pool: &PgPool, question: F) -> Result<T, Problem>
where
    F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>> + Send,
    T: Send,
{
    let answer = async {
        let mut connection = pool.acquire().await?;
        match question(&mut connection).await {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some(STALE_PLAN) => {
                connection.clear_cached_statements().await?;
                question(&mut connection).await
            }
            answer => answer,
        }
    };
    match tokio::time::timeout(BOUND, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error @ (sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_)))) => {
            tracing::error!(%error, "a read model holds what this release cannot read");
            Err(Problem::internal())
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "a read model did not answer");
            Err(away())
        }
        Err(_) => {
            tracing::warn!(bound_ms = BOUND.as_millis(), "a read model did not answer in time");
            Err(away())
        }
    }
}

fn away() -> Problem {
    Problem::unavailable("database_unavailable", "The data cannot be read at the moment; please try again")
}
