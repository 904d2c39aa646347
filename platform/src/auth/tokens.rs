//! ES256 access tokens.

use schemas::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::{Revocations, SigningKeys};

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
    #[allow(dead_code)]
    inner: Arc<Inner>,
}

#[derive(Debug)]
#[allow(dead_code)]
struct Inner {
    keys: SigningKeys,
    revocations: Revocations,
}

impl Tokens {
    /// With keys, revocations, issuer and audience.
    #[must_use]
    pub fn new(_keys: SigningKeys, _revocations: Revocations, _issuer: &str, _audience: &str) -> Self {
        todo!()
    }
    /// Signs an access token for a session; returns it with its claims.
    ///
    /// # Errors
    /// `Refused::Unknown` when this process has no published signing key.
    pub fn issue(
        &self,
        _user: UserId,
        _session: SessionId,
        _role: &str,
        _lifetime: std::time::Duration,
    ) -> Result<(String, Claims), Refused> {
        todo!()
    }
    /// The claims of a valid, unrevoked token.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn verify(&self, _token: &str) -> Result<Arc<Claims>, Refused> {
        todo!()
    }
    /// The claims of a valid token, revoked or not: for the commands that revoke, whose repeat comes with the token they killed.
    ///
    /// # Errors
    /// [`Refused`]
    pub async fn verify_ignoring_revocation(&self, _token: &str) -> Result<Arc<Claims>, Refused> {
        todo!()
    }
    /// The published keys, for `/.well-known/jwks.json`.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        todo!()
    }
}
