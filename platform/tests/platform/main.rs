//! The platform's promises, against real servers.

#![expect(clippy::unwrap_used, reason = "tests")]

mod auth;
mod http;
