//! `messages.events`: direct messages and their receipts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::events;
use crate::{ConversationId, DecodeError, Event, MessageId, Payload, ReceiptId, Recorded, Timestamp, Topic, UserId};

events! {
    /// What happens to a direct message. Stream id = message id.
    #[expect(clippy::large_enum_variant, reason = "short-lived, and sends are the common case")]
    MessageEvent of "message" in Topic::Messages => {
        /// It was accepted.
        Sent(MessageSent) = "message.sent" "1",
        /// Its sender took it back: nothing follows. Whoever reads on drops its content.
        Deleted(MessageDeleted) = "message.deleted" "1",
    }
}

events! {
    /// A receipt: a stream of one event. Stream id = receipt id.
    ReceiptEvent of "receipt" in Topic::Messages => {
        /// Its recipient has it, and it no longer waits.
        Delivered(MessageDelivered) = "message.delivered" "1",
        /// Its recipient has read it.
        Read(MessageRead) = "message.read" "1",
        /// Its recipient has read it and everything before it in the conversation.
        ReadUpTo(MessageReadUpTo) = "message.read_up_to" "1",
    }
}

/// Any event of the topic.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "short-lived, and sends are the common case")]
pub enum MessagesEvent {
    /// Of a message.
    Message(MessageEvent),
    /// Of a receipt.
    Receipt(ReceiptEvent),
}

impl MessagesEvent {
    /// Reads any event of the topic.
    ///
    /// # Errors
    /// [`DecodeError`], also for an aggregate type that this release does not know.
    pub fn decode(recorded: &Recorded) -> Result<Self, DecodeError> {
        match recorded.aggregate_type.as_str() {
            MessageEvent::AGGREGATE => MessageEvent::decode(recorded).map(Self::Message),
            ReceiptEvent::AGGREGATE => ReceiptEvent::decode(recorded).map(Self::Receipt),
            _ => Err(DecodeError::unknown(recorded)),
        }
    }
}

/// The route a message came by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// `POST /messages/send`
    Send,
    /// `POST /relay/send`, `POST /relay/queue`
    Relay,
    /// The socket.
    Socket,
    /// From the monolith.
    Backfill,
}

impl Via {
    /// As stored in read models.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Relay => "relay",
            Self::Socket => "socket",
            Self::Backfill => "backfill",
        }
    }
}

/// `message.sent`. Content is end-to-end ciphertext; the server never reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MessageSent {
    /// The message.
    pub message_id: MessageId,
    /// Of sender and recipient.
    pub conversation_id: ConversationId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// To whom.
    pub recipient_id: UserId,
    /// Opaque text; may be empty (a message that is only a file).
    pub encrypted_content: String,
    /// Opaque text.
    pub encrypted_session_key: String,
    /// The sender's own copy, under the sender's key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender_encrypted_content: Option<String>,
    /// `v1`
    pub crypto_version: String,
    /// `ECDH-AES256-GCM`
    pub encryption_algorithm: String,
    /// `HKDF-SHA256`
    pub kdf_algorithm: String,
    /// As the client sent them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signatures: Option<serde_json::Value>,
    /// Attached uploads of the sender.
    pub media_ids: Vec<Uuid>,
    /// The message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<MessageId>,
    /// What the client called it, when that was no UUID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The route it came by.
    pub via: Via,
    /// When it leaves the recipient's queue unacknowledged; absent: it never waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

impl MessageSent {
    /// What is left of it once it has been deleted: who, to whom, when and how, without a word of what.
    #[must_use]
    pub fn redacted(self) -> Self {
        Self {
            encrypted_content: String::new(),
            encrypted_session_key: String::new(),
            sender_encrypted_content: None,
            signatures: None,
            media_ids: Vec::new(),
            client_id: None,
            ..self
        }
    }
}

impl Payload for MessageSent {
    fn partition_key(&self) -> String {
        self.conversation_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.sender_id, self.recipient_id]
    }
}

/// `message.delivered`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDelivered {
    /// Of message, user and kind.
    pub receipt_id: ReceiptId,
    /// The message.
    pub message_id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its author.
    pub sender_id: UserId,
    /// Who received it.
    pub user_id: UserId,
}

impl Payload for MessageDelivered {
    fn partition_key(&self) -> String {
        self.conversation_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.sender_id, self.user_id]
    }
}

/// `message.read`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageRead {
    /// Of message, user and kind.
    pub receipt_id: ReceiptId,
    /// The message.
    pub message_id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its author.
    pub sender_id: UserId,
    /// Who read it.
    pub user_id: UserId,
}

impl Payload for MessageRead {
    fn partition_key(&self) -> String {
        self.conversation_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.sender_id, self.user_id]
    }
}

/// `message.read_up_to`: every message of the conversation to this user that stands at or below a position is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageReadUpTo {
    /// Of message, user and kind.
    pub receipt_id: ReceiptId,
    /// The conversation.
    pub conversation_id: ConversationId,
    /// With whom.
    pub peer_id: UserId,
    /// Who read.
    pub user_id: UserId,
    /// The last one that was read; of either of the two.
    pub message_id: MessageId,
    /// Its position in the ledger.
    pub up_to_position: i64,
}

impl Payload for MessageReadUpTo {
    fn partition_key(&self) -> String {
        self.conversation_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.peer_id, self.user_id]
    }
}

/// `message.deleted`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MessageDeleted {
    /// The message.
    pub message_id: MessageId,
    /// Of sender and recipient.
    pub conversation_id: ConversationId,
    /// Who wrote it, and deleted it.
    pub sender_id: UserId,
    /// To whom.
    pub recipient_id: UserId,
}

impl Payload for MessageDeleted {
    fn partition_key(&self) -> String {
        self.conversation_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.sender_id, self.recipient_id]
    }
}
