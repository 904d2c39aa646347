//! Rows of a folded batch: one statement per kind. What stands and is later than what comes stays.

use platform::log::ProjectionTx;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Fold;

pub(super) async fn remove(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let (mut owners, mut contacts, mut positions) = (Vec::<Uuid>::new(), Vec::<Uuid>::new(), Vec::<i64>::new());
    for ((owner, contact), (position, _)) in fold.iter().filter(|(_, (_, row))| row.is_none()) {
        owners.push(owner.0);
        contacts.push(contact.0);
        positions.push(*position);
    }
    sqlx::query!(
        "DELETE FROM contacts AS stands USING unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS gone(owner, contact, at)
          WHERE stands.user_id = gone.owner AND stands.contact_id = gone.contact AND stands.position < gone.at",
        &owners,
        &contacts,
        &positions,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) async fn add(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let (mut owners, mut contacts, mut ids) = (Vec::<Uuid>::new(), Vec::<Uuid>::new(), Vec::<Uuid>::new());
    let (mut nicknames, mut times, mut positions) = (Vec::<Option<&str>>::new(), Vec::<OffsetDateTime>::new(), Vec::<i64>::new());
    for ((owner, contact), (position, row)) in fold {
        let Some(row) = row else { continue };
        owners.push(owner.0);
        contacts.push(contact.0);
        ids.push(row.contact_row_id.0);
        nicknames.push(row.nickname.as_deref());
        times.push(row.added_at.into());
        positions.push(*position);
    }
    sqlx::query!(
        "INSERT INTO contacts AS stands (user_id, contact_id, contact_row_id, nickname, added_at, position)
         SELECT owner, contact, id, nickname, at, place
           FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bigint[]) AS new(owner, contact, id, nickname, at, place)
         ON CONFLICT (user_id, contact_id) DO UPDATE
           SET contact_row_id = excluded.contact_row_id, nickname = excluded.nickname, added_at = excluded.added_at, position = excluded.position
           WHERE stands.position < excluded.position",
        &owners,
        &contacts,
        &ids,
        &nicknames as &[Option<&str>],
        &times,
        &positions,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
