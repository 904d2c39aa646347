//! What events mean to sockets.

use std::sync::Arc;

use platform::crash::sabotaged;
use platform::frames::{Append, Block};
use platform::log::ApplyError;
use schemas::frames::{Body, Entry, Frame};
use schemas::messages::{MessageEvent, MessageSent, MessagesEvent, ReceiptEvent, Via};
use schemas::users::{BlockEvent, ContactAdded, ContactEvent, ContactOrigin};
use schemas::{Event, MessageId, Recorded, Topic, UserId};
use serde::Serialize;
use serde_json::value::to_raw_value;
use uuid::Uuid;

/// What some events do to the logs, in their order.
#[derive(Debug, Clone, Default)]
pub struct Fold {
    /// See [`platform::frames::Step::appends`].
    pub appends: Vec<Append>,
    /// See [`platform::frames::Step::bodies`].
    pub bodies: Vec<(Uuid, String)>,
    /// See [`platform::frames::Step::blocks`].
    pub blocks: Vec<Block>,
}

/// Who is told, and of which event.
struct Told<'e> {
    event: &'e Recorded,
    partition: i32,
}

impl Fold {
    /// Adds an event of a partition.
    ///
    /// # Errors
    /// [`ApplyError::Event`] for one that cannot be read; nothing was added.
    pub fn add(&mut self, event: &Recorded, partition: i32) -> Result<(), ApplyError> {
        let told = Told { event, partition };
        match event.topic {
            Topic::Messages => match MessagesEvent::decode(event).map_err(|error| ApplyError::decode(event, &error))? {
                MessagesEvent::Message(MessageEvent::Sent(sent)) if sent.via == Via::Backfill => {}
                MessagesEvent::Message(MessageEvent::Sent(sent)) => self.sent(&told, sent)?,
                MessagesEvent::Message(MessageEvent::Deleted(deleted)) => {
                    self.bodies.retain(|(id, _)| *id != deleted.message_id.0);
                    let (id, from, to) = (deleted.message_id, deleted.sender_id, deleted.recipient_id);
                    let frame = || vec![Frame::Deleted { id, from, to }];
                    self.tell(&told, from, frame(), None)?;
                    if to != from {
                        self.tell(&told, to, frame(), Some((from, to)))?;
                    }
                }
                MessagesEvent::Receipt(ReceiptEvent::Delivered(receipt)) => {
                    let frame = Frame::Delivered { id: receipt.message_id, by: receipt.user_id };
                    self.tell(&told, receipt.sender_id, vec![frame], Some((receipt.user_id, receipt.sender_id)))?;
                }
                MessagesEvent::Receipt(ReceiptEvent::Read(receipt)) => {
                    self.read(&told, receipt.sender_id, receipt.user_id, receipt.message_id, false)?;
                }
                MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(receipt)) => {
                    self.read(&told, receipt.peer_id, receipt.user_id, receipt.message_id, true)?;
                }
            },
            Topic::Users if event.aggregate_type == ContactEvent::AGGREGATE => {
                if let ContactEvent::Added(added) = ContactEvent::decode(event).map_err(|error| ApplyError::decode(event, &error))? {
                    self.contact(&told, &added)?;
                }
            }
            Topic::Users if event.aggregate_type == BlockEvent::AGGREGATE => {
                let (by, towards, stands) = match BlockEvent::decode(event).map_err(|error| ApplyError::decode(event, &error))? {
                    BlockEvent::Placed(placed) => (placed.user_id, placed.blocked_id, true),
                    BlockEvent::Lifted(lifted) => (lifted.user_id, lifted.blocked_id, false),
                };
                self.blocks.push(Block { by, towards, stands, partition, position: event.position });
                if !stands {
                    for (user, between) in [(by, towards), (towards, by)] {
                        self.tell(&told, user, vec![Frame::Lifted { between }], Some((by, towards)))?;
                    }
                }
            }
            Topic::Users | Topic::Auth => {}
        }
        Ok(())
    }

    /// The folds of many events, one after the other. Those that cannot be read are handed to `unreadable` and passed over.
    pub fn of<'e>(events: impl IntoIterator<Item = (&'e Arc<Recorded>, i32)>, mut unreadable: impl FnMut(ApplyError)) -> Self {
        let mut fold = Self::default();
        for (event, partition) in events {
            if let Err(error) = fold.add(event, partition) {
                unreadable(error);
            }
        }
        fold
    }

    fn sent(&mut self, told: &Told<'_>, sent: MessageSent) -> Result<(), ApplyError> {
        let (id, from, to) = (sent.message_id, sent.sender_id, sent.recipient_id);
        let at = told.event.recorded_at;
        let signatures = sent.signatures.map(|signatures| to_raw_value(&signatures)).transpose().map_err(|error| told.odd(&error))?;
        let body = Body {
            message_id: id,
            sender_id: from,
            recipient_id: to,
            encrypted_content: sent.encrypted_content,
            encrypted_session_key: sent.encrypted_session_key,
            crypto_version: sent.crypto_version,
            encryption_algorithm: sent.encryption_algorithm,
            kdf_algorithm: sent.kdf_algorithm,
            signatures,
            at,
        };
        let body = told.json(&body)?;
        let message = Frame::Message { id, from, relay: sent.via == Via::Relay };
        let accepted = Frame::Sent { id, to, client: sent.client_id };
        self.bodies.push((id.0, body));
        if from == to {
            return self.tell(told, to, vec![message, accepted], None);
        }
        self.tell(told, to, vec![message], Some((from, to)))?;
        self.tell(told, from, vec![accepted], None)
    }

    fn read(&mut self, told: &Told<'_>, author: UserId, by: UserId, id: MessageId, up_to: bool) -> Result<(), ApplyError> {
        self.tell(told, author, vec![Frame::Read { id, by, up_to }], Some((by, author)))
    }

    /// An added contact is news for whom it is about, one that came otherwise for its owner.
    fn contact(&mut self, told: &Told<'_>, added: &ContactAdded) -> Result<(), ApplyError> {
        let (to, about) = match added.origin {
            ContactOrigin::Added => (added.contact_id, added.user_id),
            ContactOrigin::Invitation | ContactOrigin::Admin => (added.user_id, added.contact_id),
            ContactOrigin::Backfill => return Ok(()),
        };
        self.tell(told, to, vec![Frame::Contact { about }], Some((about, to)))
    }

    fn tell(&mut self, told: &Told<'_>, user: UserId, frames: Vec<Frame>, between: Option<(UserId, UserId)>) -> Result<(), ApplyError> {
        let body = frames.iter().find_map(|frame| match frame {
            Frame::Message { id, .. } => Some(id.0),
            _ => None,
        });
        let text = told.json(&Entry { at: told.event.recorded_at, frames })?;
        if sabotaged("frames.skip") {
            return Ok(());
        }
        self.appends.push(Append { user, partition: told.partition, position: told.event.position, text, body, between });
        Ok(())
    }
}

impl Told<'_> {
    fn odd(&self, error: &serde_json::Error) -> ApplyError {
        ApplyError::Event { event_id: self.event.event_id, position: self.event.position, reason: error.to_string() }
    }

    fn json(&self, value: &impl Serialize) -> Result<String, ApplyError> {
        serde_json::to_string(value).map_err(|error| self.odd(&error))
    }
}
