//! Connections, databases, roles, migrations.

use crate::config::StartError;

/// Whether a server keeps its promises: refuses `fsync`, `full_page_writes` or `synchronous_commit` off.
///
/// # Errors
/// Names the setting.
pub async fn must_be_durable(_pool: &sqlx::PgPool) -> Result<(), StartError> {
    todo!()
}
