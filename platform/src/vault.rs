//! Personal data under its subject's key, and digests to look people up by.

use schemas::Event;
use uuid::Uuid;

/// Seals and opens personal fields: AES-256-GCM under a data key per subject, with `event id ‖ field name` as associated data.
///
/// Data keys lie in the key store (`keys.data_keys (subject, wrapped, destroyed_at)`), wrapped by the wrapping key. They are made, idempotently, before the append that needs them, and
/// cached (bounded, 5 min). A destroyed key opens as erased; a missing or unreachable one is [`VaultError`], never a blank. Clones share one cache.
#[derive(Clone, Debug)]
pub struct Vault {}

/// The key store could not be asked, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The database did not answer: try again.
    #[error("the key store is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A subject's key is not there and was not destroyed either.
    #[error("the key store has no key for {0}")]
    Missing(Uuid),
    /// The seal does not open: another key, another event, or damage.
    #[error("a seal of {subject} in event {event} does not open")]
    Broken {
        /// Whose data.
        subject: Uuid,
        /// In which event.
        event: Uuid,
    },
}

impl Vault {
    /// Opens the key store. Without a configured wrapping key one is drawn and kept in the store itself; with one, its fingerprint must match.
    ///
    /// # Errors
    /// A wrong wrapping key or an unreachable store.
    pub async fn open(_keys: sqlx::PgPool, _wrapping_key: Option<[u8; 32]>) -> Result<Self, crate::config::StartError> {
        todo!()
    }
    /// Seals every clear personal field of an event; makes the subjects' keys when they are not there.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn seal<E: Event + Send>(&self, _event_id: Uuid, _event: &mut E) -> Result<(), VaultError> {
        todo!()
    }
    /// Opens every sealed personal field of an event.
    ///
    /// # Errors
    /// [`VaultError`]
    pub async fn unseal<E: Event + Send>(&self, _event_id: Uuid, _event: &mut E) -> Result<(), VaultError> {
        todo!()
    }
    /// Fetches the keys of many subjects in one query, so that the [`Vault::unseal`]s that follow need none. Unknown ones are skipped.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`]
    pub async fn prefetch(&self, _subjects: &[Uuid]) -> Result<(), VaultError> {
        todo!()
    }
    /// A keyed digest (HMAC-SHA-256, hex) for looking up a value that must not stand in the clear: reservations of addresses and names.
    /// `kind` separates uses and is versioned (`email.v1`); its normalisation can never change. The key is drawn once and kept in the store, wrapped.
    #[must_use]
    pub fn digest(&self, _kind: &str, _value: &str) -> String {
        todo!()
    }
}
