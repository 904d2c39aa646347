//! ES256 access tokens.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation, decode, decode_header, encode};
use quick_cache::sync::Cache;
use schemas::{SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::revocations::Standing;
use super::{Revocations, SessionUses, SigningKeys};
use crate::clock;

/// How many verified tokens are remembered.
const REMEMBERED: usize = 65_536;
/// Ours are below 600 bytes: nothing longer is looked at.
const LONGEST: usize = 4 * 1024;

/// What an access token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Whose it is.
    pub sub: UserId,
    /// Its session.
    pub sid: SessionId,
    /// `user`, `admin` or `guest`.
    pub role: String,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
}

/// Why a token is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a token of ours, expired, of another algorithm, …: 401.
    #[error("the token is not valid")]
    Invalid,
    /// It was valid, until its session ended: 401.
    #[error("the token's session has ended")]
    Revoked,
    /// We cannot know: keys or revocations could not be loaded, or Redis has been away beyond the grace: 503, never 401.
    #[error("tokens cannot be verified at the moment")]
    Unknown,
}

/// Makes and verifies access tokens. Clones share one cache.
///
/// Verification is done once per token: the result is cached by the token's SHA-256 until it expires (bounded: 65,536 entries); revocation is checked every time.
/// Only ES256 with a published `kid` is accepted, `iss` and `aud` must be ours, `exp` must be there.
#[derive(Clone, Debug)]
pub struct Tokens {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    keys: SigningKeys,
    revocations: Revocations,
    issuer: String,
    audience: String,
    validation: Validation,
    verified: Cache<[u8; 32], Verified>,
    uses: OnceLock<SessionUses>,
}

/// A token whose signature was good under the keys of a generation.
#[derive(Debug, Clone)]
struct Verified {
    claims: Arc<Claims>,
    generation: u64,
}

impl Tokens {
    /// With keys, revocations, issuer and audience.
    #[must_use]
    pub fn new(keys: SigningKeys, revocations: Revocations, issuer: &str, audience: &str) -> Self {
        let mut validation = Validation::new(Algorithm::ES256);
        validation.set_required_spec_claims(&["exp", "sub", "iss", "aud"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.leeway = 0;
        let (issuer, audience) = (issuer.to_owned(), audience.to_owned());
        Self {
            inner: Arc::new(Inner {
                keys,
                revocations,
                issuer,
                audience,
                validation,
                verified: Cache::new(REMEMBERED),
                uses: OnceLock::new(),
            }),
        }
    }
    /// From now on notes when a session is used. The first one given stays.
    pub fn note_uses(&self, uses: SessionUses) {
        let _ = self.inner.uses.set(uses);
    }
    /// A token of this session has come with a request.
    pub(super) fn used(&self, session: SessionId) {
        if let Some(uses) = self.inner.uses.get() {
            uses.note(session);
        }
    }
    /// When each session was last used, as far as that was noted.
    pub async fn last_uses(&self, sessions: &[SessionId]) -> HashMap<SessionId, Timestamp> {
        match self.inner.uses.get() {
            Some(uses) => uses.last(sessions).await,
            None => HashMap::new(),
        }
    }
    /// Signs an access token for a session; returns it with its claims.
    ///
    /// # Errors
    /// `Refused::Unknown` when this process has no published signing key.
    pub fn issue(&self, user: UserId, session: SessionId, role: &str, lifetime: Duration) -> Result<(String, Claims), Refused> {
        let signing = self.inner.keys.signing().ok_or(Refused::Unknown)?;
        let iat = clock::now().into_inner().unix_timestamp();
        let claims = Claims {
            sub: user,
            sid: session,
            role: role.to_owned(),
            iat,
            exp: iat.saturating_add_unsigned(lifetime.as_secs()),
            iss: self.inner.issuer.clone(),
            aud: self.inner.audience.clone(),
        };
        let header = Header { kid: Some(signing.kid), ..Header::new(Algorithm::ES256) };
        let token = encode(&header, &claims, &signing.key).map_err(|_| Refused::Unknown)?;
        Ok((token, claims))
    }
    /// Whether this process has verified this token before, so that doing so again costs nothing. Says nothing of whether it is still good.
    pub(super) fn know(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        token.len() <= LONGEST && self.inner.verified.peek(&digest).is_some()
    }
    /// The claims of a valid, unrevoked token.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, Refused> {
        let claims = self.verify_ignoring_revocation(token).await?;
        match self.inner.revocations.standing(claims.sid) {
            Standing::Live => Ok(claims),
            Standing::Revoked => Err(Refused::Revoked),
            Standing::Unknown => Err(Refused::Unknown),
        }
    }
    /// The claims of a valid token, revoked or not: for the commands that revoke, whose repeat comes with the token they killed.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn verify_ignoring_revocation(&self, token: &str) -> Result<Arc<Claims>, Refused> {
        if token.len() > LONGEST {
            return Err(Refused::Invalid);
        }
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let generation = self.inner.keys.published().generation;
        if let Some(known) = self.inner.verified.get(&digest).filter(|known| known.generation == generation) {
            if known.claims.exp > clock::now().into_inner().unix_timestamp() {
                return Ok(known.claims);
            }
            self.inner.verified.remove(&digest);
            return Err(Refused::Invalid);
        }
        let claims = Arc::new(self.read(token).await?);
        self.inner.verified.insert(digest, Verified { claims: claims.clone(), generation });
        Ok(claims)
    }
    /// The published keys, for `/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        self.inner.keys.published().jwks()
    }

    async fn read(&self, token: &str) -> Result<Claims, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Invalid)?;
        // The algorithm is ours to choose, not the token's; what it calls critical we do not know (RFC 7515 §4.1.11).
        if header.alg != Algorithm::ES256 || header.crit.is_some() {
            return Err(Refused::Invalid);
        }
        let kid = header.kid.filter(|kid| is_kid(kid)).ok_or(Refused::Invalid)?;
        let key = self.inner.keys.verifying(&kid).await.map_err(|_| Refused::Unknown)?.ok_or(Refused::Invalid)?;
        let claims: Claims = decode(token, &key, &self.inner.validation).map_err(|_| Refused::Invalid)?.claims;
        // The library allows the very second in which a token ends.
        if claims.exp > clock::now().into_inner().unix_timestamp() { Ok(claims) } else { Err(Refused::Invalid) }
    }
}

/// Whether it can be a key's name at all: only then is it worth a look into the database.
fn is_kid(kid: &str) -> bool {
    kid.len() == 22 && kid.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}
