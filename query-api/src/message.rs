//! A direct message as it stands in `conversations.messages`, and as it is shown.

use schemas::{MessageId, MessageObject, Timestamp, UserId};
use serde_json::value::RawValue;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::peers::Viewer;

/// A stored message, read.
#[derive(Debug)]
pub struct Row {
    pub message_id: Uuid,
    pub recorded_at: OffsetDateTime,
    pub position: i64,
    pub sender_id: Uuid,
    pub recipient_id: Uuid,
    pub encrypted_content: String,
    pub encrypted_session_key: String,
    pub sender_encrypted_content: Option<String>,
    pub crypto_version: String,
    pub encryption_algorithm: String,
    pub kdf_algorithm: String,
    pub signatures: Option<Json<Box<RawValue>>>,
    pub reply_to: Option<Uuid>,
    pub delivered_at: Option<OffsetDateTime>,
    pub read_at: Option<OffsetDateTime>,
    /// Of this row and those before it in the page.
    pub bytes: i64,
}

impl Row {
    /// As the contract's message object, for one of its two people.
    pub fn shown(&self, viewer: Viewer) -> MessageObject<'_, &RawValue> {
        MessageObject {
            id: MessageId(self.message_id),
            sender_id: UserId(self.sender_id),
            recipient_id: UserId(self.recipient_id),
            encrypted_content: &self.encrypted_content,
            encrypted_session_key: &self.encrypted_session_key,
            sender_encrypted_content: self.sender_encrypted_content.as_deref(),
            crypto_version: &self.crypto_version,
            encryption_algorithm: &self.encryption_algorithm,
            kdf_algorithm: &self.kdf_algorithm,
            signatures: self.signatures.as_ref().map(|Json(raw)| &**raw),
            created_at: self.recorded_at.into(),
            delivered_at: self.delivered_at.map(Timestamp::from),
            read_at: viewer.read_at(self.recipient_id, self.read_at),
            reply_to: self.reply_to.map(MessageId),
        }
    }
}
