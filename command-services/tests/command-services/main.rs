//! Commands through their routes, on a real ledger.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod acknowledge;
mod auth;
mod delete;
mod online;
mod read;
mod send;
mod service;
mod socket;
