//! Rows of a folded batch.

use platform::log::ProjectionTx;
use uuid::Uuid;

use super::Fold;

/// Adds people; those who are there stay.
pub(super) async fn insert(tx: &mut ProjectionTx<'_>, registered: &Fold) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = registered.iter().map(|id| id.0).collect();
    sqlx::query!("INSERT INTO people (user_id) SELECT id FROM unnest($1::uuid[]) AS new(id) ON CONFLICT (user_id) DO NOTHING", &ids)
        .execute(&mut **tx)
        .await?;
    Ok(())
}
