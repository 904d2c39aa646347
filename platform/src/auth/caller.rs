//! The extractor that every protected route begins with.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use schemas::{SessionId, UserId};

use super::Tokens;
use crate::http::Problem;

/// A verified, unrevoked subject. An absent or empty `Authorization` and `Bearer null` mean no token: 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who asks.
    pub user: UserId,
    /// In which session.
    pub session: SessionId,
    /// `user`, `admin` or `guest`.
    pub role: String,
    /// When the token ends, seconds since 1970.
    pub token_ends: i64,
}

impl Caller {
    /// Refuses an id that is given as the caller's own but is somebody else's (403 `not_yourself`).
    ///
    /// # Errors
    /// 403
    pub fn must_be(&self, claimed: Option<UserId>) -> Result<(), Problem> {
        match claimed {
            Some(id) if id != self.user => Err(Problem::forbidden("not_yourself", "You can only act as yourself")),
            _ => Ok(()),
        }
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Tokens: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}

/// As [`Caller`], but its session may have been revoked: only for the commands that revoke, so that their repeat completes what a missing Redis left pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerOfRevoked(pub Caller);

impl<S> FromRequestParts<S> for CallerOfRevoked
where
    S: Send + Sync,
    Tokens: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}
