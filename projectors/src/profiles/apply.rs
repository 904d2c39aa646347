//! Rows of a folded batch: one statement per table.

use platform::log::ProjectionTx;
use schemas::search;
use schemas::users::LastSeen;
use uuid::Uuid;

use super::Fold;
use crate::opened::array;

/// Profiles and settings: what is not spoken of stays as it is.
pub(super) async fn change(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = fold.keys().map(|id| id.0).collect();
    let presented = || fold.values().map(|change| &change.presented);
    let settings = || fold.values().map(|change| &change.settings);
    let (names_set, names): (Vec<bool>, Vec<Option<&str>>) =
        presented().map(|p| (p.full_name.is_some(), p.full_name.as_ref().and_then(Option::as_deref))).unzip();
    let (bios_set, bios): (Vec<bool>, Vec<Option<&str>>) =
        presented().map(|p| (p.bio.is_some(), p.bio.as_ref().and_then(Option::as_deref))).unzip();
    let (avatars_set, avatars): (Vec<bool>, Vec<Option<&str>>) =
        presented().map(|p| (p.avatar_url.is_some(), p.avatar_url.as_ref().and_then(Option::as_deref))).unzip();
    let receipts: Vec<Option<bool>> = settings().map(|s| s.read_receipts).collect();
    let last_seen: Vec<Option<&str>> = settings().map(|s| s.last_seen.map(LastSeen::as_str)).collect();
    let discoverable: Vec<Option<bool>> = settings().map(|s| s.discoverable).collect();
    let languages: Vec<Option<&str>> = settings().map(|s| s.language.as_deref()).collect();
    let zones: Vec<Option<&str>> = settings().map(|s| s.time_zone.as_deref()).collect();
    sqlx::query!(
        "INSERT INTO profiles (user_id, full_name_set, full_name, bio, avatar_url, read_receipts, last_seen, discoverable, language, time_zone)
         SELECT new.id, coalesce(was.full_name_set, false) OR new.name_set,
                CASE WHEN new.name_set THEN new.name ELSE was.full_name END,
                CASE WHEN new.bio_set THEN new.bio ELSE was.bio END,
                CASE WHEN new.avatar_set THEN new.avatar ELSE was.avatar_url END,
                coalesce(new.receipts, was.read_receipts, true),
                coalesce(new.seen, was.last_seen, 'everybody'),
                coalesce(new.found, was.discoverable, true),
                coalesce(new.lang, was.language),
                coalesce(new.zone, was.time_zone)
           FROM unnest($1::uuid[], $2::bool[], $3::text[], $4::bool[], $5::text[], $6::bool[], $7::text[], $8::bool[], $9::text[], $10::bool[],
                       $11::text[], $12::text[])
             AS new(id, name_set, name, bio_set, bio, avatar_set, avatar, receipts, seen, found, lang, zone)
           LEFT JOIN profiles was ON was.user_id = new.id
         ON CONFLICT (user_id) DO UPDATE SET
           full_name_set = excluded.full_name_set, full_name = excluded.full_name, bio = excluded.bio, avatar_url = excluded.avatar_url,
           read_receipts = excluded.read_receipts, last_seen = excluded.last_seen, discoverable = excluded.discoverable,
           language = excluded.language, time_zone = excluded.time_zone",
        &ids,
        &names_set,
        &names as &[Option<&str>],
        &bios_set,
        &bios as &[Option<&str>],
        &avatars_set,
        &avatars as &[Option<&str>],
        &receipts as &[Option<bool>],
        &last_seen as &[Option<&str>],
        &discoverable as &[Option<bool>],
        &languages as &[Option<&str>],
        &zones as &[Option<&str>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// What people are found by.
pub(super) async fn name(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let renamed = || fold.iter().filter_map(|(id, change)| Some((id.0, change.presented.full_name.as_ref()?)));
    let ids: Vec<Uuid> = renamed().map(|(id, _)| id).collect();
    let (named, terms): (Vec<Uuid>, Vec<String>) = renamed().filter_map(|(id, name)| Some((id, search::folded(name.as_ref()?)))).unzip();
    let pieces: Vec<String> = terms.iter().map(|term| array(&search::pieces(term))).collect();
    sqlx::query!("DELETE FROM full_names WHERE user_id = ANY ($1)", &ids).execute(&mut **tx).await?;
    sqlx::query!(
        "INSERT INTO full_names (user_id, term, pieces)
         SELECT id, term, pieces::int[] FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new(id, term, pieces)",
        &named,
        &terms,
        &pieces,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Copies of keys; of one that was erased nothing stays.
pub(super) async fn keep(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let left = || fold.iter().filter_map(|(id, change)| Some((id.0, change.key_backup.as_ref()?)));
    let ids: Vec<Uuid> = left().map(|(id, _)| id).collect();
    let (kept, keys): (Vec<Uuid>, Vec<&str>) = left().filter_map(|(id, key)| Some((id, key.as_deref()?))).unzip();
    sqlx::query!("DELETE FROM key_backups WHERE user_id = ANY ($1)", &ids).execute(&mut **tx).await?;
    sqlx::query!(
        "INSERT INTO key_backups (user_id, encrypted_private_key) SELECT id, key FROM unnest($1::uuid[], $2::text[]) AS new(id, key)",
        &kept,
        &keys as &[&str],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
