//! What the `frames` projection leaves for pushers: references to events, and, for who is there to hear it, the bodies of messages.
//!
//! Operational data in Redis, not part of the log: its shape may change with a release, which begins its logs anew.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{MessageId, Timestamp, UserId};

/// What one event means to one user: a reference. Content comes with it while it is news ([`Body`]) and is looked up afterwards, people when the frame is pushed: nothing personal stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "k")]
pub enum Frame {
    /// `new_message` (or `relay_message`, when it was sent through the relay's route), to its recipient.
    #[serde(rename = "m")]
    Message {
        /// Of the body.
        id: MessageId,
        /// Who wrote it.
        from: UserId,
        /// Whether it came through `/relay/send`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        relay: bool,
    },
    /// `message_sent`, to its sender.
    #[serde(rename = "s")]
    Sent {
        /// The message.
        id: MessageId,
        /// To whom.
        to: UserId,
        /// What the client called it, when that was no UUID.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client: Option<String>,
    },
    /// `message_delivered`, to the author.
    #[serde(rename = "d")]
    Delivered {
        /// The message.
        id: MessageId,
        /// Who has it now.
        by: UserId,
    },
    /// `message_read`, to the author.
    #[serde(rename = "r")]
    Read {
        /// The message.
        id: MessageId,
        /// Who has read it.
        by: UserId,
        /// And everything before it in the conversation.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        up_to: bool,
    },
    /// `message_deleted`, to both.
    #[serde(rename = "x")]
    Deleted {
        /// The message.
        id: MessageId,
        /// Who wrote it, and deleted it.
        from: UserId,
        /// To whom it was written.
        to: UserId,
    },
    /// `contact_added`, about `about`.
    #[serde(rename = "c")]
    Contact {
        /// Who is to be shown.
        about: UserId,
    },
    /// `resume_reset`, to both, if a block that stood between them has kept something of the other's from them.
    #[serde(rename = "l")]
    Lifted {
        /// The other.
        between: UserId,
    },
}

impl Frame {
    /// With whom, or of whom, the frame is, seen by its receiver: nothing of it is pushed while either has blocked the other.
    #[must_use]
    pub fn peer(&self, receiver: UserId) -> UserId {
        match self {
            Self::Message { from, .. } => *from,
            Self::Sent { to, .. } => *to,
            Self::Delivered { by, .. } | Self::Read { by, .. } => *by,
            Self::Deleted { from, to, .. } => {
                if *from == receiver {
                    *to
                } else {
                    *from
                }
            }
            Self::Contact { about } => *about,
            Self::Lifted { between } => *between,
        }
    }
}

/// One event, as one user's log holds it. Usually a single frame; two of a message to oneself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The event's time.
    pub at: Timestamp,
    /// In the order in which they are pushed.
    pub frames: Vec<Frame>,
}

/// A direct message's content and what goes with it, as it travels to open sockets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Body {
    /// The message.
    pub message_id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// To whom.
    pub recipient_id: UserId,
    /// Opaque text.
    pub encrypted_content: String,
    /// Opaque text.
    pub encrypted_session_key: String,
    /// As its sender named it.
    pub crypto_version: String,
    /// As its sender named it.
    pub encryption_algorithm: String,
    /// As its sender named it.
    pub kdf_algorithm: String,
    /// As they were sent: any JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<Box<RawValue>>,
    /// When it was sent.
    pub at: Timestamp,
}
