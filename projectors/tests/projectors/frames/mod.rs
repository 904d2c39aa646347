//! What sockets are told: the fold of each event, and the projection's loop with a Redis that is lost, emptied and set back under it.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod faults;
mod fold;
mod following;
mod stalled;
mod world;
