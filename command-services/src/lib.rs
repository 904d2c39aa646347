//! Commands: one module per service, one file per command, from route to refusal.

pub mod auth;
pub mod messages;
