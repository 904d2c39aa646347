//! Tests only: private servers, builders, and waiting for conditions.

pub mod kafka;
pub mod load;
pub mod own_redis;
pub mod person;
pub mod servers;
pub mod socket;
pub mod system;
mod wait;

pub use wait::wait_until;
