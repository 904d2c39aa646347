//! Commands: one module per service, one file per command, from route to refusal.
//!
//! * [`auth`] accounts, sessions, tokens

pub mod auth;
pub mod messages;

#![warn(missing_docs)]
