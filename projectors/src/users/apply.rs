//! Rows of a folded batch.

use std::collections::BTreeMap;

use platform::log::ProjectionTx;
use schemas::{UserId, search};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Row;
use crate::opened::array;

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

/// What people are found by.
pub(super) async fn find_by(tx: &mut ProjectionTx<'_>, users: &BTreeMap<UserId, Row>) -> Result<(), sqlx::Error> {
    let addresses = users.iter().filter_map(|(id, user)| Some((id.0, search::folded(user.email.as_ref()?))));
    let (ids, terms): (Vec<Uuid>, Vec<String>) = addresses.unzip();
    let pieces: Vec<String> = terms.iter().map(|term| array(&search::pieces(term))).collect();
    sqlx::query!(
        "INSERT INTO addresses (user_id, term, pieces)
         SELECT id, term, pieces::int[] FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new(id, term, pieces)
         ON CONFLICT (user_id) DO NOTHING",
        &ids,
        &terms,
        &pieces,
    )
    .execute(&mut **tx)
    .await?;

    let (mut ids, mut fields, mut terms) = (Vec::<Uuid>::new(), Vec::<&str>::new(), Vec::<String>::new());
    for (id, user) in users {
        for (field, name) in [("username", &user.username), ("full_name", &user.full_name)] {
            if let Some(name) = name {
                ids.push(id.0);
                fields.push(field);
                terms.push(search::folded(name));
            }
        }
    }
    let pieces: Vec<String> = terms.iter().map(|term| array(&search::pieces(term))).collect();
    sqlx::query!(
        "INSERT INTO names (user_id, field, term, pieces)
         SELECT id, field, term, pieces::int[] FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS new(id, field, term, pieces)
         ON CONFLICT (user_id, field) DO NOTHING",
        &ids,
        &fields as &[&str],
        &terms,
        &pieces,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// The same, of those who have another name now.
pub(super) async fn find_by_new_name(tx: &mut ProjectionTx<'_>, renamed: &BTreeMap<UserId, Option<&str>>) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = renamed.keys().map(|id| id.0).collect();
    sqlx::query!("DELETE FROM names WHERE field = 'username' AND user_id = ANY ($1)", &ids).execute(&mut **tx).await?;
    let (ids, terms): (Vec<Uuid>, Vec<String>) = renamed.iter().filter_map(|(id, name)| Some((id.0, search::folded((*name)?)))).unzip();
    let pieces: Vec<String> = terms.iter().map(|term| array(&search::pieces(term))).collect();
    sqlx::query!(
        "INSERT INTO names (user_id, field, term, pieces)
         SELECT id, 'username', term, pieces::int[] FROM unnest($1::uuid[], $2::text[], $3::text[]) AS new(id, term, pieces)",
        &ids,
        &terms,
        &pieces,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
