//! What sockets are told: per user a log of frames in Redis ([`platform::frames`]), from `messages.events` and `users.events`.
//!
//! No read model, and nothing to wait for: what it loses is found in Postgres. It appends only what the read models that it announces contain
//! (`conversations` and `relay` for messages, `contacts` for contacts), so that whoever is told of something can ask for it.
//! Its checkpoint lies in Redis beside the logs and moves with them. Where Redis knows nothing, the logs begin where this process last stood, else at the head.

mod fold;
mod follow;
mod owner;

pub use fold::Fold;
pub use follow::{Frames, FramesConfig, name};
