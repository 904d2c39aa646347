//! Rows of a folded batch: one statement per kind.

use platform::log::ProjectionTx;
use uuid::Uuid;

use super::Fold;

fn those_that(stand: bool, fold: &Fold) -> (Vec<Uuid>, Vec<Uuid>) {
    fold.iter().filter(|(_, stands)| **stands == stand).map(|((blocker, blocked), _)| (blocker.0, blocked.0)).unzip()
}

pub(super) async fn place(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let (blockers, blocked) = those_that(true, fold);
    sqlx::query!(
        "INSERT INTO blocks (blocker, blocked) SELECT a, b FROM unnest($1::uuid[], $2::uuid[]) AS new(a, b)
         ON CONFLICT (blocker, blocked) DO NOTHING",
        &blockers,
        &blocked,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn lift(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let (blockers, blocked) = those_that(false, fold);
    sqlx::query!(
        "DELETE FROM blocks USING unnest($1::uuid[], $2::uuid[]) AS lifted(a, b) WHERE blocker = lifted.a AND blocked = lifted.b",
        &blockers,
        &blocked,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
