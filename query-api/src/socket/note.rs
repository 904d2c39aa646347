//! Notes: what is told to whoever is there, and kept nowhere ([`platform::frames::FrameLog::note`]). Their text is defined here and nowhere else, those of blocks apart.

use std::sync::Arc;

use platform::clock;
use schemas::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A note, on its way between processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "n", rename_all = "snake_case")]
pub(super) enum Note {
    /// Somebody types, or no longer does.
    Typing { from: UserId, on: bool },
    /// Somebody has come.
    Online { user: UserId, at: Timestamp },
    /// Somebody has left.
    Offline { user: UserId, at: Timestamp },
}

impl Note {
    /// As it travels.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    fn said(&self) -> Said {
        let presence = |r#type, user: UserId, at: Timestamp| json!({"type": r#type, "user_id": user, "timestamp": at});
        let (frame, peer, is_online) = match *self {
            Self::Typing { from, on } => (json!({"type": "typing", "sender_id": from, "is_typing": on}), from, None),
            Self::Online { user, at } => (presence("user_online", user, at), user, Some(true)),
            Self::Offline { user, at } => (presence("user_offline", user, at), user, Some(false)),
        };
        Said { frame: frame.to_string().into(), peer, is_online, apart: false }
    }
}

/// A note as a socket gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The frame, the same for everybody whom the note names.
    pub frame: Arc<str>,
    /// Whom it is about: who has blocked them, or was blocked by them, does not get it.
    pub peer: UserId,
    /// Whether it says that they are here; `None`: it says nothing of that.
    pub is_online: Option<bool>,
    /// The other way round: nobody else gets it.
    pub apart: bool,
}

impl Said {
    /// Reads the text of a [`platform::frames::Heard::Note`]. `None`: it is none of ours (a block, a note of another release).
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str::<Note>(text).ok().map(|note| note.said())
    }

    /// `user_online`: for who has just got `contact_added` about somebody who is here ([`super::Attendance::seen`]).
    #[must_use]
    pub fn online(user: UserId) -> Self {
        Note::Online { user, at: clock::now() }.said()
    }

    /// `user_offline`: for who was not told when somebody left.
    #[must_use]
    pub fn offline(user: UserId) -> Self {
        Note::Offline { user, at: clock::now() }.said()
    }

    /// `user_offline`: for who may no longer see that somebody is here, since a block has come between them.
    #[must_use]
    pub fn kept_away(user: UserId) -> Self {
        Self { apart: true, ..Self::offline(user) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Note, Said};
    use schemas::{Timestamp, UserId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    #[test]
    fn a_note_becomes_the_frame_of_the_contract_wherever_it_is_heard() {
        let ann = UserId(Uuid::from_u128(1));
        let at: Timestamp = "2026-01-31T10:30:00Z".parse().expect("a time");
        let table = [
            (Note::Typing { from: ann, on: true }, json!({"type": "typing", "sender_id": ann, "is_typing": true})),
            (Note::Typing { from: ann, on: false }, json!({"type": "typing", "sender_id": ann, "is_typing": false})),
            (Note::Online { user: ann, at }, json!({"type": "user_online", "user_id": ann, "timestamp": at})),
            (Note::Offline { user: ann, at }, json!({"type": "user_offline", "user_id": ann, "timestamp": at})),
        ];
        for (note, expected) in table {
            let said = Said::read(&note.text()).expect("it is ours");
            assert_eq!((serde_json::from_str::<Value>(&said.frame).expect("JSON"), said.peer), (expected, ann));
        }
    }

    #[test]
    fn what_is_not_ours_is_nothing() {
        for text in ["", "{}", "7", r#"{"n":"block","by":1}"#, r#"{"n":"typing"}"#] {
            assert_eq!(Said::read(text), None, "{text}");
        }
    }
}
