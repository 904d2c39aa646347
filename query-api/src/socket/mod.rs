//! The pusher: sockets, what they are told, and what they ask.
//!
//! * `open` from a request to a socket, `tickets` without a token in its address
//! * [`Hub`] the users whose sockets are open here; `held` one of them, with what is known of blocks; `outbox` what one socket is still to be told live
//! * `connection` one socket from its greeting to its last word; `work` what it does to find out what its client is owed, `waiting` what was there before it came
//! * `item` an event for all sockets of a user, `facts` what it is rendered from, `render` the frames of the contract, `deleted` what must not leave any more, `place` the cursor
//! * [`Talk`] what a client says · [`Commands`] what it can ask for
//! * [`Attendance`] who is here, and who is told so · [`Said`] what is told and kept nowhere

mod attendance;
mod commands;
mod connection;
mod deleted;
mod facts;
mod held;
mod hub;
mod item;
mod note;
mod open;
mod outbox;
mod place;
mod render;
mod talk;
mod tickets;
mod upgrade;
mod waiting;
mod work;

use axum::extract::FromRef;
use platform::auth::{Revocations, Tickets, Tokens};
use platform::http::api::Api;

pub use attendance::{Attendance, Here};
pub use commands::{Commands, SentBefore};
pub use hub::{Below, Hub};
pub use note::Said;
pub use talk::{Answer, Reply, Speaker, Talk, UNDER_WAY};

/// What the routes of sockets need.
#[derive(Debug, Clone, FromRef)]
pub struct Sockets {
    /// Verifies callers.
    pub tokens: Tokens,
    /// For those who cannot send a header.
    pub tickets: Tickets,
    /// Which sessions have ended.
    pub revocations: Revocations,
    /// Where sockets are held.
    pub hub: Hub,
}

/// The socket, and the tickets that open it.
pub fn router(state: Sockets) -> Api {
    Api::new().merge(open::routes()).merge(tickets::routes().nest("/api/v1")).with_state(state)
}
