//! Notes: what is told to whoever is there, and kept nowhere ([`platform::frames::FrameLog::note`]). Their text is defined here and nowhere else, those of blocks apart.

use std::sync::Arc;

use schemas::UserId;

/// A note as a socket gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The frame, the same for everybody whom the note names.
    pub frame: Arc<str>,
    /// Whom it is about: who has blocked them, or was blocked by them, does not get it.
    pub peer: UserId,
}

impl Said {
    /// Reads the text of a [`platform::frames::Heard::Note`]. `None`: it is none of ours (a block, a note of another release).
    #[must_use]
    #[expect(clippy::todo, reason = "under construction")]
    pub fn read(_text: &str) -> Option<Self> {
        todo!()
    }

    /// `user_online`: for who has just got `contact_added` about somebody who is here ([`super::Attendance::seen`]).
    #[must_use]
    #[expect(clippy::todo, reason = "under construction")]
    pub fn online(_user: UserId) -> Self {
        todo!()
    }
}
