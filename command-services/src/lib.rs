//! Commands: one module per service, one file per command, from route to refusal.
//!
//! * [`auth`] accounts, sessions, tokens
#![warn(missing_docs)]

pub mod auth;
