//! The seams of the platform, against real servers.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod fresh;
mod marks;
mod own_redis;
mod redis;
mod vault;
