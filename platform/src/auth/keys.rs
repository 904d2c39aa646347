//! Signing keys: private in a file, public in the database.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonwebtoken::{DecodingKey, EncodingKey};
use p256::PublicKey;
use p256::pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};

use super::key_file::{self, KeyFile};
use crate::clock;
use crate::config::StartError;
use crate::crash::crash_point;

/// How often published keys are read again without being asked.
const REFRESH: Duration = Duration::from_secs(60);
/// An unknown key is looked for at most this often.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);

/// This process's private key and everybody's published public keys. Clones share one state.
///
/// The private key is an EC P-256 key in PKCS#8 PEM, `<dir>/signing-<kid>.pem`, mode 0600, made at the first start (written aside, fsynced, renamed).
/// Its public half is in `auth.signing_keys (kid, public_key, created_at, retired_at)` before anything is signed with it. While a key rotates
/// (`rotate`), two are published; a retired one stays published for the lifetime of the tokens it signed.
///
/// Published keys are read again every 60 s, and at once when a token names one that is not known.
#[derive(Clone)]
pub struct SigningKeys {
    inner: Arc<Inner>,
}

struct Inner {
    auth: PgPool,
    token_lifetime: Duration,
    directory: Option<PathBuf>,
    signing: RwLock<Option<Signing>>,
    published: RwLock<Arc<Published>>,
    last_reload: Mutex<Reload>,
}

/// What this process signs with.
#[derive(Clone)]
pub(super) struct Signing {
    pub(super) kid: String,
    pub(super) key: EncodingKey,
}

/// The keys that tokens are accepted from. A new generation whenever one is gone, so that what was verified with it is looked at again.
pub(super) struct Published {
    pub(super) generation: u64,
    keys: HashMap<String, (DecodingKey, Value)>,
}

struct Reload {
    began: Instant,
    succeeded: bool,
}

/// The published keys could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CannotKnow;

impl std::fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let published = self.published();
        f.debug_struct("SigningKeys").field("published", &published.keys.keys()).finish_non_exhaustive()
    }
}

impl SigningKeys {
    /// Reads or makes the private key, publishes it, loads all published ones.
    ///
    /// # Errors
    /// When the directory cannot be read or written, the file's mode is too open, or the database cannot be reached.
    pub async fn open(dir: &Path, auth: &PgPool, token_lifetime: Duration) -> Result<Self, StartError> {
        let keys = Self::with(auth, token_lifetime, Some(dir.to_owned()));
        let files = off_thread(dir.to_owned(), key_file::read_all).await?;
        let current = match keys.newest_in_use(files).await? {
            Some(file) => file,
            None => off_thread(dir.to_owned(), key_file::make).await?,
        };
        crash_point("start.before_key_is_published");
        keys.publish(&current).await?;
        keys.sign_with(current);
        keys.start().await
    }

