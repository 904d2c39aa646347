//! Reads: one file per query, route and SQL side by side.
//!
//! A query's pool comes out of [`platform::fresh::Fresh`] and nowhere else, so none can read a model that it has not waited for.
#![warn(missing_docs)]

mod contacts;
mod conversation;
mod database;
mod groups;
mod inbox;
mod keyset;
mod message;
mod own;
mod peers;
mod pending;
mod relay;
mod search;
mod sight;
pub mod socket;
mod streaming;
#[cfg(test)]
mod testing;
mod user;

use axum::extract::FromRef;
use platform::auth::Tokens;
use platform::fresh::Freshness;
use platform::http::api::Api;
use platform::presence::Presence;

pub use relay::remove_all_expired;

/// What queries need: whom to believe, and how fresh a read model is.
#[derive(Debug, Clone, FromRef)]
pub struct Reads {
    /// Verifies callers.
    pub tokens: Tokens,
    /// Waits for read models, and holds their pools.
    pub freshness: Freshness,
    /// Who is here, for those who may see it.
    pub presence: Presence,
}

/// Every query, below `/api/v1`.
pub fn router(state: Reads) -> Api {
    let routes = Api::new()
        .merge(conversation::routes())
        .merge(inbox::routes())
        .merge(pending::routes())
        .merge(relay::routes())
        .merge(groups::routes())
        .merge(user::routes())
        .merge(search::routes())
        .merge(own::routes())
        .merge(contacts::routes());
    routes.nest("/api/v1").with_state(state)
}
