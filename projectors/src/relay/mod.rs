//! What has not been acknowledged yet: the truth of the offline queue.
//!
//! A row from `message.sent` (unless it has no `expires_at`: such a message never waits), gone with `message.delivered`, `message.read`, a `message.read_up_to` that covers it, or
//! `message.deleted`. How many deliveries there have been is counted beside it.
//! Why an acknowledged message never comes back stands in `docs/decisions/0011-acknowledged-stays-acknowledged.md`.

mod apply;

use std::collections::{HashMap, HashSet};

use platform::log::{ApplyError, Batch, Move, Moved, Projection, ProjectionTx};
use schemas::messages::{MessageEvent, MessageReadUpTo, MessageSent, MessagesEvent, ReceiptEvent};
use schemas::read_models;
use schemas::{MessageId, Timestamp, UserId, partition};
use sqlx::PgConnection;

/// The projection behind `GET /relay/pending`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Relay;

/// A message that waits.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was sent.
    pub sent: MessageSent,
    /// Its place in the ledger.
    pub position: i64,
    /// When it was sent.
    pub recorded_at: Timestamp,
    /// Until when it waits.
    pub expires_at: Timestamp,
}

/// A batch, folded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fold {
    /// What begins to wait and still does at the end of the batch.
    pub waiting: HashMap<MessageId, Row>,
    /// What was acknowledged, read or deleted in it, wherever it was sent.
    pub gone: HashSet<MessageId>,
    /// Reader and peer, and the position up to which the reader has read what the peer sent.
    pub read_up_to: HashMap<(UserId, UserId), i64>,
    /// Each delivery: its slot ([`SLOTS`]) and its position.
    pub receipts: Vec<(i32, i64)>,
}

/// Receipts are counted per partition of the topic's first generation, which are whole partitions of any generation with a multiple of as many: within a slot
/// positions only rise, so that the highest tells a repeat from news.
pub const SLOTS: i32 = 12;

impl Fold {
    /// Folds events in their order; an acknowledgement, a reading or a deletion wins over its message wherever it stands.
    ///
    /// # Errors
    /// [`ApplyError::Event`] for one that cannot be read.
    pub fn of(batch: Batch<'_>) -> Result<Self, ApplyError> {
        let mut fold = Self::default();
        for event in batch {
            match MessagesEvent::decode(event).map_err(|e| ApplyError::decode(event, &e))? {
                MessagesEvent::Message(MessageEvent::Sent(sent)) => fold.send(sent, event.position, event.recorded_at),
                MessagesEvent::Message(MessageEvent::Deleted(deleted)) => fold.take_out(deleted.message_id),
                MessagesEvent::Receipt(ReceiptEvent::Delivered(receipt)) => {
                    fold.take_out(receipt.message_id);
                    fold.receipts.push((partition(event.key_hash, SLOTS), event.position));
                }
                MessagesEvent::Receipt(ReceiptEvent::Read(receipt)) => fold.take_out(receipt.message_id),
                MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(receipt)) => fold.take_out_up_to(&receipt),
            }
        }
        Ok(fold)
    }

    /// Whether messages begin to wait, and nothing else happens.
    fn is_all_waiting(&self) -> bool {
        self.gone.is_empty() && self.read_up_to.is_empty() && self.receipts.is_empty()
    }

    fn take_out(&mut self, message: MessageId) {
        self.waiting.remove(&message);
        self.gone.insert(message);
    }

    fn take_out_up_to(&mut self, read: &MessageReadUpTo) {
        let (reader, peer, up_to) = (read.user_id, read.peer_id, read.up_to_position);
        self.waiting.retain(|_, row| !(row.sent.recipient_id == reader && row.sent.sender_id == peer && row.position <= up_to));
        let known = self.read_up_to.entry((reader, peer)).or_insert(up_to);
        *known = up_to.max(*known);
    }

    fn send(&mut self, sent: MessageSent, position: i64, recorded_at: Timestamp) {
        // Compared with the message's own time, not with the clock, so that a rebuild gives the same rows.
        let Some(expires_at) = sent.expires_at.filter(|expires_at| *expires_at > recorded_at) else { return };
        let read = self.read_up_to.get(&(sent.recipient_id, sent.sender_id)).is_some_and(|up_to| position <= *up_to);
        if !read && !self.gone.contains(&sent.message_id) {
            self.waiting.insert(sent.message_id, Row { sent, position, recorded_at, expires_at });
        }
    }
}

impl Projection for Relay {
    type Model = read_models::Relay;
    type Folded = Fold;

    const BUILD: i32 = 3;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        Fold::of(batch)
    }

    async fn apply_at_once(&self, connection: &mut PgConnection, to: &Move, fold: &Fold) -> Result<Option<Moved>, sqlx::Error> {
        if !fold.is_all_waiting() {
            return Ok(None);
        }
        apply::insert_waiting(connection, to, &fold.waiting).await.map(Some)
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if !fold.waiting.is_empty() {
            apply::insert_waiting(tx, &Move::default(), &fold.waiting).await?;
        }
        if !fold.gone.is_empty() {
            apply::remove(tx, &fold.gone).await?;
        }
        if !fold.read_up_to.is_empty() {
            apply::remove_up_to(tx, &fold.read_up_to).await?;
        }
        if !fold.receipts.is_empty() {
            apply::count_receipts(tx, &fold.receipts).await?;
        }
        Ok(())
    }
}
