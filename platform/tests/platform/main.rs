//! The seams of the platform, against real servers.

mod own_redis;
mod redis;
mod vault;
