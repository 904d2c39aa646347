//! Where one is signed in: `GET /auth/sessions`, `DELETE /auth/sessions/{id}`, `DELETE /auth/sessions`.
//!
//! From what auth itself keeps: whoever ends the others must not overlook one that a projection has not seen yet.

use std::collections::HashMap;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::NoContent;
use platform::auth::{Caller, CallerOfRevoked, NotYetRevoked, Standing, cookie};
use platform::http::api::{Api, delete, get};
use platform::http::{Id, Params, Problem, RequestContext, Written, detached};
use platform::ledger::{Committed, Context, ExecuteError};
use schemars::JsonSchema;
use schemas::auth::{RevocationReason, SessionEvent};
use schemas::{Event, Personal, SessionId, Timestamp};
use serde::Serialize;

use super::Auth;
use super::ending::{announce, announce_again, end, end_others, revocation_pending};
use super::kept::KeptSession;

/// A session of the caller.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwnSession {
    /// The session.
    id: SessionId,
    /// What the client called itself when it signed in.
    device: Option<String>,
    /// From which network: /24 of IPv4, /48 of IPv6.
    address_prefix: Option<String>,
    /// Since when it is open.
    created_at: Timestamp,
    /// To within a minute; operational, so it may fall back to the last sign-in or refresh.
    last_used_at: Timestamp,
    /// Whether it is the one that asks.
    current: bool,
}

/// The caller's sessions that live, the newest first.
async fn list(auth: &Auth, caller: &Caller) -> Result<Vec<OwnSession>, Problem> {
    let living: HashMap<SessionId, KeptSession> = KeptSession::all_of(&auth.ledger, caller.user).await?.into_iter().collect();
    let ids: Vec<String> = living.keys().map(SessionId::to_string).collect();
    let used = auth.tokens.last_uses(&living.keys().copied().collect::<Vec<_>>()).await;
    let mut sessions = Vec::with_capacity(living.len());
    for recorded in auth.ledger.firsts(SessionEvent::AGGREGATE, &ids).await? {
        let mut event = SessionEvent::decode(&recorded).map_err(|error| {
            tracing::error!(%error, "a session cannot be read");
            Problem::internal()
        })?;
        auth.ledger.vault().unseal(recorded.event_id, &mut event).await.map_err(|error| super::view::unreadable(&error))?;
        let SessionEvent::Started(started) = event else { continue };
        let Some(kept) = living.get(&started.session_id) else { continue };
        let noted = used.get(&started.session_id).copied();
        sessions.push(OwnSession {
            id: started.session_id,
            device: started.device.as_ref().and_then(opened),
            address_prefix: started.address_prefix.as_ref().and_then(opened),
            created_at: recorded.recorded_at,
            last_used_at: noted.map_or(kept.used_at, |noted| noted.max(kept.used_at)).max(recorded.recorded_at),
            current: started.session_id == caller.session,
        });
    }
    sessions.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.id)));
    Ok(sessions)
}

fn opened(personal: &Personal) -> Option<String> {
    personal.reveal().ok().flatten().map(str::to_owned)
}

/// Ends a session of the caller's. Safe to repeat: that completes what Redis could not take.
async fn revoke(auth: Auth, request: RequestContext, caller: Caller, session: SessionId) -> Result<Committed, Problem> {
    let mut unit = auth.ledger.unit(Context::of_user(caller.user, request));
    let ended = end(&auth.ledger, auth.lifetimes, &mut unit, (caller.user, session), RevocationReason::Revoked).await;
    let ended = match ended {
        // Whose it is else is nobody's business.
        Err(ExecuteError::Refused(_)) => return Err(unknown()),
        ended => ended?,
    };
    let committed = if unit.is_empty() { unit.found(Vec::new()).await } else { unit.commit().await? };
    announce(&auth.revocations, &[ended]).await?;
    Ok(committed)
}

/// Ends every session of the caller's but the one that asks. Safe to repeat, as above.
async fn revoke_others(auth: Auth, request: RequestContext, caller: Caller) -> Result<Committed, Problem> {
    let (context, but) = (Context::of_user(caller.user, request), (caller.user, Some(caller.session), None));
    let mut last = None;
    // Of a user with very many sessions, so many at a time.
    loop {
        let mut unit = auth.ledger.unit(context.clone());
        let ended = end_others(&auth.ledger, auth.lifetimes, &mut unit, but, RevocationReason::Revoked).await?;
        if unit.is_empty() {
            return match last {
                Some(committed) => Ok(committed),
                None => {
                    announce_again(&auth.ledger, &auth.revocations, caller.user).await?;
                    Ok(unit.found(Vec::new()).await)
                }
            };
        }
        last = Some(unit.commit().await?);
        announce(&auth.revocations, &ended).await?;
    }
}

fn unknown() -> Problem {
    Problem::not_found("session_unknown", "There is no such session")
}

pub(super) fn routes() -> Api<Auth> {
    Api::new()
        .route(get("/auth/sessions", http_list).says("auth.sessions", "Where I am signed in", "The caller's sessions that live, the newest first."))
        .route(
            delete("/auth/sessions/{id}", http_revoke)
                .says(
                    "auth.endSession",
                    "Sign out somewhere",
                    "Ends one of the caller's sessions: from the answer on, its tokens are refused everywhere. Safe to repeat; a token that is dead may complete its own end.",
                )
                .path("id", "The session.")
                .refuses([unknown(), revocation_pending(NotYetRevoked)]),
        )
        .route(
            delete("/auth/sessions", http_revoke_others)
                .says("auth.endOtherSessions", "Sign out everywhere else", "Ends every session of the caller but the one that asks.")
                .refuses([revocation_pending(NotYetRevoked)]),
        )
}

async fn http_list(State(auth): State<Auth>, caller: Caller, params: Params) -> Result<Json<Vec<OwnSession>>, Problem> {
    params.must_be(&caller)?;
    list(&auth, &caller).await.map(Json)
}

async fn http_revoke(
    State(auth): State<Auth>,
    CallerOfRevoked(caller): CallerOfRevoked,
    params: Params,
    request: RequestContext,
    Id(session): Id<SessionId>,
) -> Result<Written<(HeaderMap, NoContent)>, Problem> {
    params.must_be(&caller)?;
    let own = session == caller.session;
    // A token that is dead may complete its own end, and nothing else.
    match auth.revocations.standing(caller.session) {
        Standing::Live => {}
        _ if own => {}
        Standing::Revoked => return Err(Problem::unauthenticated()),
        Standing::Unknown => return Err(platform::auth::Refused::Unknown.into()),
    }
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, revoke(auth, request, caller, session)).await?;
    let headers = if own { cookie::header(cookie::clear()) } else { HeaderMap::new() };
    Ok(Written(committed.token, (headers, NoContent)))
}

async fn http_revoke_others(
    State(auth): State<Auth>,
    caller: Caller,
    params: Params,
    request: RequestContext,
) -> Result<Written<NoContent>, Problem> {
    params.must_be(&caller)?;
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, revoke_others(auth, request, caller)).await?;
    Ok(Written(committed.token, NoContent))
}
