//! Frames as the contract has them, from what a log refers to.

use schemas::frames::Frame;
use schemas::{MessageId, SessionId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::facts::{Facts, Person};
use super::note::Said;
use crate::pending::RelayMessage;

/// A frame that is told, but for its cursor, which is each socket's own.
#[derive(Debug)]
pub(super) struct Told {
    /// A JSON object without its end.
    text: String,
    /// Not to be told while one of the two, this one and its receiver, has blocked the other.
    pub(super) peer: Option<UserId>,
    /// The message whose body it holds: not to be told once that is deleted.
    pub(super) message: Option<MessageId>,
    /// What is told right after it.
    pub(super) then: Option<Said>,
}

impl Told {
    fn of(frame: &impl Serialize, peer: Option<UserId>) -> Option<Self> {
        match serde_json::to_string(frame) {
            Ok(mut text) => {
                text.pop();
                Some(Self { text, peer, message: None, then: None })
            }
            Err(error) => {
                tracing::error!(category = ?error.classify(), "a frame cannot be written as JSON");
                None
            }
        }
    }

    /// In the place of one that was taken.
    pub(super) const fn nothing() -> Self {
        Self { text: String::new(), peer: None, message: None, then: None }
    }

    /// With the cursor that its client has seen it by.
    pub(super) fn with_cursor(&self, cursor: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + cursor.len() + 14);
        text += &self.text;
        text += ",\"cursor\":\"";
        text += cursor;
        text += "\"}";
        text
    }
}

