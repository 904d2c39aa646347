//! Commands: one module per service, one file per command, from its route to its refusals.
//!
//! * [`auth`] accounts, sessions, tokens · [`users`] profiles, contacts, blocks · [`messages`] direct messages and their receipts
#![warn(missing_docs)]

pub mod auth;
pub mod messages;
pub mod users;
