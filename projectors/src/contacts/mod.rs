//! Who has whom in their list.
//!
//! From `contact.added` and `contact.removed`. Events of one owner come in order, so of what happened to a pair in a batch the last counts.

mod apply;

use std::collections::BTreeMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use platform::vault::Vault;
use schemas::users::ContactEvent;
use schemas::{ContactRowId, Timestamp, UserId, read_models};

use crate::opened::{opened, reveal};

/// The projection behind lists of contacts.
#[derive(Debug, Clone)]
pub struct Contacts {
    vault: Vault,
}

/// Somebody in a list. `Debug` is left out on purpose: this is personal data in the clear.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Row {
    /// The row's id.
    pub contact_row_id: ContactRowId,
    /// What the owner calls them.
    pub nickname: Option<String>,
    /// Since when they are there.
    pub added_at: Timestamp,
}

/// What became of owner and contact in a batch, and where it stands in the ledger: a row, or none.
pub type Fold = BTreeMap<(UserId, UserId), (i64, Option<Row>)>;

impl Contacts {
    /// A projection that opens seals with this vault.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }
}

impl Projection for Contacts {
    type Model = read_models::Contacts;
    type Folded = Fold;

    const BUILD: i32 = 2;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut fold = Fold::new();
        for (event, contact) in opened::<ContactEvent>(&self.vault, batch).await? {
            match contact {
                ContactEvent::Added(added) => {
                    let nickname = added.nickname.as_ref().map(|name| reveal(event, name)).transpose()?.flatten();
                    let row = Row { contact_row_id: added.contact_row_id, nickname, added_at: event.recorded_at };
                    fold.insert((added.user_id, added.contact_id), (event.position, Some(row)));
                }
                ContactEvent::Removed(removed) => {
                    fold.insert((removed.user_id, removed.contact_id), (event.position, None));
                }
            }
        }
        Ok(fold)
    }

    fn is_empty(fold: &Fold) -> bool {
        fold.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if fold.values().any(|(_, row)| row.is_none()) {
            apply::remove(tx, fold).await?;
        }
        if fold.values().any(|(_, row)| row.is_some()) {
            apply::add(tx, fold).await?;
        }
        Ok(())
    }
}
