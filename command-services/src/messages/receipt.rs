//! The `receipt` aggregate: a stream of one event, since a user gives a receipt of a kind for a message once.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::messages::{MessageDelivered, MessageSent, ReceiptEvent};
use schemas::{ConversationId, Event, MessageId, ReceiptId, UserId, receipt_id};
use serde::{Deserialize, Serialize};

/// Whether a message has arrived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    given: bool,
}

/// What one can say about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptCommand {
    /// That it has arrived.
    Deliver {
        /// The message.
        message: SentMessage,
        /// Who says so.
        by: UserId,
    },
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
}

impl From<&MessageSent> for SentMessage {
    fn from(sent: &MessageSent) -> Self {
        Self {
            message_id: sent.message_id,
            conversation_id: sent.conversation_id,
            sender_id: sent.sender_id,
            recipient_id: sent.recipient_id,
        }
    }
}

/// Why a receipt is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptRefused {
    /// Only its recipient can say that a message has arrived.
    #[error("this message is somebody else's")]
    NotTheRecipient,
}

/// The one receipt that a user can give for having received a message.
pub fn id_of(message: &SentMessage, by: UserId) -> ReceiptId {
    receipt_id(message.message_id, by, "delivered")
}

impl Aggregate for Receipt {
    const TYPE: &'static str = ReceiptEvent::AGGREGATE;
    type Command = ReceiptCommand;
    type Event = ReceiptEvent;
    type Error = ReceiptRefused;
    type Services = ();

    async fn handle(&mut self, command: ReceiptCommand, (): &(), sink: &EventSink<Self>) -> Result<(), ReceiptRefused> {
        match command {
            ReceiptCommand::Deliver { message, by } if message.recipient_id != by => Err(ReceiptRefused::NotTheRecipient),
            ReceiptCommand::Deliver { .. } if self.given => Ok(()),
            ReceiptCommand::Deliver { message, by } => {
                let event = MessageDelivered {
                    receipt_id: id_of(&message, by),
                    message_id: message.message_id,
                    conversation_id: message.conversation_id,
                    sender_id: message.sender_id,
                    user_id: by,
                };
                sink.write(ReceiptEvent::Delivered(event), self).await;
                Ok(())
            }
        }
    }

    fn apply(&mut self, event: ReceiptEvent) {
        match event {
            ReceiptEvent::Delivered(_) => self.given = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Receipt, ReceiptCommand, ReceiptRefused, SentMessage, id_of};
    use cqrs_es::test::TestFramework;
    use schemas::messages::{MessageDelivered, ReceiptEvent};
    use schemas::{MessageId, UserId, conversation_id};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    fn message() -> SentMessage {
        SentMessage {
            message_id: MessageId(Uuid::from_u128(10)),
            conversation_id: conversation_id(ANN, BOB),
            sender_id: ANN,
            recipient_id: BOB,
        }
    }

    fn delivered() -> ReceiptEvent {
        ReceiptEvent::Delivered(MessageDelivered {
            receipt_id: id_of(&message(), BOB),
            message_id: message().message_id,
            conversation_id: message().conversation_id,
            sender_id: ANN,
            user_id: BOB,
        })
    }

    #[test]
    fn its_recipient_says_that_a_message_has_arrived() {
        TestFramework::<Receipt>::with(())
            .given_no_previous_events()
            .when(ReceiptCommand::Deliver { message: message(), by: BOB })
            .then_expect_events(vec![delivered()]);
    }

    #[test]
    fn saying_it_again_changes_nothing() {
        TestFramework::<Receipt>::with(())
            .given(vec![delivered()])
            .when(ReceiptCommand::Deliver { message: message(), by: BOB })
            .then_expect_events(vec![]);
    }

    #[test]
    fn nobody_else_can_say_it_not_even_the_sender() {
        for by in [ANN, UserId(Uuid::from_u128(3))] {
            TestFramework::<Receipt>::with(())
                .given_no_previous_events()
                .when(ReceiptCommand::Deliver { message: message(), by })
                .then_expect_error(ReceiptRefused::NotTheRecipient);
        }
    }
}
