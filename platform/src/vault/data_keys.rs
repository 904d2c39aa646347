//! A key for each subject: fetched, cached, and made when it is needed for the first time.

use std::collections::HashMap;
use std::future::Future;
use std::time::{Duration, Instant};

use quick_cache::UnitWeighter;
use quick_cache::sync::Cache;
use sqlx::PgPool;
use uuid::Uuid;

use super::VaultError;
use super::cipher::{self, SecretKey};

const CACHED: u64 = 100_000;
/// Below the 60 s within which an erasure must be complete everywhere.
const LIFE: Duration = Duration::from_secs(50);
const TIME_OUT: Duration = Duration::from_secs(2);

/// What the store holds for a subject.
#[derive(Clone, Copy, Debug)]
pub(super) enum DataKey {
    Live(SecretKey),
    Destroyed,
}

pub(super) struct DataKeys {
    store: PgPool,
    wrapping_key: SecretKey,
    /// Keys as bytes: an expanded one is twenty times as large, and expanding takes a tenth of a microsecond.
    cache: Cache<Uuid, (DataKey, Instant)>,
}

struct Row {
    subject: Uuid,
    wrapped: Option<Vec<u8>>,
}

impl DataKeys {
    pub(super) fn new(store: PgPool, wrapping_key: SecretKey) -> Self {
        Self { store, wrapping_key, cache: Cache::with_weighter(1_024, CACHED, UnitWeighter) }
    }

    /// The keys of those that have one or had one, in at most one query.
    pub(super) async fn get(&self, subjects: &[Uuid]) -> Result<HashMap<Uuid, DataKey>, VaultError> {
        let mut known = HashMap::with_capacity(subjects.len());
        let mut unknown = Vec::new();
        for subject in subjects {
            match self.cached(subject) {
                Some(key) => {
                    known.insert(*subject, key);
                }
                None => unknown.push(*subject),
            }
        }
        if !unknown.is_empty() {
            let fetch = sqlx::query_as!(Row, "SELECT subject, wrapped FROM keys.data_keys WHERE subject = ANY($1)", &unknown);
            self.learn(bounded(fetch.fetch_all(&self.store)).await?, &mut known)?;
        }
        Ok(known)
    }

    /// The keys of all; those that are missing are made. However many processes make one at once, all get the same.
    pub(super) async fn get_or_make(&self, subjects: &[Uuid]) -> Result<HashMap<Uuid, DataKey>, VaultError> {
        let mut known = self.get(subjects).await?;
        // In one order everywhere, so that two who make the same keys wait for each other instead of dying together.
        let mut missing: Vec<Uuid> = subjects.iter().filter(|s| !known.contains_key(s)).copied().collect();
        if missing.is_empty() {
            return Ok(known);
        }
        missing.sort_unstable();
        let wrapped: Vec<Vec<u8>> =
            missing.iter().map(|s| cipher::seal(&self.wrapping_key, SecretKey::draw().bytes(), s.as_bytes())).collect();
        let make = sqlx::query_as!(
            Row,
            "INSERT INTO keys.data_keys (subject, wrapped) SELECT * FROM unnest($1::uuid[], $2::bytea[])
             ON CONFLICT (subject) DO NOTHING RETURNING subject, wrapped",
            &missing,
            &wrapped
        );
        self.learn(bounded(make.fetch_all(&self.store)).await?, &mut known)?;
        if missing.iter().any(|subject| !known.contains_key(subject)) {
            // Somebody else was faster: theirs counts.
            known.extend(self.get(&missing).await?);
        }
        Ok(known)
    }

    fn cached(&self, subject: &Uuid) -> Option<DataKey> {
        let (key, since) = self.cache.get(subject)?;
        // A destroyed key never comes back.
        (matches!(key, DataKey::Destroyed) || since.elapsed() < LIFE).then_some(key)
    }

    fn learn(&self, rows: Vec<Row>, known: &mut HashMap<Uuid, DataKey>) -> Result<(), VaultError> {
        for Row { subject, wrapped } in rows {
            let key = match wrapped {
                None => DataKey::Destroyed,
                Some(wrapped) => cipher::open_key(&self.wrapping_key, &wrapped, subject.as_bytes())
                    .map(DataKey::Live)
                    .ok_or_else(|| unavailable(format!("the data key of {subject} does not open under the wrapping key")))?,
            };
            self.cache.insert(subject, (key, Instant::now()));
            known.insert(subject, key);
        }
        Ok(())
    }
}

/// A store whose keys are damaged is no store: nothing may take the events for damaged.
fn unavailable(reason: String) -> VaultError {
    VaultError::Unavailable(sqlx::Error::Decode(reason.into()))
}

async fn bounded<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, VaultError> {
    match tokio::time::timeout(TIME_OUT, query).await {
        Ok(answer) => answer.map_err(VaultError::Unavailable),
        Err(_) => Err(VaultError::Unavailable(sqlx::Error::PoolTimedOut)),
    }
}
