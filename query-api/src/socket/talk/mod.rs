//! What a client says over its socket: from a text frame to what is answered.
//!
//! Nothing that is said closes a socket: what cannot be read, is unknown or refused is answered with `error`.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use platform::auth::Caller;
use platform::frames::FrameLog;
use platform::limits::Limits;
use platform::shutdown::Shutdown;

use super::Commands;

/// How many [`Reply::Later`] of one socket may be under way; whoever reads the socket then reads no further until one is done.
pub const UNDER_WAY: usize = 32;

/// Hears clients. Clones share everything.
#[derive(Debug, Clone)]
pub struct Talk {}

/// Who speaks on one socket, and what must be remembered of it: small as long as nothing was said.
#[derive(Debug)]
pub struct Speaker {}

/// What follows from a client's frame.
#[must_use]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// This frame is sent, as it is.
    Frame(String),
    /// The client wants what came after this cursor (as it came; nothing of it has been looked at).
    Resume(String),
    /// Something is under way; the frame that it ends with, if any, is sent. Await it beside others and beside what is written (order among them is seen to here).
    /// It goes on when this is dropped.
    Later(BoxFuture<'static, Option<String>>),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Frame(frame) => f.debug_tuple("Frame").field(frame).finish(),
            Self::Resume(_) => f.write_str("Resume"),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

#[expect(clippy::todo, reason = "under construction")]
impl Talk {
    /// Carries out `commands`; `limits` are those of HTTP, typing goes by `log`. What has begun is waited for by `shutdown`.
    #[must_use]
    pub fn new(_commands: Arc<dyn Commands>, _limits: Limits, _log: FrameLog, _shutdown: Shutdown) -> Self {
        todo!()
    }

    /// Hears a text frame. Frames of one socket in the order in which they came.
    pub fn hear(&self, _speaker: &mut Speaker, _text: &str) -> Reply {
        todo!()
    }

    /// Answers what is no text: a binary frame.
    pub fn unreadable(&self, _speaker: &mut Speaker) -> Reply {
        todo!()
    }
}

#[expect(clippy::todo, reason = "under construction")]
impl Speaker {
    /// A new socket of this caller.
    #[must_use]
    pub fn new(_caller: Caller) -> Self {
        todo!()
    }
}
