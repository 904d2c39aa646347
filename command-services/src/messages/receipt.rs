//! The `receipt` aggregate: a stream of one event, since a user gives a receipt of a kind for a message once.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::messages::{MessageDelivered, MessageRead, MessageReadUpTo, MessageSent, ReceiptEvent};
use schemas::{ConversationId, Event, MessageId, ReceiptId, UserId, receipt_id};
use serde::{Deserialize, Serialize};

/// Whether it has been given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    given: bool,
}

/// What one can say about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiptCommand {
    /// What.
    pub kind: Kind,
    /// About which one.
    pub message: SentMessage,
    /// Who says so.
    pub by: UserId,
}

/// What a receipt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has arrived.
    Delivered,
    /// It was read.
    Read,
    /// It was read, and everything before it in its conversation.
    ReadUpTo,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::ReadUpTo => "read_up_to",
        }
    }
}

/// What a receipt must know of its message: who may give it, and where it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SentMessage {
    /// The message.
    pub message_id: MessageId,
    /// Its conversation.
    pub conversation_id: ConversationId,
    /// Its author.
    pub sender_id: UserId,
    /// Who is to receive it.
    pub recipient_id: UserId,
    /// Its place in the ledger.
    pub position: i64,
}

impl SentMessage {
    /// The message of an event at its position.
    pub fn of(sent: &MessageSent, position: i64) -> Self {
        let MessageSent { message_id, conversation_id, sender_id, recipient_id, .. } = *sent;
        Self { message_id, conversation_id, sender_id, recipient_id, position }
    }
}

/// Why a receipt is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefused {
    /// Only its recipient can say that a message has arrived, or that they have read it.
    #[error("this message is somebody else's")]
    NotTheRecipient,
}

impl ReceiptCommand {
    /// The one receipt of this kind that the user can give for the message.
    pub fn id(&self) -> ReceiptId {
        receipt_id(self.message.message_id, self.by, self.kind.name())
    }

    fn event(&self) -> ReceiptEvent {
        let SentMessage { message_id, conversation_id, sender_id, recipient_id, position } = self.message;
        let (receipt_id, user_id) = (self.id(), self.by);
        match self.kind {
            Kind::Delivered => ReceiptEvent::Delivered(MessageDelivered { receipt_id, message_id, conversation_id, sender_id, user_id }),
            Kind::Read => ReceiptEvent::Read(MessageRead { receipt_id, message_id, conversation_id, sender_id, user_id }),
            Kind::ReadUpTo => {
                let peer_id = if user_id == sender_id { recipient_id } else { sender_id };
                ReceiptEvent::ReadUpTo(MessageReadUpTo {
                    receipt_id,
                    conversation_id,
                    peer_id,
                    user_id,
                    message_id,
                    up_to_position: position,
                })
            }
        }
    }
}

impl Aggregate for Receipt {
    const TYPE: &'static str = ReceiptEvent::AGGREGATE;
    type Command = ReceiptCommand;
    type Event = ReceiptEvent;
    type Error = ReceiptRefused;
    type Services = ();

    async fn handle(&mut self, command: ReceiptCommand, (): &(), sink: &EventSink<Self>) -> Result<(), ReceiptRefused> {
        let ReceiptCommand { kind, message, by } = command;
        // Up to a message of one's own can be read as well.
        let may = by == message.recipient_id || kind == Kind::ReadUpTo && by == message.sender_id;
        if !may {
            return Err(ReceiptRefused::NotTheRecipient);
        }
        if !self.given {
            sink.write(command.event(), self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: ReceiptEvent) {
        match event {
            ReceiptEvent::Delivered(_) | ReceiptEvent::Read(_) | ReceiptEvent::ReadUpTo(_) => self.given = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, Receipt, ReceiptCommand, ReceiptRefused, SentMessage};
    use cqrs_es::test::TestFramework;
    use schemas::messages::{MessageReadUpTo, ReceiptEvent};
    use schemas::{MessageId, UserId, conversation_id};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    fn says(by: UserId, kind: Kind) -> ReceiptCommand {
        let message = SentMessage {
            message_id: MessageId(Uuid::from_u128(10)),
            conversation_id: conversation_id(ANN, BOB),
            sender_id: ANN,
            recipient_id: BOB,
            position: 7,
        };
        ReceiptCommand { kind, message, by }
    }

    #[test]
    fn its_recipient_says_once_that_a_message_has_arrived_and_was_read() {
        for kind in [Kind::Delivered, Kind::Read, Kind::ReadUpTo] {
            let command = says(BOB, kind);
            TestFramework::<Receipt>::with(()).given_no_previous_events().when(command).then_expect_events(vec![command.event()]);
            TestFramework::<Receipt>::with(()).given(vec![command.event()]).when(command).then_expect_events(vec![]);
        }
    }

    #[test]
    fn receipts_of_different_kinds_are_different_receipts() {
        let ids = [Kind::Delivered, Kind::Read, Kind::ReadUpTo].map(|kind| says(BOB, kind).id());
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
        assert_ne!(says(ANN, Kind::ReadUpTo).id(), ids[2]);
    }

    #[test]
    fn nobody_else_can_say_it_not_even_the_sender() {
        let carl = UserId(Uuid::from_u128(3));
        for command in [
            says(ANN, Kind::Delivered),
            says(ANN, Kind::Read),
            says(carl, Kind::Delivered),
            says(carl, Kind::Read),
            says(carl, Kind::ReadUpTo),
        ] {
            TestFramework::<Receipt>::with(()).given_no_previous_events().when(command).then_expect_error(ReceiptRefused::NotTheRecipient);
        }
    }

    #[test]
    fn either_of_the_two_reads_up_to_a_message_of_their_conversation() {
        for (by, peer_id) in [(ANN, BOB), (BOB, ANN)] {
            let command = says(by, Kind::ReadUpTo);
            TestFramework::<Receipt>::with(()).given_no_previous_events().when(command).then_expect_events(vec![ReceiptEvent::ReadUpTo(
                MessageReadUpTo {
                    receipt_id: command.id(),
                    conversation_id: conversation_id(ANN, BOB),
                    peer_id,
                    user_id: by,
                    message_id: MessageId(Uuid::from_u128(10)),
                    up_to_position: 7,
                },
            )]);
        }
    }
}
