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
pub use service::{READER, Service};

use crate::config::StartError;

/// Whether a server keeps its promises: refuses `fsync`, `full_page_writes` or `synchronous_commit` off.
///
/// # Errors
/// Names the setting.
pub async fn must_be_durable(_pool: &sqlx::PgPool) -> Result<(), StartError> {
    todo!()
}
