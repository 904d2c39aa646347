//! Sign-out: `POST /auth/logout`.

use axum::Json;
use axum::extract::State;
use cqrs_es::Aggregate;
use platform::auth::{Caller, CallerOfRevoked, NotYetRevoked};
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Actor, CommandRecord, Committed, Context, Effect};
use schemars::JsonSchema;
use schemas::auth::{RevocationReason, SessionEvent};
use schemas::{Event, Recorded, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Auth;
use super::opening::{REFRESH, SESSION, SessionSecret, after, digest};
use super::session::{Session, SessionCommand, SessionRefused};

/// Secrets: sessions whose tokens are dead, until the last of these would have ended.
pub(super) const REVOKED: &str = "revoked";

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
    let stored = auth.ledger.load(SessionEvent::AGGREGATE, &caller.session.to_string()).await?;
    let tokens_end = tokens_end(&auth, &caller);
    let mut unit = auth.ledger.unit(Context { actor: Actor::User(caller.user), request, record });
    let committed = if fold(&stored)?.is_revoked() {
        // Ended before, by this or another command: only the word of it may be missing.
        let ending = stored.into_iter().filter(|event| event.event_type == "session.revoked").collect();
        match unit.answered().await? {
            Some(first) => first,
            None => unit.found(ending).await,
        }
    } else {
        let revoke = SessionCommand::Revoke { session_id: caller.session, user_id: caller.user, reason: RevocationReason::Logout };
        unit.execute::<Session>(caller.session, revoke, &()).await?;
        for effect in endings(&auth, &caller, body.refresh_token.as_deref(), tokens_end).await? {
            unit.effect(effect);
        }
        unit.commit().await?
    };
    auth.revocations.announce(caller.session, tokens_end).await.map_err(revocation_pending)?;
    Ok(committed)
}

/// The session as its events left it. None of them: it is unknown, and so is its token's user.
fn fold(stored: &[Recorded]) -> Result<Session, Problem> {
    let mut session = Session::default();
    if stored.is_empty() {
        return Err(SessionRefused::Unknown.into());
    }
    for event in stored {
        let event = SessionEvent::decode(event).map_err(|error| {
            tracing::error!(%error, "a session cannot be read");
            Problem::internal()
        })?;
        session.apply(event);
    }
    Ok(session)
}

/// When the last access token of the session ends, at the latest: one of them may have been refreshed a moment ago, elsewhere.
fn tokens_end(auth: &Auth, caller: &Caller) -> Timestamp {
    let of_this_one = time::OffsetDateTime::from_unix_timestamp(caller.token_ends).map(Timestamp::from);
    of_this_one.map_or_else(|_| after(auth.lifetimes.access), |end| end.max(after(auth.lifetimes.access)))
}

/// What goes with the session: its refresh token, and what is kept of it.
async fn endings(auth: &Auth, caller: &Caller, sent: Option<&str>, tokens_end: Timestamp) -> Result<Vec<Effect>, Problem> {
    let key = caller.session.to_string();
    let mut effects = vec![
        Effect::Put { kind: REVOKED, key: key.clone(), value: Vec::new(), expires_at: Some(tokens_end) },
        Effect::Delete { kind: SESSION, key: key.clone() },
    ];
    if let Some(kept) = auth.ledger.secret(SESSION, &key).await?
        && let Ok(kept) = serde_json::from_slice::<SessionSecret>(&kept)
    {
        effects.push(Effect::Delete { kind: REFRESH, key: kept.refresh });
    }
    // A refresh token of another session is left alone: whoever holds it has not proved to be its user.
    if let Some(sent) = sent.filter(|sent| !sent.is_empty()).map(digest)
        && auth.ledger.secret(REFRESH, &sent).await?.as_deref() == Some(caller.session.0.as_bytes())
    {
        effects.push(Effect::Delete { kind: REFRESH, key: sent });
    }
    Ok(effects)
}

fn revocation_pending(_: NotYetRevoked) -> Problem {
    Problem::unavailable("revocation_pending", "You are signed out here; please repeat, so that every other place learns of it")
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
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<Logout>,
) -> Result<Written<Json<LoggedOut>>, Problem> {
    let digest = key.digest(&sha256);
    let record = key.key.map(|key| CommandRecord { actor: caller.user.to_string(), key, digest, status: 200 });
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, logout(auth, request, caller, body, record)).await?;
    Ok(Written(committed.token, Json(LoggedOut { status: "logged_out" })))
}
