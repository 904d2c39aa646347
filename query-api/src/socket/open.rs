//! `GET /ws/{user_id}`: from a request to a socket.

use std::collections::VecDeque;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use platform::auth::{Opener, Standing};
use platform::http::api::{Answers, Api, Operation, get};
use platform::http::{Id, Params, Problem};
use platform::shutdown::Shutdown;
use schemas::UserId;
use serde_json::json;

use super::Sockets;
use super::connection::{Connection, say_goodbye};
use super::hub::{Hub, away, too_many, too_many_own};
use super::outbox::End;
use super::upgrade::{Upgrade, upgrade_required};

pub(super) fn routes() -> Api<Sockets> {
    const TEXT: &str = "Upgrades to a WebSocket (RFC 6455) that tells the caller what happens to them, as JSON objects with a `type`. Browsers, which cannot send a header here, put a token or better a \
                        ticket into the address: when that is no good, they are told by the close code 1008.";
    let text = || json!({"type": "string"});
    Api::new().route(
        get("/ws/{user_id}", open)
            .says("realtime.socket", "A socket", TEXT)
            .path("user_id", "The caller.")
            .query("token", text(), "An access token, in place of the header.")
            .query("ticket", text(), "A ticket, in place of the header.")
            .query("cursor", text(), "The last one that an earlier socket has given: what came after it is told first.")
            .status(101)
            .refuses([away(), too_many(), too_many_own(), upgrade_required()]),
    )
}

/// The answer to an upgrade.
struct Switched(Response);

impl IntoResponse for Switched {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for Switched {
    fn describe(_: &mut Operation) {}
}

/// Whether the credentials are in the address.
fn is_browser(params: &Params) -> bool {
    params.get("token").or(params.get("ticket")).is_some()
}

/// A socket that ends as soon as it is open, for those who would not see why it was refused.
fn goodbye(upgrade: Upgrade, end: End, shutdown: Shutdown) -> Switched {
    let stops = shutdown.clone();
    Switched(upgrade.answer(&shutdown, move |wire| async move { say_goodbye(wire, VecDeque::new(), end, &stops).await }))
}

async fn open(State(hub): State<Hub>, opener: Opener, Id(user): Id<UserId>, params: Params, upgrade: Upgrade) -> Result<Switched, Problem> {
    let shutdown = hub.inner.below.shutdown.clone();
    if shutdown.is_draining() {
        return Err(away());
    }
    let caller = match opener {
        Opener::Known(caller) if caller.user == user => caller,
        // Whoever shows their token in the address is a browser, and sees no answer but this.
        Opener::Nobody | Opener::Known(_) if is_browser(&params) => return Ok(goodbye(upgrade, End::Stranger, shutdown)),
        Opener::Nobody | Opener::Known(_) => return Err(Problem::unauthenticated()),
    };
    let seat = hub.join(&caller).await?;
    // The session may have ended meanwhile, when nobody could find this socket yet.
    if hub.inner.below.revocations.standing(caller.session) == Standing::Revoked {
        return if is_browser(&params) { Ok(goodbye(upgrade, End::Unauthenticated, shutdown)) } else { Err(Problem::unauthenticated()) };
    }
    let here = hub.inner.below.attendance.opened(user);
    let look = seat.held.look();
    let online = hub.inner.below.attendance.online_users(user).await;
    match &online {
        Some(online) => look.tell(online, Some(&seat.outbox)),
        None => {
            drop(look);
            hub.see_later(&seat.held, &seat.outbox);
        }
    }
    let online = online.unwrap_or_default();
    let cursor = params.get("cursor").map(str::to_owned);
    let response = upgrade.answer(&shutdown, move |wire| {
        let connection = Connection::new(wire, hub, seat, here, caller.clone(), cursor.as_deref());
        connection.run(caller, online)
    });
    Ok(Switched(response))
}
