//! A batch of events as rows.

use std::collections::{BTreeMap, HashMap, HashSet};

use platform::log::{ApplyError, Batch};
use schemas::messages::{MessageEvent, MessageReadUpTo, MessageSent, MessagesEvent, ReceiptEvent};
use schemas::{ConversationId, MessageId, Timestamp, UserId};

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
    /// When its recipient read it.
    pub read_at: Option<Timestamp>,
}

impl Row {
    /// The first time counts. What is read without having been delivered is thereby delivered.
    fn was_read(&mut self, at: Timestamp) {
        self.read_at.get_or_insert(at);
        self.delivered_at.get_or_insert(at);
    }
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// What a reader said at some time to have read: the positions above one and up to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpTo {
    /// What they had said before, in this batch.
    pub above: i64,
    /// The last one that is read.
    pub up_to: i64,
    /// When they said so.
    pub at: Timestamp,
}

/// When something was last said in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Activity {
    pub low: UserId,
    pub high: UserId,
    pub last: (Timestamp, i64),
}

/// A batch, folded: messages that are new in it, and what happened to messages that stand already.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fold {
    /// New messages, in the order of the batch.
    pub sent: Vec<Row>,
    /// Arrivals of messages of earlier batches: the first one counts.
    pub delivered: HashMap<MessageId, Timestamp>,
    /// Messages of earlier batches that were read: the first time counts.
    pub read: HashMap<MessageId, Timestamp>,
    /// Per conversation and reader, in their order: ranges that do not overlap.
    pub read_up_to: BTreeMap<(ConversationId, UserId), Vec<UpTo>>,
    /// What was deleted, wherever it was sent.
    pub deleted: HashSet<MessageId>,
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
            let at = event.recorded_at;
            match MessagesEvent::decode(event).map_err(|e| ApplyError::decode(event, &e))? {
                MessagesEvent::Message(MessageEvent::Sent(sent)) => fold.send(sent, event.position, at),
                MessagesEvent::Message(MessageEvent::Deleted(deleted)) => {
                    fold.deleted.insert(deleted.message_id);
                }
                MessagesEvent::Receipt(ReceiptEvent::Delivered(receipt)) => fold.deliver(receipt.message_id, at),
                MessagesEvent::Receipt(ReceiptEvent::Read(receipt)) => fold.read(receipt.message_id, at),
                MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(receipt)) => fold.read_up_to(&receipt, at),
            }
        }
        Ok(fold)
    }

    fn send(&mut self, sent: MessageSent, position: i64, recorded_at: Timestamp) {
        let next = self.sent.len();
        if *self.index.entry(sent.message_id).or_insert(next) == next {
            let (delivered_at, read_at) = (self.delivered.remove(&sent.message_id), self.read.remove(&sent.message_id));
            self.sent.push(Row { sent, position, recorded_at, delivered_at: earlier(delivered_at, read_at), read_at });
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

    fn read(&mut self, message: MessageId, at: Timestamp) {
        match self.index.get(&message) {
            Some(&row) => {
                self.sent[row].was_read(at);
            }
            None => {
                self.read.entry(message).or_insert(at);
            }
        }
    }

    fn read_up_to(&mut self, receipt: &MessageReadUpTo, at: Timestamp) {
        for row in &mut self.sent {
            let sent = &row.sent;
            if sent.conversation_id == receipt.conversation_id
                && sent.recipient_id == receipt.user_id
                && row.position <= receipt.up_to_position
            {
                row.was_read(at);
            }
        }
        let ranges = self.read_up_to.entry((receipt.conversation_id, receipt.user_id)).or_default();
        let above = ranges.last().map_or(0, |last| last.up_to);
        if receipt.up_to_position > above {
            ranges.push(UpTo { above, up_to: receipt.up_to_position, at });
        }
    }

    /// Whether messages were sent, and nothing happened to others.
    pub(super) fn is_all_sent(&self) -> bool {
        self.delivered.is_empty() && self.read_up_to.is_empty() && self.read.is_empty() && self.deleted.is_empty()
    }

    /// Of each conversation in which something was said.
    pub(super) fn activity(&self) -> BTreeMap<ConversationId, Activity> {
        let mut activity: BTreeMap<ConversationId, Activity> = BTreeMap::new();
        for row in &self.sent {
            let (sender, recipient, last) = (row.sent.sender_id, row.sent.recipient_id, (row.recorded_at, row.position));
            let (low, high) = if sender <= recipient { (sender, recipient) } else { (recipient, sender) };
            let newest = activity.entry(row.sent.conversation_id).or_insert(Activity { low, high, last });
            newest.last = newest.last.max(last);
        }
        activity
    }
}
