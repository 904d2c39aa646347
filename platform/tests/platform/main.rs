//! What needs real servers.
//! The seams of the platform, against real servers.
//! The platform's promises, against real servers.
//! Against real servers.
//! Tests of the plumbing against real servers.

mod auth;
mod config;
mod databases;
mod fresh;
mod http;
mod ledger;
mod log;
mod marks;
mod own_redis;
mod private;
mod redis;
mod telemetry;
mod vault;

#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]
#![expect(clippy::unwrap_used, reason = "tests")]
