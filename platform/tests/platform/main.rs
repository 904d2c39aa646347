//! What needs real servers.

mod config;
mod databases;
mod private;
mod telemetry;
