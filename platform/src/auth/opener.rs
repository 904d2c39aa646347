//! Who opens a socket: browsers cannot send a header with that, so a token or a ticket may stand in the address.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;

use super::caller::{bearer, verified};
use super::{Caller, Claims, Refused, Revocations, Standing, Tickets, Tokens};
use crate::clock;
use crate::http::{Counted, Params, Problem};

/// As [`Caller`], for the one route that opens sockets: by the `Authorization` header, else by `?ticket=`, else by `?token=`.
///
/// Whoever shows something bad in the address cannot see the answer to an upgrade (browsers do not show it to pages): they get [`Opener::Nobody`], to be told on the
/// socket. With a bad header, or with nothing at all: 401.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opener {
    /// A verified, unrevoked subject.
    Known(Caller),
    /// What stands in the address is no good, or no longer.
    Nobody,
}

impl<S> FromRequestParts<S> for Opener
where
    S: Send + Sync,
    Tokens: FromRef<S>,
    Tickets: FromRef<S>,
    Revocations: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let tokens = Tokens::from_ref(state);
        let verify = async |token: &str| tokens.verify(token).await;
        if bearer(parts).is_some() {
            let claims = verified(parts, &tokens, bearer(parts), verify).await?;
            return Ok(Self::Known(Caller::arrives(&tokens, &claims, parts).await?));
        }
        let params = Params::from_request_parts(parts, state).await?;
        let claims = if let Some(ticket) = params.get("ticket") {
            of_ticket(parts, &Tickets::from_ref(state), &Revocations::from_ref(state), ticket).await
        } else {
            let token = params.get("token").filter(|token| !matches!(*token, "" | "null" | "undefined"));
            let shown = params.get("token").is_some();
            match verified(parts, &tokens, token, verify).await {
                Ok(claims) => Ok(Some(Claims::clone(&claims))),
                Err(problem) if shown && problem.status == 401 => Ok(None),
                Err(problem) => Err(problem),
            }
        };
        match claims? {
            Some(claims) => Ok(Self::Known(Caller::arrives(&tokens, &claims, parts).await?)),
            None => Ok(Self::Nobody),
        }
    }
}

/// Guessing is as public as guessing tokens.
async fn of_ticket(parts: &Parts, tickets: &Tickets, revocations: &Revocations, ticket: &str) -> Result<Option<Claims>, Problem> {
    let counted = parts.extensions.get::<Counted>();
    if let Some(counted) = counted {
        counted.of_stranger()?;
    }
    let caller = tickets.take(ticket).await.map_err(|_| Problem::from(Refused::Unknown))?;
    let now = clock::now().into_inner().unix_timestamp();
    let standing = caller.filter(|caller| caller.token_ends > now).map(|caller| (revocations.standing(caller.session), caller));
    match standing {
        Some((Standing::Live, caller)) => Ok(Some(Claims {
            sub: caller.user,
            sid: caller.session,
            role: caller.role,
            iat: now,
            exp: caller.token_ends,
            iss: String::new(),
            aud: String::new(),
        })),
        Some((Standing::Unknown, _)) => Err(Refused::Unknown.into()),
        Some((Standing::Revoked, _)) | None => {
            if let Some(counted) = counted {
                counted.was_stranger().await;
            }
            Ok(None)
        }
    }
}
