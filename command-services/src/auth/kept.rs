//! What auth keeps beside its events, in the ledger's own tables and in the same transactions: passwords, tokens' digests, which sessions live.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use platform::http::Problem;
use platform::ledger::{AppendError, Effect, Ledger};
use schemas::{SessionId, Timestamp, UserId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::EMAIL;

/// Secrets: of a user, the password's hash.
pub(super) const PASSWORD: &str = "password";
/// Secrets: of a refresh token's digest, [`KeptRefresh`]. Those that are used up stay until they would have lapsed, so that their return is noticed.
pub(super) const REFRESH: &str = "refresh";
/// Secrets: of a living session ([`session_key`]), [`KeptSession`].
const SESSION: &str = "session";
/// Secrets: sessions whose tokens are dead ([`session_key`]), until the last of these would have ended.
pub(super) const REVOKED: &str = "revoked";
/// Reservation: of a user, the password that counts ([`credentials`]). A sign-in claims it as it found it, so that none is begun with a password that was changed meanwhile.
const CREDENTIALS: &str = "credentials.v1";
/// Sessions of one user that are looked at together.
const MANY: i64 = 1_000;

/// Of a living session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptSession {
    /// Digest of its living refresh token.
    pub(super) refresh: String,
    /// Keyed digest of device and address prefix, where its last tokens went: whether a token that comes twice comes from the same place.
    pub(super) from: String,
    /// When its last tokens were handed out.
    pub(super) used_at: Timestamp,
    /// When the last of its access tokens ends.
    pub(super) tokens_end: Timestamp,
    /// The password that it was opened with ([`credentials`]).
    pub(super) credentials: String,
}

/// Of a refresh token.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptRefresh {
    /// Whose it is.
    pub(super) user: UserId,
    /// Of which session.
    pub(super) session: SessionId,
    /// How many tokens of the session came before it.
    pub(super) after: u64,
    /// When it was used up; `None`: it lives.
    pub(super) used_up_at: Option<Timestamp>,
}

/// The keys of one user's sessions stand together.
pub(super) fn session_key(user: UserId, session: SessionId) -> String {
    format!("{user}:{session}")
}

/// The session in such a key.
pub(super) fn session_of(key: &str) -> Option<SessionId> {
    key.split_once(':')?.1.parse().ok()
}

/// Under which key a refresh token is known: whoever reads the table cannot sign in with it. 256 random bits need no slow hash.
pub(super) fn digest(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

/// Names a stored hash: another password or another salt is another name.
pub(super) fn credentials(hash: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(hash.as_bytes()))
}

fn encoded<T: Serialize>(value: &T) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|_| Problem::internal())
}

/// What another release may have written otherwise is as good as not there.
fn decoded<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    serde_json::from_slice(value).inspect_err(|error| tracing::error!(%error, "a session's secret cannot be read")).ok()
}

impl KeptSession {
    pub(super) fn put(&self, user: UserId, session: SessionId, expires_at: Timestamp) -> Result<Effect, Problem> {
        Ok(Effect::Put { kind: SESSION, key: session_key(user, session), value: encoded(self)?, expires_at: Some(expires_at) })
    }

    pub(super) fn delete(user: UserId, session: SessionId) -> Effect {
        Effect::Delete { kind: SESSION, key: session_key(user, session) }
    }

    pub(super) async fn of(ledger: &Ledger, user: UserId, session: SessionId) -> Result<Option<Self>, AppendError> {
        Ok(ledger.secret(SESSION, &session_key(user, session)).await?.and_then(|value| decoded(&value)))
    }

    /// The living sessions of a user, at most a thousand.
    pub(super) async fn all_of(ledger: &Ledger, user: UserId) -> Result<Vec<(SessionId, Self)>, AppendError> {
        let all = ledger.secrets_below(SESSION, &format!("{user}:"), MANY).await?;
        Ok(all.into_iter().filter_map(|kept| Some((session_of(&kept.key)?, decoded(&kept.value)?))).collect())
    }
}

impl KeptRefresh {
    pub(super) fn put(&self, digest: String, expires_at: Timestamp) -> Result<Effect, Problem> {
        Ok(Effect::Put { kind: REFRESH, key: digest, value: encoded(self)?, expires_at: Some(expires_at) })
    }

    pub(super) async fn of(ledger: &Ledger, digest: &str) -> Result<Option<Self>, AppendError> {
        Ok(ledger.secret(REFRESH, digest).await?.and_then(|value| decoded(&value)))
    }
}

/// The hash of a user's password.
pub(super) async fn password_of(ledger: &Ledger, user: UserId) -> Result<Option<String>, AppendError> {
    Ok(ledger.secret(PASSWORD, &user.to_string()).await?.and_then(|hash| String::from_utf8(hash).ok()))
}

/// Who has an address, and the hash of their password.
pub(super) async fn known_by(ledger: &Ledger, email_key: &str) -> Result<(Option<UserId>, Option<String>), AppendError> {
    let Some((owner, hash)) = ledger.owner_with_secret(EMAIL, email_key, PASSWORD).await? else { return Ok((None, None)) };
    Ok((owner.parse().ok(), hash.and_then(|hash| String::from_utf8(hash).ok())))
}

/// What goes with a sign-in: that the password it was made with still counts.
pub(super) fn claim_credentials(user: UserId, hash: &str) -> Effect {
    Effect::Claim { kind: CREDENTIALS, key: user.to_string(), owner: credentials(hash), expires_at: None }
}

/// What goes with another password, or the first: whoever has begun to sign in with the one before it comes too late.
pub(super) fn put_password(user: UserId, before: Option<&str>, hash: String) -> Vec<Effect> {
    let key = user.to_string();
    let release = before.map(|before| Effect::Release { kind: CREDENTIALS, key: key.clone(), owner: credentials(before) });
    let claim = claim_credentials(user, &hash);
    release.into_iter().chain([claim, Effect::Put { kind: PASSWORD, key, value: hash.into_bytes(), expires_at: None }]).collect()
}

/// Whether an append was refused because the password has been changed meanwhile.
pub(super) fn credentials_changed(kind: &str) -> bool {
    kind == CREDENTIALS
}
