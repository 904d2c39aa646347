//! The `message` aggregate: a stream per direct message.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::messages::{MessageDeleted, MessageEvent, MessageSent, Via};
use schemas::{ConversationId, Event, MessageId, Timestamp, UserId, conversation_id};
use serde::{Deserialize, Serialize};

/// A direct message: whether it was sent, between whom, and whether it has been deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    sent: Option<Sent>,
    deleted: bool,
}

/// Who wrote to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sent {
    message_id: MessageId,
    conversation_id: ConversationId,
    sender_id: UserId,
    recipient_id: UserId,
}

/// What one can ask of a message.
#[derive(Debug, Clone, PartialEq)]
pub enum MessageCommand {
    /// Send it.
    Send(Box<Draft>),
    /// Take it back.
    Delete {
        /// Who wants to.
        by: UserId,
    },
}

/// A message before it is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    pub message_id: MessageId,
    pub sender_id: UserId,
    pub recipient_id: UserId,
    pub content: Ciphertext,
    pub reply_to: Option<MessageId>,
    /// What its client calls it, when that is no UUID.
    pub client_id: Option<String>,
    pub via: Via,
    /// Until when it waits for its recipient.
    pub expires_at: Timestamp,
}

/// What two clients say to each other, as far as a server sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Ciphertext {
    pub encrypted_content: String,
    pub encrypted_session_key: String,
    pub sender_encrypted_content: Option<String>,
    pub crypto_version: String,
    pub encryption_algorithm: String,
    pub kdf_algorithm: String,
    pub signatures: Option<serde_json::Value>,
}

/// Why a message refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MessageRefused {
    /// A message is sent once.
    #[error("this message was sent already")]
    SentAlready,
    /// Nobody has sent it.
    #[error("there is no such message")]
    Unknown,
    /// Only who wrote a message may take it back.
    #[error("only its sender can delete a message")]
    NotTheSender,
}

impl Aggregate for Message {
    const TYPE: &'static str = MessageEvent::AGGREGATE;
    type Command = MessageCommand;
    type Event = MessageEvent;
    type Error = MessageRefused;
    type Services = ();

    async fn handle(&mut self, command: MessageCommand, (): &(), sink: &EventSink<Self>) -> Result<(), MessageRefused> {
        match command {
            MessageCommand::Send(_) if self.sent.is_some() => Err(MessageRefused::SentAlready),
            MessageCommand::Send(draft) => {
                sink.write(MessageEvent::Sent(sent(*draft)), self).await;
                Ok(())
            }
            MessageCommand::Delete { by } => {
                let Sent { message_id, conversation_id, sender_id, recipient_id } = self.sent.ok_or(MessageRefused::Unknown)?;
                if by != sender_id {
                    return Err(MessageRefused::NotTheSender);
                }
                if !self.deleted {
                    let deleted = MessageDeleted { message_id, conversation_id, sender_id, recipient_id };
                    sink.write(MessageEvent::Deleted(deleted), self).await;
                }
                Ok(())
            }
        }
    }

    fn apply(&mut self, event: MessageEvent) {
        match event {
            MessageEvent::Sent(MessageSent { message_id, conversation_id, sender_id, recipient_id, .. }) => {
                self.sent = Some(Sent { message_id, conversation_id, sender_id, recipient_id });
            }
            MessageEvent::Deleted(_) => self.deleted = true,
        }
    }
}

