//! Connections, databases, roles, migrations.
//!
//! * [`Service`] who has a database · [`Databases`] where they are, and as whom to connect · [`Databases::prepare`] makes what is missing
//! * [`Databases::migrate`] brings schemas up to date · [`Pools`] connections with bounds

mod databases;
mod migrate;
mod pools;
mod service;

pub use databases::Databases;
pub use pools::Pools;
pub(crate) use pools::{connect, options};
pub use service::{READER, Service};

use std::time::Duration;

use crate::config::StartError;

/// Whether a server keeps its promises: refuses `fsync`, `full_page_writes` or `synchronous_commit` off.
///
/// Looks at a connection of the pool, so that settings of its database and its role count too. `kill -9` of a server cannot reveal these settings: only asking can.
///
/// # Errors
/// Names the setting.
pub async fn must_be_durable(pool: &sqlx::PgPool) -> Result<(), StartError> {
    let asked = sqlx::query!(
        r#"SELECT name AS "name!" FROM pg_catalog.pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit') AND setting = 'off'"#
    )
    .fetch_all(pool);
    let off = tokio::time::timeout(Duration::from_secs(5), asked)
        .await
        .map_err(|late| StartError::because("Postgres did not say within 5 s whether it is durable", late))?
        .map_err(|error| StartError::because("Postgres did not say whether it is durable", error))?;
    if off.is_empty() {
        return Ok(());
    }
    let names = off.into_iter().map(|row| format!("`{}`", row.name)).collect::<Vec<_>>().join(" and ");
    Err(StartError::new(format!(
        "Postgres runs with {names} off and would lose what it acknowledged: switch it on (postgresql.conf, ALTER DATABASE or ALTER ROLE)"
    )))
}
