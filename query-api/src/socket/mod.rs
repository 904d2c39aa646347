//! The pusher: sockets, what they are told, and what they ask.

mod commands;

pub use commands::{Commands, Done};
