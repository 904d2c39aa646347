//! Sign-out: `POST /auth/logout`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use platform::auth::{Caller, CallerOfRevoked, NotYetRevoked, cookie};
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Actor, CommandRecord, Committed, Context, Effect};
use schemars::JsonSchema;
use schemas::auth::{RevocationReason, SessionEvent};
use schemas::{Event, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Auth;
use super::ending::{announce, end, revocation_pending};
use super::kept::{KeptRefresh, REFRESH, digest};

/// What may come along.
#[derive(Deserialize, JsonSchema)]
pub struct Logout {
    /// Dies too, when it is of this session.
    refresh_token: Option<String>,
}

/// The session has ended.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct LoggedOut {
    /// `logged_out`
    #[schemars(extend("const" = "logged_out"))]
    status: &'static str,
}

impl Validate for Logout {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

/// Ends the caller's session, here at once and everywhere else before it answers.
///
/// Safe to repeat, also with the token that it killed: that is how a revocation is completed that Redis could not take.
async fn logout(
    auth: Auth,
    request: RequestContext,
    caller: Caller,
    body: Logout,
    record: Option<CommandRecord>,
) -> Result<Committed, Problem> {
    let (user, session) = (caller.user, caller.session);
    let mut unit = auth.ledger.unit(Context { actor: Actor::User(user), request, record });
    let (session, tokens_end) = end(&auth.ledger, auth.lifetimes, &mut unit, (user, session), RevocationReason::Logout).await?;
    // The one at hand may have been made when tokens lived longer.
    let ended = (session, tokens_end.max(end_of(&caller)));
    // A refresh token of another session is left alone: whoever holds it has not proved to be its user.
    if let Some(sent) = body.refresh_token.as_deref().filter(|sent| !sent.is_empty()).map(digest)
        && KeptRefresh::of(&auth.ledger, &sent).await?.is_some_and(|kept| kept.session == session)
    {
        unit.effect(Effect::Delete { kind: REFRESH, key: sent });
    }
    let committed = if unit.is_empty() {
        // Ended before, by this or another command: only the word of it may be missing.
        match unit.answered().await? {
            Some(first) => first,
            None => {
                let stored = auth.ledger.load(SessionEvent::AGGREGATE, &session.to_string()).await?;
                unit.found(stored.into_iter().filter(|event| event.event_type == "session.revoked").collect()).await
            }
        }
    } else {
        unit.commit().await?
    };
    announce(&auth.revocations, &[ended]).await?;
    Ok(committed)
}

fn end_of(caller: &Caller) -> Timestamp {
    time::OffsetDateTime::from_unix_timestamp(caller.token_ends).unwrap_or(time::OffsetDateTime::UNIX_EPOCH).into()
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/logout", http_logout)
        .says(
            "auth.logout",
            "Sign out",
            "Ends the session of the token that is sent: from the answer on, it is refused everywhere. Repeating it with the same token is fine, and completes what a \
             503 `revocation_pending` left open.",
        )
        .refuses([revocation_pending(NotYetRevoked)])
        .example(json!({}))
}

async fn http_logout(
    State(auth): State<Auth>,
    CallerOfRevoked(caller): CallerOfRevoked,
    params: Params,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<Logout>,
) -> Result<Written<(HeaderMap, Json<LoggedOut>)>, Problem> {
    params.must_be(&caller)?;
    let digest = key.digest(&sha256);
    let record = key.key.map(|key| CommandRecord { actor: caller.user.to_string(), key, digest, status: 200 });
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, logout(auth, request, caller, body, record)).await?;
    Ok(Written(committed.token, (cookie::header(cookie::clear()), Json(LoggedOut { status: "logged_out" }))))
}
