//! Saying that one is there: `POST /relay/user/{id}/online`, `POST /relay/user/{id}/offline`.
//!
//! No events: a lease in Redis, as a socket's. It belongs to the session that took it, so that signing off on one device leaves the others where they are.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, post};
use platform::http::{Id, Params, Problem};
use schemars::JsonSchema;
use schemas::UserId;
use serde::Serialize;

use super::Messages;

pub(super) fn routes() -> Api<Messages> {
    Api::new()
        .route(
            post("/relay/user/{id}/online", http_online)
                .says(
                    "relay.online",
                    "I am here",
                    "Shows the caller as online for 60 seconds, unless they say so again; one lease per session.",
                )
                .path("id", "The caller; anybody else is refused."),
        )
        .route(
            post("/relay/user/{id}/offline", http_offline)
                .says(
                    "relay.offline",
                    "I have left",
                    "Ends this session's lease in five seconds, unless it is taken again. Who is online in another session stays online.",
                )
                .path("id", "The caller; anybody else is refused."),
        )
}

/// Whether the caller is shown as online by this session.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "PresenceStatus")]
struct Status {
    /// `online` or `offline`
    status: &'static str,
}

/// The caller is there, for 60 s unless they say so again.
async fn http_online(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    Id(user): Id<UserId>,
) -> Result<Json<Status>, Problem> {
    let holder = holder(&caller, &params, user)?;
    messages.presence.online(user, &holder).await;
    Ok(Json(Status { status: "online" }))
}

/// The caller has left; who is back within five seconds has not been away.
async fn http_offline(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    Id(user): Id<UserId>,
) -> Result<Json<Status>, Problem> {
    let holder = holder(&caller, &params, user)?;
    messages.presence.offline(user, &holder).await;
    Ok(Json(Status { status: "offline" }))
}

/// What holds the lease, once it is clear that the caller speaks for themselves.
fn holder(caller: &Caller, params: &Params, user: UserId) -> Result<String, Problem> {
    params.must_be(caller)?;
    caller.must_be(Some(user))?;
    Ok(format!("session:{}", caller.session))
}
