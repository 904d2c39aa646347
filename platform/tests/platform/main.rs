//! The seams of the platform, against real servers.

mod fresh;
mod marks;
mod own_redis;
mod redis;
mod vault;
