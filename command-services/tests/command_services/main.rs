//! Commands over HTTP, against real servers.
#![expect(clippy::unwrap_used, reason = "tests")]

mod auth;