fn sent(draft: Draft) -> MessageSent {
    let Draft { message_id, sender_id, recipient_id, content, reply_to, client_id, via, expires_at } = draft;
    MessageSent {
        message_id,
        conversation_id: conversation_id(sender_id, recipient_id),
        sender_id,
        recipient_id,
        encrypted_content: content.encrypted_content,
        encrypted_session_key: content.encrypted_session_key,
        sender_encrypted_content: content.sender_encrypted_content,
        crypto_version: content.crypto_version,
        encryption_algorithm: content.encryption_algorithm,
        kdf_algorithm: content.kdf_algorithm,
        signatures: content.signatures,
        // No upload is known to the server yet, and what it does not know is dropped.
        media_ids: Vec::new(),
        reply_to,
        client_id,
        via,
        expires_at: Some(expires_at),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::{Ciphertext, Draft, Message, MessageCommand, MessageRefused, sent};
    use cqrs_es::test::TestFramework;
    use schemas::messages::{MessageDeleted, MessageEvent, Via};
    use schemas::{MessageId, UserId, conversation_id};
    use uuid::Uuid;

    pub(in super::super) fn draft() -> Draft {
        Draft {
            message_id: MessageId(Uuid::from_u128(10)),
            sender_id: UserId(Uuid::from_u128(1)),
            recipient_id: UserId(Uuid::from_u128(2)),
            content: Ciphertext {
                encrypted_content: "content".into(),
                encrypted_session_key: "key".into(),
                sender_encrypted_content: None,
                crypto_version: "v1".into(),
                encryption_algorithm: "ECDH-AES256-GCM".into(),
                kdf_algorithm: "HKDF-SHA256".into(),
                signatures: None,
            },
            reply_to: None,
            client_id: None,
            via: Via::Send,
            expires_at: "2026-01-31T10:30:00Z".parse().expect("a time"),
        }
    }

    #[test]
    fn a_draft_becomes_a_message_of_its_two_peoples_conversation() {
        let event = sent(draft());
        assert_eq!(event.conversation_id, conversation_id(event.recipient_id, event.sender_id));
        TestFramework::<Message>::with(())
            .given_no_previous_events()
            .when(MessageCommand::Send(Box::new(draft())))
            .then_expect_events(vec![MessageEvent::Sent(event)]);
    }

    #[test]
    fn a_message_is_sent_once() {
        TestFramework::<Message>::with(())
            .given(vec![MessageEvent::Sent(sent(draft()))])
            .when(MessageCommand::Send(Box::new(draft())))
            .then_expect_error(MessageRefused::SentAlready);
    }

    #[test]
    fn people_can_write_to_themselves() {
        let note = Draft { recipient_id: draft().sender_id, ..draft() };
        TestFramework::<Message>::with(())
            .given_no_previous_events()
            .when(MessageCommand::Send(Box::new(note.clone())))
            .then_expect_events(vec![MessageEvent::Sent(sent(note))]);
    }

    fn deleted() -> MessageEvent {
        let sent = sent(draft());
        let (message_id, conversation_id) = (sent.message_id, sent.conversation_id);
        MessageEvent::Deleted(MessageDeleted { message_id, conversation_id, sender_id: sent.sender_id, recipient_id: sent.recipient_id })
    }

    #[test]
    fn its_sender_takes_a_message_back_once() {
        let delete = || MessageCommand::Delete { by: draft().sender_id };
        TestFramework::<Message>::with(())
            .given(vec![MessageEvent::Sent(sent(draft()))])
            .when(delete())
            .then_expect_events(vec![deleted()]);
        TestFramework::<Message>::with(())
            .given(vec![MessageEvent::Sent(sent(draft())), deleted()])
            .when(delete())
            .then_expect_events(vec![]);
    }

    #[test]
    fn nobody_else_takes_it_back_and_nobody_sends_it_again() {
        for by in [draft().recipient_id, UserId(Uuid::from_u128(9))] {
            TestFramework::<Message>::with(())
                .given(vec![MessageEvent::Sent(sent(draft()))])
                .when(MessageCommand::Delete { by })
                .then_expect_error(MessageRefused::NotTheSender);
        }
        TestFramework::<Message>::with(())
            .given_no_previous_events()
            .when(MessageCommand::Delete { by: draft().sender_id })
            .then_expect_error(MessageRefused::Unknown);
        TestFramework::<Message>::with(())
            .given(vec![MessageEvent::Sent(sent(draft())), deleted()])
            .when(MessageCommand::Send(Box::new(draft())))
            .then_expect_error(MessageRefused::SentAlready);
    }
}
