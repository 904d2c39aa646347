//! What became of an account after it registered.

use std::collections::BTreeMap;

use platform::log::ProjectionTx;
use schemas::UserId;
use schemas::auth::Role;
use uuid::Uuid;

use super::Fold;

/// The last word of a batch on each field; `None`: nothing was said of it.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Change {
    /// Another name; `Some(None)` when it was erased since.
    pub username: Option<Option<String>>,
    /// Another active key.
    pub public_key: Option<String>,
    /// Another role.
    pub role: Option<Role>,
}

impl Fold {
    /// Adds a later change: to the row, when the user registered in this very batch.
    pub(super) fn change(&mut self, user: UserId, change: Change) {
        let Change { username, public_key, role } = change;
        if let Some(row) = self.registered.get_mut(&user) {
            row.username = username.unwrap_or(row.username.take());
            row.public_key = public_key.or(row.public_key.take());
            row.role = role.unwrap_or(row.role);
        } else {
            let changed = self.changed.entry(user).or_default();
            changed.username = username.or(changed.username.take());
            changed.public_key = public_key.or(changed.public_key.take());
            changed.role = role.or(changed.role);
        }
    }
}

/// Changes users; a repeat changes nothing.
pub(super) async fn update(tx: &mut ProjectionTx<'_>, changed: &BTreeMap<UserId, Change>) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = changed.keys().map(|id| id.0).collect();
    let renamed: Vec<bool> = changed.values().map(|change| change.username.is_some()).collect();
    let usernames: Vec<Option<&str>> = changed.values().map(|change| change.username.as_ref().and_then(Option::as_deref)).collect();
    let public_keys: Vec<Option<&str>> = changed.values().map(|change| change.public_key.as_deref()).collect();
    let roles: Vec<Option<&str>> = changed.values().map(|change| change.role.map(Role::as_str)).collect();
    sqlx::query!(
        "UPDATE users AS u SET username = CASE WHEN c.renamed THEN c.username ELSE u.username END,
                public_key = coalesce(c.public_key, u.public_key), role = coalesce(c.role, u.role)
           FROM unnest($1::uuid[], $2::boolean[], $3::text[], $4::text[], $5::text[]) AS c(id, renamed, username, public_key, role)
          WHERE u.user_id = c.id",
        &ids,
        &renamed,
        &usernames as &[Option<&str>],
        &public_keys as &[Option<&str>],
        &roles as &[Option<&str>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
