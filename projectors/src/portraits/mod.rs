//! The auth service's own copy of how people present themselves, so that `GET /auth/me` asks no other service.
//!
//! From `profile.updated`.

mod apply;

use std::collections::BTreeMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use platform::vault::Vault;
use schemas::users::ProfileEvent;
use schemas::{UserId, read_models};

use crate::opened::opened;
use crate::profiles::Presented;

/// The projection behind name, picture and bio in `GET /auth/me`.
#[derive(Debug, Clone)]
pub struct Portraits {
    vault: Vault,
}

/// Who changed what in a batch.
pub type Fold = BTreeMap<UserId, Presented>;

impl Portraits {
    /// A projection that opens seals with this vault.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }
}

impl Projection for Portraits {
    type Model = read_models::Portraits;
    type Folded = Fold;

    const BUILD: i32 = 1;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut fold = Fold::new();
        for (event, profile) in opened::<ProfileEvent>(&self.vault, batch).await? {
            if let ProfileEvent::Updated(updated) = profile {
                fold.entry(updated.user_id).or_default().change(event, &updated)?;
            }
        }
        Ok(fold)
    }

    fn is_empty(fold: &Fold) -> bool {
        fold.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if !fold.is_empty() {
            apply::change(tx, fold).await?;
        }
        Ok(())
    }
}
