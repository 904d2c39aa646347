//! The seams of the platform, against real servers.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod auth;
mod config;
mod databases;
mod frames;
mod fresh;
mod http;
mod ledger;
mod limits;
mod log;
mod marks;
mod presence;
mod private;
mod redis;
mod telemetry;
mod vault;

use testkit::own_redis;
