//! How people present themselves, what they want, and what they left with us.
//!
//! From the events of `profile`, each of which says only what changed. What was erased opens as nothing, so a rebuild after an erasure gives the same rows.

mod apply;

use std::collections::BTreeMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use platform::vault::Vault;
use schemas::users::{ProfileEvent, ProfileUpdated, SettingsChange};
use schemas::{Personal, Recorded, UserId, read_models};

use crate::opened::{opened, reveal};

/// The projection behind profiles, settings and key backups.
#[derive(Debug, Clone)]
pub struct Profiles {
    vault: Vault,
}

/// What somebody changed of how they present themselves: `None` is unchanged, `Some(None)` is cleared. `Debug` is left out on purpose: this is personal data in the clear.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Presented {
    /// As they want to be called.
    pub full_name: Option<Option<String>>,
    /// What they say of themselves.
    pub bio: Option<Option<String>>,
    /// Where their picture is.
    pub avatar_url: Option<Option<String>>,
}

impl Presented {
    /// Lets a later change count.
    ///
    /// # Errors
    /// [`ApplyError::Event`] when the event has not been opened.
    pub(crate) fn change(&mut self, event: &Recorded, updated: &ProfileUpdated) -> Result<(), ApplyError> {
        let text = |field: &Option<Personal>| field.as_ref().map(|field| reveal(event, field)).transpose().map(Option::flatten);
        for (place, field) in
            [(&mut self.full_name, &updated.full_name), (&mut self.bio, &updated.bio), (&mut self.avatar_url, &updated.avatar_url)]
        {
            if let Some(field) = field {
                *place = Some(text(field)?);
            }
        }
        Ok(())
    }
}

/// What somebody changed in a batch.
#[derive(Clone, Default, PartialEq, Eq)]
#[expect(missing_debug_implementations, reason = "personal data in the clear must not reach a log line")]
pub struct Change {
    /// How they present themselves.
    pub presented: Presented,
    /// What they want.
    pub settings: SettingsChange,
    /// What they left; `Some(None)` when it was erased.
    pub key_backup: Option<Option<String>>,
}

/// Who changed what in a batch.
pub type Fold = BTreeMap<UserId, Change>;

impl Profiles {
    /// A projection that opens seals with this vault.
    #[must_use]
    pub fn new(vault: Vault) -> Self {
        Self { vault }
    }
}

/// The later one counts, field by field.
fn merge(settings: &mut SettingsChange, later: SettingsChange) {
    let SettingsChange { read_receipts, last_seen, discoverable, language, time_zone } = later;
    settings.read_receipts = read_receipts.or(settings.read_receipts);
    settings.last_seen = last_seen.or(settings.last_seen);
    settings.discoverable = discoverable.or(settings.discoverable);
    settings.language = language.or_else(|| settings.language.take());
    settings.time_zone = time_zone.or_else(|| settings.time_zone.take());
}

impl Projection for Profiles {
    type Model = read_models::Profiles;
    type Folded = Fold;

    const BUILD: i32 = 2;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        let mut fold = Fold::new();
        for (event, profile) in opened::<ProfileEvent>(&self.vault, batch).await? {
            match profile {
                ProfileEvent::Updated(updated) => fold.entry(updated.user_id).or_default().presented.change(event, &updated)?,
                ProfileEvent::SettingsChanged(changed) => merge(&mut fold.entry(changed.user_id).or_default().settings, changed.settings),
                ProfileEvent::KeyBackupStored(stored) => {
                    fold.entry(stored.user_id).or_default().key_backup = Some(reveal(event, &stored.encrypted_private_key)?);
                }
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
        if fold.values().any(|change| change.presented.full_name.is_some()) {
            apply::name(tx, fold).await?;
        }
        if fold.values().any(|change| change.key_backup.is_some()) {
            apply::keep(tx, fold).await?;
        }
        Ok(())
    }
}
