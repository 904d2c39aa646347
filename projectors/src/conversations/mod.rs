//! History of direct messages: who said what to whom, in order, with its state.
//!
//! A row per message from `message.sent`; `message.delivered` dates its receipt. Both carry the conversation as their
//! key, so a receipt never comes before its message; it often comes in the same batch, and is then folded into the row.

mod apply;

use std::collections::HashMap;

use platform::log::{ApplyError, Batch, Projection, ProjectionTx};
use schemas::messages::{MessageEvent, MessageSent, MessagesEvent, ReceiptEvent};
use schemas::read_models;
use schemas::{MessageId, Timestamp};

/// The projection behind `GET /messages/conversation/{user_id}`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Conversations;

/// A message that was sent in the batch, with what became of it there.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was sent.
    pub sent: MessageSent,
    /// Its place in the ledger.
    pub position: i64,
    /// When it was sent.
    pub recorded_at: Timestamp,
    /// When its recipient had it.
    pub delivered_at: Option<Timestamp>,
}

/// A batch, folded: messages that are new in it, and receipts of messages that stand already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fold {
    /// New messages, in the order of the batch.
    pub sent: Vec<Row>,
    /// Receipts of messages of earlier batches: the first one counts.
    pub delivered: HashMap<MessageId, Timestamp>,
    index: HashMap<MessageId, usize>,
}

impl Fold {
    /// Folds events in their order.
    ///
    /// # Errors
    /// [`ApplyError::Event`] for one that cannot be read.
    pub fn of(batch: Batch<'_>) -> Result<Self, ApplyError> {
        let mut fold = Self::default();
        for event in batch {
            match MessagesEvent::decode(event).map_err(|e| ApplyError::decode(event, &e))? {
                MessagesEvent::Message(MessageEvent::Sent(sent)) => fold.send(sent, event.position, event.recorded_at),
                MessagesEvent::Receipt(ReceiptEvent::Delivered(receipt)) => fold.deliver(receipt.message_id, event.recorded_at),
            }
        }
        Ok(fold)
    }

    fn send(&mut self, sent: MessageSent, position: i64, recorded_at: Timestamp) {
        let next = self.sent.len();
        if *self.index.entry(sent.message_id).or_insert(next) == next {
            let delivered_at = self.delivered.remove(&sent.message_id);
            self.sent.push(Row { sent, position, recorded_at, delivered_at });
        }
    }

    fn deliver(&mut self, message: MessageId, at: Timestamp) {
        match self.index.get(&message) {
            Some(&row) => {
                self.sent[row].delivered_at.get_or_insert(at);
            }
            None => {
                self.delivered.entry(message).or_insert(at);
            }
        }
    }
}

impl Projection for Conversations {
    type Model = read_models::Conversations;
    type Folded = Fold;

    const BUILD: i32 = 1;
    const SCHEMA: &'static str = include_str!("schema.sql");

    async fn fold(&self, batch: Batch<'_>) -> Result<Fold, ApplyError> {
        Fold::of(batch)
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
        if !fold.sent.is_empty() {
            apply::insert_sent(tx, &fold.sent).await?;
        }
        if !fold.delivered.is_empty() {
            apply::mark_delivered(tx, &fold.delivered).await?;
        }
        Ok(())
    }
}
