//! Giving a receipt: what acknowledging and reading have in common.
//!
//! The write side only: the message's first event, by primary key, says who may and where it belongs. No stream is loaded; that a receipt was given before shows
//! as a conflict of its key, and is the answer.

use platform::http::Problem;
use platform::ledger::{AppendError, CommitError, Committed, Context, ExecuteError};
use schemas::messages::{MessageEvent, ReceiptEvent};
use schemas::{Event, MessageId, Recorded};

use super::Messages;
use super::receipt::{Receipt, ReceiptCommand, ReceiptRefused, SentMessage};

/// A message as it was sent, and whether it still stands.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub message: SentMessage,
    pub is_deleted: bool,
}

/// Looks a message up.
///
/// # Errors
/// 503 when the ledger does not answer.
pub async fn find(messages: &Messages, message: MessageId) -> Result<Option<Found>, Problem> {
    let Some((first, last)) = messages.ledger.ends(MessageEvent::AGGREGATE, &message.to_string()).await? else { return Ok(None) };
    let message = match MessageEvent::decode(&first) {
        Ok(MessageEvent::Sent(sent)) => SentMessage::of(&sent, first.position),
        Ok(MessageEvent::Deleted(_)) => return Err(unreadable(&first)),
        Err(error) => {
            tracing::error!(%error, "a message that was sent cannot be read");
            return Err(Problem::internal());
        }
    };
    Ok(Some(Found { message, is_deleted: is_deletion(&last) }))
}

/// Nothing follows a deletion.
fn is_deletion(event_type: &str) -> bool {
    event_type == "message.deleted"
}

fn unreadable(first: &Recorded) -> Problem {
    tracing::error!(position = first.position, "a message begins with its deletion");
    Problem::internal()
}

/// Gives a receipt, or finds it given. `None`: the caller may not, and nothing was changed.
///
/// # Errors
/// [`CommitError`]
pub async fn give(messages: &Messages, context: Context, command: ReceiptCommand) -> Result<Option<Committed>, CommitError> {
    let id = command.id();
    let mut unit = messages.ledger.unit(context.clone());
    match unit.create::<Receipt>(id, command, &()).await {
        Ok(_) => {}
        Err(ExecuteError::Refused(ReceiptRefused::NotTheRecipient)) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    match unit.commit().await {
        Err(CommitError::Ledger(conflict @ AppendError::Conflict { .. })) => {
            let first = messages.ledger.first(ReceiptEvent::AGGREGATE, &id.to_string()).await?.ok_or(conflict)?;
            messages.ledger.unit(context).again(vec![first]).await.map(Some)
        }
        committed => committed.map(Some),
    }
}
