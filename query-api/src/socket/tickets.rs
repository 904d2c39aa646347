//! `POST /realtime/tickets`: opening a socket without a token in its address.

use axum::Json;
use axum::extract::State;
use platform::auth::{Caller, TICKET, Tickets};
use platform::http::api::{Api, post};
use platform::http::{Params, Problem};
use schemars::JsonSchema;
use serde::Serialize;

use super::Sockets;
use super::hub::away;

pub(super) fn routes() -> Api<Sockets> {
    Api::new().route(
        post("/realtime/tickets", ticket)
            .says(
                "realtime.ticket",
                "A ticket for a socket",
                "Opens one socket of the caller (`GET /ws/{user_id}?ticket=…`), once and soon, so that no token need stand in an address.",
            )
            .refuses([away()]),
    )
}

/// A ticket.
#[derive(Debug, Serialize, JsonSchema)]
struct Ticket {
    /// Opaque, safe in an address.
    ticket: String,
    /// For how many seconds it is good, unless it is used before.
    expires_in: u64,
}

async fn ticket(State(tickets): State<Tickets>, caller: Caller, params: Params) -> Result<Json<Ticket>, Problem> {
    params.must_be(&caller)?;
    match tickets.give(&caller).await {
        Ok(ticket) => Ok(Json(Ticket { ticket, expires_in: TICKET.as_secs() })),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a ticket could not be given");
            Err(away())
        }
    }
}