/// What one frame of a log's entry says to its receiver; nothing when what it was about is gone, or not theirs to see.
pub(super) fn told(receiver: UserId, (at, position): (Timestamp, i64), frame: &Frame, facts: &Facts) -> Option<Told> {
    let peer = guard(frame, receiver);
    match frame {
        Frame::Message { id, relay, .. } => Some(Told { message: Some(*id), ..message(facts.body(*id)?, *relay, at, peer)? }),
        Frame::Sent { id, client, .. } => Told::of(&Sent::of(*id, client.as_deref(), at), peer),
        Frame::Delivered { id, by } => {
            Told::of(&Receipt { r#type: "message_delivered", message_id: *id, user_id: *by, up_to: false, timestamp: at }, peer)
        }
        Frame::Read { id, by, up_to } => facts
            .shows_reading(*by)
            .then(|| Told::of(&Receipt { r#type: "message_read", message_id: *id, user_id: *by, up_to: *up_to, timestamp: at }, peer))
            .flatten(),
        Frame::Deleted { id, from, to } => {
            Told::of(&Deleted { r#type: "message_deleted", message_id: *id, sender_id: *from, recipient_id: *to, timestamp: at }, peer)
        }
        Frame::Contact { about } => {
            let person = facts.person(*about)?;
            let told = Told::of(&ContactAdded::of(*about, person, at), peer)?;
            Some(Told { then: person.is_online.then(|| Said::online(*about)), ..told })
        }
        Frame::Lifted { between } => facts.was_hidden(*between, at, position).then(|| Some(Told { peer, ..resumed(true)? })).flatten(),
    }
}

/// Whose block keeps a frame back. What oneself has sent or deleted is told whoever was blocked since.
fn guard(frame: &Frame, receiver: UserId) -> Option<UserId> {
    match frame {
        Frame::Sent { .. } => None,
        Frame::Deleted { from, .. } if *from == receiver => None,
        frame => Some(frame.peer(receiver)),
    }
}

/// A body as it comes ([`schemas::frames::Body`]), its texts left as they are written.
#[derive(Deserialize)]
struct Body<'a> {
    message_id: MessageId,
    sender_id: UserId,
    recipient_id: UserId,
    #[serde(borrow)]
    encrypted_content: &'a RawValue,
    #[serde(borrow)]
    encrypted_session_key: &'a RawValue,
    #[serde(borrow)]
    crypto_version: &'a RawValue,
    #[serde(borrow)]
    encryption_algorithm: &'a RawValue,
    #[serde(borrow)]
    kdf_algorithm: &'a RawValue,
    #[serde(borrow, default)]
    signatures: Option<&'a RawValue>,
}

fn message(body: &str, relay: bool, at: Timestamp, peer: Option<UserId>) -> Option<Told> {
    let body: Body<'_> = match serde_json::from_str(body) {
        Ok(body) => body,
        Err(error) => {
            tracing::error!(category = ?error.classify(), "the body of a message cannot be read");
            return None;
        }
    };
    if relay {
        Told::of(&Relayed { r#type: "relay_message", data: relayed(&body, at) }, peer)
    } else {
        Told::of(&NewMessage::of(&body, at), peer)
    }
}

/// A message that waits, as the queue has it.
pub(super) fn waiting(message: &RelayMessage<'_>, from: UserId) -> Option<Told> {
    let told = Told::of(&Relayed { r#type: "relay_message", data: message }, Some(from))?;
    Some(Told { message: Some(message.id), ..told })
}

#[derive(Serialize)]
struct Relayed<T> {
    r#type: &'static str,
    data: T,
}

/// As it was sent through the relay: not from the queue, and so not yet tried in vain.
fn relayed<'a>(body: &Body<'a>, at: Timestamp) -> RelayMessage<'a, &'a RawValue> {
    RelayMessage {
        id: body.message_id,
        sender_id: body.sender_id,
        recipient_id: body.recipient_id,
        encrypted_content: body.encrypted_content,
        encrypted_session_key: body.encrypted_session_key,
        crypto_version: body.crypto_version,
        encryption_algorithm: body.encryption_algorithm,
        kdf_algorithm: body.kdf_algorithm,
        signatures: body.signatures,
        has_media: false,
        media_refs: [],
        created_at: at,
        delivery_attempts: 0,
    }
}

#[derive(Serialize)]
struct NewMessage<'a> {
    r#type: &'static str,
    message_id: MessageId,
    sender_id: UserId,
    recipient_id: UserId,
    encrypted_content: &'a RawValue,
    encrypted_session_key: &'a RawValue,
    crypto_version: &'a RawValue,
    encryption_algorithm: &'a RawValue,
    kdf_algorithm: &'a RawValue,
    signatures: Option<&'a RawValue>,
    timestamp: Timestamp,
    has_media: bool,
    media_attachments: [(); 0],
}

impl<'a> NewMessage<'a> {
    fn of(body: &Body<'a>, at: Timestamp) -> Self {
        Self {
            r#type: "new_message",
            message_id: body.message_id,
            sender_id: body.sender_id,
            recipient_id: body.recipient_id,
            encrypted_content: body.encrypted_content,
            encrypted_session_key: body.encrypted_session_key,
            crypto_version: body.crypto_version,
            encryption_algorithm: body.encryption_algorithm,
            kdf_algorithm: body.kdf_algorithm,
            signatures: body.signatures,
            timestamp: at,
            has_media: false,
            media_attachments: [],
        }
    }
}

#[derive(Serialize)]
struct Sent<'a> {
    r#type: &'static str,
    message_id: MessageId,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    status: &'static str,
    timestamp: Timestamp,
    has_media: bool,
    media_attachments: [(); 0],
}

impl<'a> Sent<'a> {
    fn of(message_id: MessageId, client_id: Option<&'a str>, timestamp: Timestamp) -> Self {
        Self { r#type: "message_sent", message_id, client_id, status: "sent", timestamp, has_media: false, media_attachments: [] }
    }
}

#[derive(Serialize)]
struct Receipt {
    r#type: &'static str,
    message_id: MessageId,
    user_id: UserId,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    up_to: bool,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct Deleted {
    r#type: &'static str,
    message_id: MessageId,
    sender_id: UserId,
    recipient_id: UserId,
    timestamp: Timestamp,
}

#[derive(Serialize)]
struct ContactAdded<'a> {
    r#type: &'static str,
    contact_id: UserId,
    user_id: UserId,
    username: Option<&'a str>,
    email: Option<&'a str>,
    full_name: Option<&'a str>,
    public_key: Option<&'a str>,
    is_online: bool,
    timestamp: Timestamp,
}

impl<'a> ContactAdded<'a> {
    fn of(about: UserId, person: &'a Person, timestamp: Timestamp) -> Self {
        Self {
            r#type: "contact_added",
            contact_id: about,
            user_id: about,
            username: person.username.as_deref(),
            email: person.email.as_deref(),
            full_name: person.full_name.as_deref(),
            public_key: person.public_key.as_deref(),
            is_online: person.is_online,
            timestamp,
        }
    }
}

/// `connection_established`.
pub(super) fn greeting(user: UserId, session: SessionId, online_users: &[UserId], timestamp: Timestamp) -> Option<Told> {
    #[derive(Serialize)]
    struct Established<'a> {
        r#type: &'static str,
        user_id: UserId,
        session_id: SessionId,
        online_users: &'a [UserId],
        timestamp: Timestamp,
    }
    Told::of(&Established { r#type: "connection_established", user_id: user, session_id: session, online_users, timestamp }, None)
}

/// `resumed` and `resume_reset`.
pub(super) fn resumed(reset: bool) -> Option<Told> {
    #[derive(Serialize)]
    struct Resumed {
        r#type: &'static str,
    }
    Told::of(&Resumed { r#type: if reset { "resume_reset" } else { "resumed" } }, None)
}
