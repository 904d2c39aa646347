//! Rows of a folded batch.

use std::collections::BTreeMap;

use platform::log::ProjectionTx;
use schemas::UserId;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Row;

/// Adds users; those who are there stay as they are.
pub(super) async fn insert(tx: &mut ProjectionTx<'_>, users: &BTreeMap<UserId, Row>) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = users.keys().map(|id| id.0).collect();
    let emails: Vec<Option<&str>> = users.values().map(|user| user.email.as_deref()).collect();
    let usernames: Vec<Option<&str>> = users.values().map(|user| user.username.as_deref()).collect();
    let full_names: Vec<Option<&str>> = users.values().map(|user| user.full_name.as_deref()).collect();
    let public_keys: Vec<Option<&str>> = users.values().map(|user| user.public_key.as_deref()).collect();
    let roles: Vec<&str> = users.values().map(|user| user.role.as_str()).collect();
    let times: Vec<OffsetDateTime> = users.values().map(|user| user.created_at.into()).collect();
    sqlx::query!(
        "INSERT INTO users (user_id, email, username, full_name, public_key, role, is_active, created_at)
         SELECT id, email, username, full_name, public_key, role, true, at
           FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
             AS new(id, email, username, full_name, public_key, role, at)
         ON CONFLICT (user_id) DO NOTHING",
        &ids,
        &emails as &[Option<&str>],
        &usernames as &[Option<&str>],
        &full_names as &[Option<&str>],
        &public_keys as &[Option<&str>],
        &roles as &[&str],
        &times,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
