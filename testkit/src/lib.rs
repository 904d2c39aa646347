//! Tests only: private servers, builders, and waiting for conditions.

pub mod kafka;
pub mod servers;
mod wait;

pub use wait::wait_until;
