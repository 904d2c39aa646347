//! Plumbing without domain: what every service, projector and query leans on. Knows no message, group or user.
//!
//! * [`config`] effective settings and where each came from · [`telemetry`] logs, correlation, metrics
//! * [`http`] problems, extractors, health · [`auth`] tokens, callers, revocations
//! * [`postgres`] connections, databases, roles, migrations · [`redis`] the one way to Redis · [`private`] servers of our own
//! * [`ledger`] append, aggregates, feed, publisher · [`log`] sources, checkpoints, projections
//! * [`backup`] what cannot be rebuilt, out and back in
//! * [`vault`] sealed personal data · [`marks`] and [`fresh`] reads after writes
//! * [`frames`] what sockets are told, and who holds them · [`presence`] who is online · [`limits`] how much anybody may ask
//! * [`clock`] time · [`shutdown`] the end · [`crash`] where fault tests strike
#![warn(missing_docs)]

pub mod auth;
pub mod backup;
pub mod clock;
pub mod config;
pub mod crash;
pub mod frames;
pub mod fresh;
pub mod http;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod marks;
mod number;
pub mod postgres;
pub mod presence;
pub mod private;
pub mod redis;
pub mod shutdown;
pub mod telemetry;
pub mod vault;