    /// Only verifies: for processes that issue no tokens. `auth` may be any role that can select `auth.signing_keys`.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn published_only(auth: &PgPool, token_lifetime: Duration) -> Result<Self, StartError> {
        Self::with(auth, token_lifetime, None).start().await
    }

    /// Makes a new private key, publishes it beside the old one and signs with it from now on.
    ///
    /// # Errors
    /// As [`SigningKeys::open`].
    pub async fn rotate(&self) -> Result<(), StartError> {
        let Some(directory) = self.inner.directory.clone() else {
            return Err(StartError::new("this process has no signing key to rotate"));
        };
        let old = self.signing();
        let new = off_thread(directory.clone(), key_file::make).await?;
        self.publish(&new).await?;
        self.sign_with(new);
        if let Some(old) = old {
            sqlx::query!("UPDATE auth.signing_keys SET retired_at = $2 WHERE kid = $1 AND retired_at IS NULL", old.kid, now())
                .execute(&self.inner.auth)
                .await
                .map_err(cannot_publish)?;
            off_thread(directory, move |dir| key_file::remove(dir, &old.kid)).await?;
        }
        self.load().await.map_err(cannot_publish)
    }

    pub(super) fn signing(&self) -> Option<Signing> {
        self.inner.signing.read().expect("no panic holds this lock").clone()
    }

    pub(super) fn published(&self) -> Arc<Published> {
        self.inner.published.read().expect("no panic holds this lock").clone()
    }

    /// The key of this name; `None` when nobody has published one. Looks into the database when it is not known here, once for all who ask, at most once a second.
    pub(super) async fn verifying(&self, kid: &str) -> Result<Option<DecodingKey>, CannotKnow> {
        let asked = Instant::now();
        if let Some(key) = self.published().key(kid) {
            return Ok(Some(key));
        }
        let mut last = self.inner.last_reload.lock().await;
        // Somebody may have looked while we waited for our turn; only a look that began after we were asked can say "there is none".
        if last.began < asked && self.published().key(kid).is_none() {
            sleep_until(last.began + RELOAD_PAUSE).await;
            last.began = Instant::now();
            last.succeeded = self.load().await.inspect_err(log_failure).is_ok();
        }
        match self.published().key(kid) {
            Some(key) => Ok(Some(key)),
            None if last.succeeded => Ok(None),
            None => Err(CannotKnow),
        }
    }

    fn with(auth: &PgPool, token_lifetime: Duration, directory: Option<PathBuf>) -> Self {
        let inner = Inner {
            auth: auth.clone(),
            token_lifetime,
            directory,
            signing: RwLock::default(),
            published: RwLock::new(Arc::new(Published { generation: 0, keys: HashMap::new() })),
            last_reload: Mutex::new(Reload { began: Instant::now(), succeeded: true }),
        };
        Self { inner: Arc::new(inner) }
    }

    async fn start(self) -> Result<Self, StartError> {
        self.load().await.map_err(cannot_publish)?;
        let keys = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(REFRESH).await;
                // Ends with the last handle.
                let Some(inner) = keys.upgrade() else { return };
                let _ = Self { inner }.load().await.inspect_err(log_failure);
            }
        });
        Ok(self)
    }

    /// Of the files in the directory, the newest whose key is published and not retired, or was not published yet (a crash came between).
    async fn newest_in_use(&self, files: Vec<KeyFile>) -> Result<Option<KeyFile>, StartError> {
        let rows = sqlx::query!("SELECT kid, created_at, retired_at FROM auth.signing_keys").fetch_all(&self.inner.auth);
        let rows = within(rows).await.map_err(cannot_publish)?;
        let mut usable: Vec<_> = files
            .into_iter()
            .filter_map(|file| match rows.iter().find(|row| row.kid == file.kid) {
                Some(row) if row.retired_at.is_some() => None,
                row => Some((row.map(|row| row.created_at), file)),
            })
            .collect();
        // Unpublished ones come first, and are taken last.
        usable.sort_by_key(|(created_at, _)| *created_at);
        Ok(usable.pop().map(|(_, file)| file))
    }

    async fn publish(&self, file: &KeyFile) -> Result<(), StartError> {
        let pem =
            file.public.to_public_key_pem(LineEnding::LF).map_err(|e| StartError::because("the signing key has no public form", e))?;
        let insert = sqlx::query!(
            "INSERT INTO auth.signing_keys (kid, public_key, created_at) VALUES ($1, $2, $3) ON CONFLICT ON CONSTRAINT signing_keys_kid DO NOTHING",
            file.kid,
            pem,
            now()
        );
        within(insert.execute(&self.inner.auth)).await.map_err(cannot_publish)?;
        Ok(())
    }

    fn sign_with(&self, file: KeyFile) {
        *self.inner.signing.write().expect("no panic holds this lock") = Some(Signing { kid: file.kid, key: file.private });
    }

    /// Reads all keys whose tokens may still live.
    async fn load(&self) -> Result<(), sqlx::Error> {
        let oldest = now() - self.inner.token_lifetime;
        let rows = sqlx::query!(
            "SELECT kid, public_key FROM auth.signing_keys WHERE retired_at IS NULL OR retired_at > $1 ORDER BY created_at DESC, kid LIMIT 1000",
            oldest
        );
        let rows = within(rows.fetch_all(&self.inner.auth)).await?;
        let mut keys = HashMap::with_capacity(rows.len());
        for row in rows {
            let Some(public) = PublicKey::from_public_key_pem(&row.public_key).ok() else {
                tracing::warn!(kid = row.kid, "a published signing key cannot be read and is left out");
                continue;
            };
            keys.insert(row.kid.clone(), key_file::verifying(&row.kid, &public));
        }
        let mut published = self.inner.published.write().expect("no panic holds this lock");
        let lost_one = published.keys.keys().any(|kid| !keys.contains_key(kid));
        *published = Arc::new(Published { generation: published.generation + u64::from(lost_one), keys });
        Ok(())
    }
}

impl Published {
    fn key(&self, kid: &str) -> Option<DecodingKey> {
        self.keys.get(kid).map(|(key, _)| key.clone())
    }

    /// RFC 7517 §5.
    pub(super) fn jwks(&self) -> Value {
        let mut kids: Vec<_> = self.keys.iter().collect();
        kids.sort_by_key(|(kid, _)| *kid);
        json!({"keys": kids.into_iter().map(|(_, (_, jwk))| jwk).collect::<Vec<_>>()})
    }
}

fn now() -> time::OffsetDateTime {
    clock::now().into()
}

async fn within<T>(query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(QUERY_TIMEOUT, query).await.unwrap_or(Err(sqlx::Error::PoolTimedOut))
}

async fn off_thread<T: Send + 'static>(
    dir: PathBuf,
    work: impl FnOnce(&Path) -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(move || work(&dir))
        .await
        .unwrap_or_else(|e| Err(StartError::because("reading the signing key panicked", e)))
}

fn cannot_publish(error: sqlx::Error) -> StartError {
    StartError::because("the signing keys in `auth.signing_keys` cannot be read or written", error)
}

fn log_failure(error: &sqlx::Error) {
    tracing::warn!(%error, "the published signing keys could not be read");
}
