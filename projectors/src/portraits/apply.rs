//! Rows of a folded batch.

use platform::log::ProjectionTx;
use uuid::Uuid;

use super::Fold;

/// What is not spoken of stays as it is.
pub(super) async fn change(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = fold.keys().map(|id| id.0).collect();
    let (names_set, names): (Vec<bool>, Vec<Option<&str>>) =
        fold.values().map(|p| (p.full_name.is_some(), p.full_name.as_ref().and_then(Option::as_deref))).unzip();
    let (bios_set, bios): (Vec<bool>, Vec<Option<&str>>) =
        fold.values().map(|p| (p.bio.is_some(), p.bio.as_ref().and_then(Option::as_deref))).unzip();
    let (avatars_set, avatars): (Vec<bool>, Vec<Option<&str>>) =
        fold.values().map(|p| (p.avatar_url.is_some(), p.avatar_url.as_ref().and_then(Option::as_deref))).unzip();
    sqlx::query!(
        "INSERT INTO portraits (user_id, full_name_set, full_name, bio, avatar_url)
         SELECT new.id, coalesce(was.full_name_set, false) OR new.name_set,
                CASE WHEN new.name_set THEN new.name ELSE was.full_name END,
                CASE WHEN new.bio_set THEN new.bio ELSE was.bio END,
                CASE WHEN new.avatar_set THEN new.avatar ELSE was.avatar_url END
           FROM unnest($1::uuid[], $2::bool[], $3::text[], $4::bool[], $5::text[], $6::bool[], $7::text[])
             AS new(id, name_set, name, bio_set, bio, avatar_set, avatar)
           LEFT JOIN portraits was ON was.user_id = new.id
         ON CONFLICT (user_id) DO UPDATE SET
           full_name_set = excluded.full_name_set, full_name = excluded.full_name, bio = excluded.bio, avatar_url = excluded.avatar_url",
        &ids,
        &names_set,
        &names as &[Option<&str>],
        &bios_set,
        &bios as &[Option<&str>],
        &avatars_set,
        &avatars as &[Option<&str>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
