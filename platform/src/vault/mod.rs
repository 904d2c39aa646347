//! Personal data under its subject's key, and digests to look people up by.

mod cipher;
mod data_keys;
mod key_store;

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use schemas::{Event, Personal};
use sha2::Sha256;
use uuid::Uuid;

use cipher::SecretKey;
use data_keys::{DataKey, DataKeys};

use crate::config::StartError;

/// Seals and opens personal fields: AES-256-GCM under a data key per subject, with `event id ‖ 0x00 ‖ field name` as associated data.
///
/// Data keys lie in the key store (`keys.data_keys (subject, wrapped, destroyed_at)`), wrapped by the wrapping key. They are made, idempotently, before the append that needs them, and
/// cached (bounded, 50 s: an erasure must be complete within 60). A destroyed key opens as erased; a missing or unreachable one is [`VaultError`], never a blank. Clones share one cache.
#[derive(Clone)]
pub struct Vault {
    inner: Arc<Inner>,
}

struct Inner {
    data_keys: DataKeys,
    digest_key: SecretKey,
}

/// The key store could not be asked, or does not hold what it should.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The database did not answer: try again.
    #[error("the key store is not available")]
    Unavailable(#[source] sqlx::Error),
    /// A subject's key is not there and was not destroyed either.
    #[error("the key store has no key for {0}")]
    Missing(Uuid),
    /// Something is to be sealed for a subject whose key was destroyed.
    #[error("the key of {0} has been destroyed")]
    Destroyed(Uuid),
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
    pub async fn open(keys: sqlx::PgPool, wrapping_key: Option<[u8; 32]>) -> Result<Self, StartError> {
        let opened = key_store::open(&keys, wrapping_key.map(SecretKey::from)).await?;
        Ok(Self { inner: Arc::new(Inner { data_keys: DataKeys::new(keys, opened.wrapping_key), digest_key: opened.digest_key }) })
    }

    /// Seals every clear personal field of an event; makes the subjects' keys when they are not there.
    ///
    /// # Errors
    /// [`VaultError`]; the event is then partly sealed and must not be used.
    pub async fn seal<E: Event + Send>(&self, event_id: Uuid, event: &mut E) -> Result<(), VaultError> {
        let subjects = subjects(event, |field| matches!(field, Personal::Clear { .. }));
        if subjects.is_empty() {
            return Ok(());
        }
        let keys = self.inner.data_keys.get_or_make(&subjects).await?;
        visit(event, |name, field| {
            let Personal::Clear { subject, value } = field else { return Ok(()) };
            let subject = *subject;
            match keys.get(&subject) {
                Some(DataKey::Live(key)) => {
                    *field = Personal::Sealed { subject, sealed: cipher::seal_text(key, value, &bound_to(event_id, name)) };
                    Ok(())
                }
                Some(DataKey::Destroyed) => Err(VaultError::Destroyed(subject)),
                None => Err(VaultError::Missing(subject)),
            }
        })
    }

    /// Opens every sealed personal field of an event.
    ///
    /// # Errors
    /// [`VaultError`]; the event is then partly opened and must not be used.
    pub async fn unseal<E: Event + Send>(&self, event_id: Uuid, event: &mut E) -> Result<(), VaultError> {
        let subjects = subjects(event, |field| matches!(field, Personal::Sealed { .. }));
        if subjects.is_empty() {
            return Ok(());
        }
        let keys = self.inner.data_keys.get(&subjects).await?;
        visit(event, |name, field| {
            let Personal::Sealed { subject, sealed } = field else { return Ok(()) };
            let subject = *subject;
            *field = match keys.get(&subject) {
                Some(DataKey::Live(key)) => match cipher::open_text(key, sealed, &bound_to(event_id, name)) {
                    Some(value) => Personal::Clear { subject, value },
                    None => return Err(VaultError::Broken { subject, event: event_id }),
                },
                Some(DataKey::Destroyed) => Personal::Erased { subject },
                None => return Err(VaultError::Missing(subject)),
            };
            Ok(())
        })
    }

    /// Fetches the keys of many subjects in one query, so that the [`Vault::unseal`]s that follow need none. Unknown ones are skipped.
    ///
    /// # Errors
    /// [`VaultError::Unavailable`]
    pub async fn prefetch(&self, subjects: &[Uuid]) -> Result<(), VaultError> {
        self.inner.data_keys.get(subjects).await.map(drop)
    }

    /// A keyed digest (HMAC-SHA-256, hex) for looking up a value that must not stand in the clear: reservations of addresses and names.
    /// `kind` separates uses and is versioned (`email.v1`); its normalisation can never change. The key is drawn once and kept in the store, wrapped.
    #[must_use]
    pub fn digest(&self, kind: &str, value: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.inner.digest_key.bytes()).expect("HMAC takes keys of any length");
        // The length first, so that no kind and value can be read as another pair.
        mac.update(&(kind.len() as u64).to_be_bytes());
        mac.update(kind.as_bytes());
        mac.update(value.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").finish_non_exhaustive()
    }
}

/// What a seal is bound to: it opens in this field of this event only.
fn bound_to(event_id: Uuid, field: &str) -> Vec<u8> {
    [event_id.as_bytes(), &[0][..], field.as_bytes()].concat()
}

/// Tells wrapping keys apart without telling anything about them; as the key store keeps it.
pub(crate) fn fingerprint(wrapping_key: [u8; 32]) -> Vec<u8> {
    SecretKey::from(wrapping_key).fingerprint()
}

/// Whose keys the fields of a kind need; sorted, each once.
fn subjects<E: Event>(event: &mut E, needs_key: impl Fn(&Personal) -> bool) -> Vec<Uuid> {
    let mut subjects = Vec::new();
    event.personal(&mut |_, field| {
        if needs_key(field) {
            subjects.push(field.subject());
        }
    });
    subjects.sort_unstable();
    subjects.dedup();
    subjects
}

/// Shows every field until one fails.
fn visit<E: Event>(event: &mut E, mut each: impl FnMut(&'static str, &mut Personal) -> Result<(), VaultError>) -> Result<(), VaultError> {
    let mut outcome = Ok(());
    event.personal(&mut |name, field| {
        if outcome.is_ok() {
            outcome = each(name, field);
        }
    });
    outcome
}
