//! New tokens for old: `POST /auth/refresh`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use platform::auth::{NotYetRevoked, cookie};
use platform::clock;
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Actor, Committed, Context, ExecuteError};
use schemars::JsonSchema;
use schemas::Timestamp;
use schemas::auth::RevocationReason;
use serde::Deserialize;
use serde_json::json;

use super::Auth;
use super::ending::{announce, end, revocation_pending};
use super::kept::{KeptRefresh, KeptSession, digest};
use super::opening::{Pair, Refreshed, place};
use super::session::{Session, SessionCommand, SessionRefused};
use super::view::AccountView;

/// For how long a token that was just exchanged may come again from the same place: two windows of one browser that refresh at once.
const RACE: Duration = Duration::from_secs(10);
/// How often somebody else may be quicker before we give up: each time the token's row is read again, and says so the next time.
const ATTEMPTS: u32 = 8;

/// The token that is to be exchanged.
#[derive(Deserialize, JsonSchema)]
pub struct Refresh {
    /// Of a sign-in, or of the last refresh. Good for one exchange.
    refresh_token: String,
}

impl Validate for Refresh {
    /// Whatever it is, it can only be wrong.
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

/// Why no new tokens are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RefreshRefused {
    /// Unknown, lapsed, used up, or of a session that has ended: which of them is not said.
    #[error("Please sign in again")]
    Invalid,
    /// Another request of the same place has exchanged it a moment ago. Its answer holds the new tokens.
    #[error("This sign-in has just been refreshed by another request")]
    Raced,
}

impl From<RefreshRefused> for Problem {
    fn from(refused: RefreshRefused) -> Self {
        match refused {
            RefreshRefused::Invalid => Self::new(StatusCode::UNAUTHORIZED, "invalid_refresh_token", refused.to_string()),
            RefreshRefused::Raced => Self::conflict("refresh_raced", refused.to_string()),
        }
    }
}

/// Exchanges a refresh token. Of two who exchange one at once, one gets the new pair.
///
/// A token that comes back when it is used up has been copied by somebody: the whole session ends.
async fn refresh(auth: Auth, request: RequestContext, body: Refresh) -> Result<(Committed, Refreshed), Problem> {
    let digest = digest(&body.refresh_token);
    let from = place(&auth, &request);
    for _ in 0..ATTEMPTS {
        let kept = KeptRefresh::of(&auth.ledger, &digest).await?.ok_or(RefreshRefused::Invalid)?;
        if let Some(used_up_at) = kept.used_up_at {
            return Err(judge_return(&auth, request, &kept, used_up_at, &from).await);
        }
        // Without it the session has ended a moment ago.
        let session = KeptSession::of(&auth.ledger, kept.user, kept.session).await?.ok_or(RefreshRefused::Invalid)?;
        // Tokens say what the account may do now, not what it might when the session began.
        let account = AccountView::load(&auth.ledger, kept.user).await?.ok_or(RefreshRefused::Invalid)?;
        let pair = Pair::of(&auth, kept.user, kept.session, account.role)?;
        let mut unit = auth.ledger.unit(Context::of_user(kept.user, request.clone()));
        let exchange =
            SessionCommand::Refresh { session_id: kept.session, user_id: kept.user, after: kept.after, expires_at: pair.expires_at };
        match unit.execute::<Session>(kept.session, exchange, &()).await {
            Ok(_) => {}
            Err(ExecuteError::Refused(SessionRefused::UsedUp)) => continue,
            Err(ExecuteError::Refused(_)) => return Err(RefreshRefused::Invalid.into()),
            Err(error) => return Err(error.into()),
        }
        let used_up = KeptRefresh { used_up_at: Some(clock::now()), ..kept.clone() };
        unit.effect(used_up.put(digest.clone(), pair.expires_at)?);
        for effect in pair.kept(kept.user, kept.after + 1, session.credentials.clone(), from.clone())? {
            unit.effect(effect);
        }
        match unit.commit().await {
            Ok(committed) => return Ok((committed, pair.answer())),
            Err(error) => match error.refused::<SessionRefused>() {
                Ok(SessionRefused::UsedUp) => {}
                Ok(_) => return Err(RefreshRefused::Invalid.into()),
                Err(error) => return Err(error.into()),
            },
        }
    }
    Err(RefreshRefused::Raced.into())
}

/// What becomes of a token that has been used up before.
async fn judge_return(auth: &Auth, request: RequestContext, kept: &KeptRefresh, used_up_at: Timestamp, from: &str) -> Problem {
    let revoke = async {
        let session = KeptSession::of(&auth.ledger, kept.user, kept.session).await?;
        let since = clock::now().into_inner() - used_up_at.into_inner();
        if session.is_some_and(|session| session.from == from) && since <= RACE {
            return Ok::<_, Problem>(RefreshRefused::Raced);
        }
        let mut unit = auth.ledger.unit(Context { actor: Actor::System, request, record: None });
        let ended = end(&auth.ledger, auth.lifetimes, &mut unit, (kept.user, kept.session), RevocationReason::RefreshReuse).await;
        let ended = match ended {
            Err(ExecuteError::Refused(_)) => return Ok(RefreshRefused::Invalid),
            ended => ended?,
        };
        if !unit.is_empty() {
            unit.commit().await?;
            tracing::warn!(actor.id = %kept.user, session.id = %kept.session, "a used refresh token came back: its session has been ended");
        }
        announce(&auth.revocations, &[ended]).await?;
        Ok(RefreshRefused::Invalid)
    };
    revoke.await.map_or_else(|problem| problem, Problem::from)
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/refresh", http_refresh)
        .says(
            "auth.refresh",
            "New tokens for old",
            "Exchanges a refresh token for a new pair; the old one is used up. A used one that comes back ends the whole session, unless it comes from the same device and network within ten \
             seconds: then another request was quicker, and has the new pair (409 `refresh_raced`).",
        )
        .refuses([RefreshRefused::Invalid, RefreshRefused::Raced])
        .refuses([revocation_pending(NotYetRevoked)])
        .example(json!({"refresh_token": "as it was handed out"}))
}

async fn http_refresh(
    State(auth): State<Auth>,
    request: RequestContext,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<Refresh>,
) -> Result<Written<(HeaderMap, Json<Refreshed>)>, Problem> {
    let shutdown = auth.shutdown.clone();
    let (committed, refreshed) = detached(&shutdown, refresh(auth, request, body)).await?;
    let cookie = cookie::header(refreshed.cookie()?);
    Ok(Written(committed.token, (cookie, Json(refreshed))))
}
