//! Commands: one module per service, one file per command, from its route to its refusals.
//!
//! * [`auth`] accounts, sessions, tokens · [`messages`] direct messages and their receipts
#![warn(missing_docs)]

pub mod auth;
pub mod messages;
