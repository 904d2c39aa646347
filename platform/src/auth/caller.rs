//! The extractor that every protected route begins with.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use schemas::{SessionId, UserId};

use super::{Claims, Refused, Tokens};
use crate::http::{Counted, Problem};

/// A verified, unrevoked subject. An absent or empty `Authorization` and `Bearer null` mean no token: 401.
///
/// Stays in the request's extensions for those who come after it ([`crate::http::Valid`]).
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
            Some(id) if id != self.user => Err(Self::not_yourself()),
            _ => Ok(()),
        }
    }

    pub(crate) fn not_yourself() -> Problem {
        Problem::forbidden("not_yourself", "You can only act as yourself")
    }

    /// Counted here: who asks is known, and nothing of the body has been read.
    pub(super) async fn arrives(tokens: &Tokens, claims: &Claims, parts: &mut Parts) -> Result<Self, Problem> {
        tokens.used(claims.sid);
        let caller = Self { user: claims.sub, session: claims.sid, role: claims.role.clone(), token_ends: claims.exp };
        tracing::Span::current().record("actor.id", tracing::field::display(caller.user));
        parts.extensions.insert(caller.clone());
        if let Some(counted) = parts.extensions.get::<Counted>() {
            counted.of_user(caller.user).await?;
        }
        Ok(caller)
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Send + Sync,
    Tokens: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let tokens = Tokens::from_ref(state);
        let claims = verified(parts, &tokens, bearer(parts), async |token| tokens.verify(token).await).await?;
        Self::arrives(&tokens, &claims, parts).await
    }
}

/// The claims of a request's token. Whoever sends bad ones, or none, has that counted as what is public; when too many came from an address, only tokens that
/// this process has verified before are heard from there.
pub(super) async fn verified(
    parts: &Parts,
    tokens: &Tokens,
    token: Option<&str>,
    verify: impl AsyncFnOnce(&str) -> Result<Arc<Claims>, Refused>,
) -> Result<Arc<Claims>, Problem> {
    let counted = parts.extensions.get::<Counted>();
    if let Some(Err(refused)) = counted.map(Counted::of_stranger)
        && !token.is_some_and(|token| tokens.know(token))
    {
        return Err(refused);
    }
    let claims = match token {
        Some(token) => verify(token).await,
        None => Err(Refused::Invalid),
    };
    if let (Some(counted), Err(Refused::Invalid | Refused::Revoked)) = (counted, &claims) {
        counted.was_stranger().await;
    }
    Ok(claims?)
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
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let tokens = Tokens::from_ref(state);
        let claims = verified(parts, &tokens, bearer(parts), async |token| tokens.verify_ignoring_revocation(token).await).await?;
        Ok(Self(Caller::arrives(&tokens, &claims, parts).await?))
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid | Refused::Revoked => Self::unauthenticated(),
            Refused::Unknown => Self::unavailable("auth_unavailable", "Your sign-in cannot be checked at the moment"),
        }
    }
}

/// The token of `Authorization: Bearer …`. The frontend writes the words of an empty variable when it has none; two headers are none of anybody's.
pub(super) fn bearer(parts: &Parts) -> Option<&str> {
    let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
    let (header, None) = (headers.next()?, headers.next()) else { return None };
    let (scheme, token) = header.to_str().ok()?.trim().split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !matches!(token, "" | "null" | "undefined")).then_some(token)
}
