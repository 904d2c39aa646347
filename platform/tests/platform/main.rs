//! What needs real servers.

mod config;
mod private;
