//! What needs real servers.
//! The seams of the platform, against real servers.

mod config;
mod databases;
mod marks;
mod own_redis;
mod private;
mod redis;
mod vault;
