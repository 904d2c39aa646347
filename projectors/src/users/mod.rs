//! Who people are, for everybody who asks.
//!
//! From `account.registered`, and what became of an account since: another name, key or role. Their personal fields are opened here, while folding and outside any transaction; what was
//! erased opens as nothing and stays empty, so a rebuild after an erasure gives the same rows.

mod apply;
mod change;

use std::collections::BTreeMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use platform::vault::Vault;
use schemas::auth::{AccountEvent, AccountRegistered, Role};
use schemas::read_models;
use schemas::{Recorded, Timestamp, UserId};

use crate::opened::{opened, reveal};

/// The projection behind `GET /users/{id}`.
#[derive(Debug, Clone)]
pub struct Users {
    vault: Vault,
}

/// A user as readers see them. `Debug` is left out on purpose: this is personal data in the clear.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Row {
    /// As typed.
    pub email: Option<String>,
    /// As typed; absent only when erased.
    pub username: Option<String>,
    /// As typed.
    pub full_name: Option<String>,
    /// base64, as the client sent it: the newest.
    pub public_key: Option<String>,
    /// What they may do.
    pub role: Role,
    /// When they registered.
    pub created_at: Timestamp,
}

pub use change::Change;

/// What a batch says about people.
#[derive(Default)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Fold {
    /// Who registered, as they are at the batch's end.
    pub registered: BTreeMap<UserId, Row>,
    /// What became of those who had registered before.
    pub changed: BTreeMap<UserId, Change>,
}

impl Users {
    /// A projection that opens seals with this vault.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }
}

fn row(event: &Recorded, account: &mut AccountRegistered) -> Result<Row, ApplyError> {
    Ok(Row {
        email: account.email.as_ref().map(|email| reveal(event, email)).transpose()?.flatten(),
        username: reveal(event, &account.username)?,
        full_name: account.full_name.as_ref().map(|name| reveal(event, name)).transpose()?.flatten(),
        public_key: account.public_keys.pop().map(|key| key.key_data),
        role: account.role,
        created_at: event.recorded_at,
    })
}

impl Projection for Users {
    type Model = read_models::Users;
    type Folded = Fold;

    const BUILD: i32 = 4;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut fold = Fold::default();
        // Sessions stand in the same topic; what is sealed in them is nobody's business here.
        for (event, account) in opened::<AccountEvent>(&self.vault, batch).await? {
            match account {
                AccountEvent::Registered(mut account) => drop(fold.registered.insert(account.user_id, row(event, &mut account)?)),
                AccountEvent::UsernameChanged(change) => {
                    let username = reveal(event, &change.username)?;
                    fold.change(change.user_id, Change { username: Some(username), ..Change::default() });
                }
                AccountEvent::PublicKeyAdded(change) => {
                    fold.change(change.user_id, Change { public_key: Some(change.key.key_data), ..Change::default() });
                }
                AccountEvent::RoleChanged(change) => fold.change(change.user_id, Change { role: Some(change.role), ..Change::default() }),
                // Who may sign in, and how, is auth's own business.
                AccountEvent::PasswordChanged(_) | AccountEvent::Locked(_) => {}
            }
        }
        Ok(fold)
    }

    fn is_empty(fold: &Fold) -> bool {
        fold.registered.is_empty() && fold.changed.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if !fold.registered.is_empty() {
            apply::insert(tx, &fold.registered).await?;
            apply::find_by(tx, &fold.registered).await?;
        }
        if !fold.changed.is_empty() {
            change::update(tx, &fold.changed).await?;
            let renamed = fold.changed.iter().filter_map(|(id, change)| Some((*id, change.username.as_ref()?.as_deref())));
            let renamed: BTreeMap<_, _> = renamed.collect();
            if !renamed.is_empty() {
                apply::find_by_new_name(tx, &renamed).await?;
            }
        }
        Ok(())
    }
}
