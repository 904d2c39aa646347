//! Accounts and sessions: who somebody is, and for how long we believe it.
//!
//! * commands: `register` · `login` · `logout` · answers from what auth itself knows: `me` · `verify_token` · `jwks`
//! * aggregates: [`account`] · [`session`] · [`Hasher`] passwords, off the async threads
//! * [`revocations_keeper`] what the ledger knows of revoked sessions, put back into Redis

pub mod account;
mod hasher;
mod identity;
mod jwks;
mod keeper;
mod login;
mod logout;
mod me;
mod opening;
mod portraits;
mod register;
pub mod session;
mod verify_token;
mod view;

use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use platform::auth::{Revocations, Tokens};
use platform::ledger::Ledger;
use platform::shutdown::Shutdown;

pub use hasher::{Busy, Hasher};
pub use keeper::revocations_keeper;
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
pub fn router(auth: Auth) -> Router {
    Router::new()
        .route("/api/v1/auth/register", post(register::http_register))
        .route("/api/v1/auth/login", post(login::http_login))
        .route("/api/v1/auth/logout", post(logout::http_logout))
        .route("/api/v1/auth/me", get(me::http_me))
        .route("/api/v1/auth/verify-token", post(verify_token::http_verify_token))
        .route("/.well-known/jwks.json", get(jwks::http_jwks))
        .with_state(auth)
}
