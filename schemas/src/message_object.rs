//! A direct message as clients see it.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};

use crate::{MessageId, Timestamp, UserId};

/// The contract's message object: what a send answers and what a conversation is a list of, written in one place so that the two cannot drift apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MessageObject<'a, S> {
    /// The message.
    pub id: MessageId,
    /// Who wrote it.
    pub sender_id: UserId,
    /// To whom.
    pub recipient_id: UserId,
    /// Opaque text.
    pub encrypted_content: &'a str,
    /// Opaque text.
    pub encrypted_session_key: &'a str,
    /// The sender's own copy.
    pub sender_encrypted_content: Option<&'a str>,
    /// `v1`
    pub crypto_version: &'a str,
    /// `ECDH-AES256-GCM`
    pub encryption_algorithm: &'a str,
    /// `HKDF-SHA256`
    pub kdf_algorithm: &'a str,
    /// As the client sent them: any JSON.
    pub signatures: Option<S>,
    /// The event's time.
    pub created_at: Timestamp,
    /// When its recipient had it.
    pub delivered_at: Option<Timestamp>,
    /// When its recipient read it, as far as its reader may know.
    pub read_at: Option<Timestamp>,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
}

impl<S: Serialize> Serialize for MessageObject<'_, S> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        let mut object = serializer.serialize_struct("MessageObject", 18)?;
        object.serialize_field("id", &self.id)?;
        object.serialize_field("sender_id", &self.sender_id)?;
        object.serialize_field("recipient_id", &self.recipient_id)?;
        object.serialize_field("encrypted_content", self.encrypted_content)?;
        object.serialize_field("encrypted_session_key", self.encrypted_session_key)?;
        object.serialize_field("sender_encrypted_content", &self.sender_encrypted_content)?;
        object.serialize_field("crypto_version", self.crypto_version)?;
        object.serialize_field("encryption_algorithm", self.encryption_algorithm)?;
        object.serialize_field("kdf_algorithm", self.kdf_algorithm)?;
        object.serialize_field("signatures", &self.signatures)?;
        object.serialize_field("is_read", &self.read_at.is_some())?;
        object.serialize_field("created_at", &self.created_at)?;
        // Nothing edits a message or attaches to it yet: what clients see of that is part of the object all the same.
        object.serialize_field("has_media", &false)?;
        object.serialize_field("media_attachments", &[(); 0])?;
        object.serialize_field("delivered_at", &self.delivered_at)?;
        object.serialize_field("read_at", &self.read_at)?;
        object.serialize_field("edited_at", &None::<Timestamp>)?;
        object.serialize_field("reply_to", &self.reply_to)?;
        object.end()
    }
}

/// How a message object looks, all of its fields with their meaning.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is shown: a message object writes itself")]
struct Shape {
    /// The message.
    id: MessageId,
    /// Who wrote it.
    sender_id: UserId,
    /// To whom.
    recipient_id: UserId,
    /// Opaque text.
    encrypted_content: String,
    /// Opaque text.
    encrypted_session_key: String,
    /// The same content, readable for its sender.
    sender_encrypted_content: Option<String>,
    /// As its sender named it.
    crypto_version: String,
    /// As its sender named it.
    encryption_algorithm: String,
    /// As its sender named it.
    kdf_algorithm: String,
    /// As they were sent: any JSON.
    signatures: serde_json::Value,
    /// Whether its recipient has read it.
    is_read: bool,
    /// When it was sent.
    created_at: Timestamp,
    /// Whether something is attached.
    has_media: bool,
    /// What is attached.
    media_attachments: Vec<Attachment>,
    /// When its recipient had it.
    delivered_at: Option<Timestamp>,
    /// When its recipient read it.
    read_at: Option<Timestamp>,
    /// When its content was last changed.
    edited_at: Option<Timestamp>,
    /// The message that this one answers.
    reply_to: Option<MessageId>,
}

/// A file of a message.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "see `Shape`")]
struct Attachment {
    /// The upload.
    id: uuid::Uuid,
    /// As its owner called it.
    file_name: String,
    /// Its media type.
    file_type: String,
    /// In bytes.
    file_size: u64,
    /// Where it can be had.
    file_url: String,
    /// `image`, `document`, `video` or `other`.
    category: String,
    /// When it was uploaded.
    created_at: Timestamp,
    /// Where a small picture of it can be had.
    thumbnail_url: Option<String>,
}

impl<S> JsonSchema for MessageObject<'_, S> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Message".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Shape::json_schema(generator);
        schema.insert("description".into(), "A direct message, as both of its people see it.".into());
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::MessageObject;
    use crate::{MessageId, UserId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    #[test]
    fn it_has_every_field_of_the_contract_and_no_other() {
        let object = MessageObject {
            id: MessageId(Uuid::from_u128(1)),
            sender_id: UserId(Uuid::from_u128(2)),
            recipient_id: UserId(Uuid::from_u128(3)),
            encrypted_content: "c",
            encrypted_session_key: "k",
            sender_encrypted_content: None,
            crypto_version: "v1",
            encryption_algorithm: "e",
            kdf_algorithm: "h",
            signatures: None::<Value>,
            created_at: "2026-01-31T10:30:00Z".parse().expect("a time"),
            delivered_at: None,
            read_at: None,
            reply_to: None,
        };
        let written = serde_json::to_value(object).expect("it serialises");
        let generator = schemars::generate::SchemaSettings::draft2020_12().for_serialize().into_generator();
        let shape = generator.into_root_schema_for::<MessageObject<'static, Value>>();
        let fields = |object: Option<&Value>| {
            object.and_then(Value::as_object).map(|o| o.keys().cloned().collect::<std::collections::BTreeSet<_>>())
        };
        assert_eq!(fields(shape.get("properties")), fields(Some(&written)), "it is described as it is written");
        assert_eq!(
            written,
            json!({"id": Uuid::from_u128(1), "sender_id": Uuid::from_u128(2), "recipient_id": Uuid::from_u128(3), "encrypted_content": "c",
                "encrypted_session_key": "k", "sender_encrypted_content": null, "crypto_version": "v1", "encryption_algorithm": "e",
                "kdf_algorithm": "h", "signatures": null, "is_read": false, "created_at": "2026-01-31T10:30:00.000000Z", "has_media": false,
                "media_attachments": [], "delivered_at": null, "read_at": null, "edited_at": null, "reply_to": null})
        );
    }

    #[test]
    fn what_was_read_says_so_and_when() {
        let at = "2026-01-31T10:30:00Z".parse().expect("a time");
        let object = MessageObject {
            id: MessageId(Uuid::from_u128(1)),
            sender_id: UserId(Uuid::from_u128(2)),
            recipient_id: UserId(Uuid::from_u128(3)),
            encrypted_content: "",
            encrypted_session_key: "",
            sender_encrypted_content: None,
            crypto_version: "v1",
            encryption_algorithm: "e",
            kdf_algorithm: "h",
            signatures: None::<Value>,
            created_at: at,
            delivered_at: None,
            read_at: Some(at),
            reply_to: None,
        };
        let object = serde_json::to_value(object).expect("it serialises");
        assert_eq!((&object["is_read"], &object["read_at"]), (&json!(true), &json!("2026-01-31T10:30:00.000000Z")));
    }
}
