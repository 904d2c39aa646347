//! Accounts and sessions: who somebody is, and for how long we believe it.
//!
//! * commands: `register` · `login` · `refresh` · `logout` · `sessions` · `password` · `public_key` · `username`; of an operator, [`admin`]
//! * answers from what auth itself knows: `me` · `sessions` · `verify_token` · `jwks`
//! * aggregates: [`account`] · [`session`] · beside their events: `kept` · how sessions end: `ending`
//! * [`Hasher`] passwords, off the async threads · [`Lockout`] wrong ones, counted
//! * [`revocations_keeper`] what the ledger knows of revoked sessions, put back into Redis

pub mod account;
pub mod admin;
mod ending;
mod hasher;
mod identity;
mod jwks;
mod keeper;
mod kept;
mod lockout;
mod login;
mod logout;
mod me;
mod opening;
mod password;
mod portraits;
mod public_key;
mod refresh;
mod register;
pub mod session;
mod sessions;
mod username;
mod verify_token;
mod view;

use std::time::Duration;

use axum::extract::FromRef;
use platform::auth::{Revocations, Tokens};
use platform::http::api::Api;
use platform::ledger::Ledger;
use platform::shutdown::Shutdown;

pub use hasher::{Busy, Hasher};
pub use keeper::revocations_keeper;
pub use lockout::Lockout;
pub use portraits::Portraits;

/// How long what a sign-in hands out is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of an access token.
    pub access: Duration,
    /// Of a refresh token, and so of a session that is not used.
    pub refresh: Duration,
}

impl Default for Lifetimes {
    /// A day (the frontend never refreshes) and thirty.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { access: DAY, refresh: 30 * DAY }
    }
}

/// Everything that the routes of auth need. Clones share it.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Of the auth service.
    pub ledger: Ledger,
    /// Makes and verifies them.
    pub tokens: Tokens,
    /// Where ended sessions are announced.
    pub revocations: Revocations,
    /// Passwords.
    pub hasher: Hasher,
    /// Wrong ones.
    pub lockout: Lockout,
    /// Names and pictures, for answers.
    pub portraits: Portraits,
    /// Of tokens.
    pub lifetimes: Lifetimes,
    /// Commands outlive their clients; the end waits for them.
    pub shutdown: Shutdown,
}

impl FromRef<Auth> for Tokens {
    fn from_ref(auth: &Auth) -> Self {
        auth.tokens.clone()
    }
}

/// The routes of auth, below `/api/v1` (the signing keys below `/.well-known`).
pub fn router(auth: Auth) -> Api {
    let below = Api::new()
        .route(register::route())
        .route(login::route())
        .route(refresh::route())
        .route(logout::route())
        .route(me::route())
        .merge(sessions::routes())
        .route(public_key::route())
        .route(username::route())
        .route(password::route())
        .route(verify_token::route());
    below.nest("/api/v1").route(jwks::route()).with_state(auth)
}
