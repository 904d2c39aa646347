//! The seams of the platform, against real servers.

mod marks;
mod own_redis;
mod redis;
mod vault;
