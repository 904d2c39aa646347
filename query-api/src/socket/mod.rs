//! The pusher: sockets, what they are told, and what they ask.
//!
//! * [`Talk`] what a client says · [`Commands`] what it can ask for
//! * [`Attendance`] who is here, and who is told so · [`Said`] what is told and kept nowhere

mod attendance;
mod commands;
mod note;
mod talk;

pub use attendance::{Attendance, Here};
pub use commands::{Commands, Done};
pub use note::Said;
pub use talk::{Reply, Speaker, Talk, UNDER_WAY};
