//! Saying that one has read: `PUT /messages/{id}/read`, `PUT /messages/conversation/{user_id}/read`.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, put};
use platform::http::{Id, Params, Problem, RequestContext, Valid, Validate, Violation, Violations, Written, detached};
use platform::ledger::{CommitError, Committed, Context};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::{MessageId, UserId, conversation_id};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Messages;
use super::receipt::{Kind, ReceiptCommand};
use super::receipts;

pub(super) fn routes() -> Api<Messages> {
    Api::new()
        .route(
            put("/messages/{id}/read", http_read)
                .says(
                    "messages.read",
                    "I have read a message",
                    "Marks a message to the caller as read. Safe to repeat, from any number of devices. Its sender sees it unless the reader's settings say otherwise.",
                )
                .path("id", "The message.")
                .counts(Class::Vital)
                .refuses([ReadRefused::Unknown, ReadRefused::NotTheRecipient]),
        )
        .route(
            put("/messages/conversation/{user_id}/read", http_read_up_to)
                .says(
                    "messages.readUpTo",
                    "I have read a conversation",
                    "Marks everything in the conversation with somebody as read, up to and including a message of either of the two. What arrives meanwhile stays unread.",
                )
                .path("user_id", "The other person.")
                .counts(Class::Vital)
                .example(json!({"up_to": "0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f"}))
                .refuses([ReadRefused::Elsewhere]),
        )
}

/// Why something cannot be marked as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadRefused {
    /// There is no such message, or not any more.
    #[error("no such message")]
    Unknown,
    /// It was sent to somebody else.
    #[error("only its recipient reads a message")]
    NotTheRecipient,
    /// The message up to which is read is none of this conversation.
    #[error("no message of this conversation")]
    Elsewhere,
}

/// Why it was not.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// For a reason that its reader understands.
    #[error(transparent)]
    Refused(#[from] ReadRefused),
    /// The ledger did not store it.
    #[error(transparent)]
    Ledger(#[from] CommitError),
    /// The message could not be looked up.
    #[error("whether there is such a message is not known")]
    Unsettled(Problem),
}

/// Marks one message as read. Safe to repeat, from any number of devices at once: there is one receipt.
///
/// # Errors
/// [`ReadError`]
#[tracing::instrument(name = "command.message.read", skip_all, fields(aggregate.id = %message))]
pub async fn read(messages: &Messages, context: Context, by: UserId, message: MessageId) -> Result<Committed, ReadError> {
    let found = receipts::find(messages, message).await.map_err(ReadError::Unsettled)?.ok_or(ReadRefused::Unknown)?;
    if found.message.recipient_id != by {
        return Err(ReadRefused::NotTheRecipient.into());
    }
    if found.is_deleted {
        return Err(ReadRefused::Unknown.into());
    }
    let command = ReceiptCommand { kind: Kind::Read, message: found.message, by };
    Ok(receipts::give(messages, context, command).await?.ok_or(ReadRefused::NotTheRecipient)?)
}

/// Marks a message of a conversation, and everything that stands before it there, as read. The message may be of either of the two, and may be deleted by now: it is
/// its place that counts. What arrives later stays unread.
///
/// # Errors
/// [`ReadError`]
#[tracing::instrument(name = "command.message.read_up_to", skip_all, fields(aggregate.id = %message))]
pub async fn read_up_to(
    messages: &Messages,
    context: Context,
    by: UserId,
    peer: UserId,
    message: MessageId,
) -> Result<Committed, ReadError> {
    let found = receipts::find(messages, message).await.map_err(ReadError::Unsettled)?.ok_or(ReadRefused::Elsewhere)?;
    if found.message.conversation_id != conversation_id(by, peer) {
        return Err(ReadRefused::Elsewhere.into());
    }
    let command = ReceiptCommand { kind: Kind::ReadUpTo, message: found.message, by };
    Ok(receipts::give(messages, context, command).await?.ok_or(ReadRefused::Elsewhere)?)
}

/// Which messages of a conversation have been read.
#[derive(Debug, Deserialize, JsonSchema)]
struct UpTo {
    /// The last message that was read, of either of the two: it and everything before it count as read.
    up_to: MessageId,
    #[schemars(skip)]
    user_id: Option<UserId>,
    #[schemars(skip)]
    #[serde(default, deserialize_with = "super::send::when_it_is_one")]
    current_user_id: Option<UserId>,
}

impl Validate for UpTo {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.user_id, self.current_user_id]
    }
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "ReadStatus")]
struct Status {
    /// A sentence.
    status: &'static str,
}

/// Marks a message as read by the caller, who must be its recipient. 404 for one that is unknown or was deleted.
async fn http_read(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Id(message): Id<MessageId>,
) -> Result<Written<Json<Status>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    let shutdown = messages.shutdown.clone();
    let committed = detached(&shutdown, async move { Ok(read(&messages, context, caller.user, message).await?) }).await?;
    Ok(Written(committed.token, Json(Status { status: "Message marked as read" })))
}

/// Marks everything in the conversation with somebody as read by the caller, up to a message. 422 for one that is not of this conversation.
async fn http_read_up_to(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Id(peer): Id<UserId>,
    Valid { body, .. }: Valid<UpTo>,
) -> Result<Written<Json<Status>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    let shutdown = messages.shutdown.clone();
    let committed = detached(&shutdown, async move { Ok(read_up_to(&messages, context, caller.user, peer, body.up_to).await?) }).await?;
    Ok(Written(committed.token, Json(Status { status: "Messages marked as read" })))
}

impl From<ReadRefused> for Problem {
    fn from(refused: ReadRefused) -> Self {
        match refused {
            ReadRefused::Unknown => Self::not_found("message_unknown", "Message not found"),
            ReadRefused::NotTheRecipient => Self::forbidden("not_the_recipient", "Only its recipient can mark a message as read"),
            ReadRefused::Elsewhere => {
                Self::invalid(vec![Violation { field: "up_to".into(), message: "is no message of this conversation".into() }])
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refused) => refused.into(),
            ReadError::Ledger(error) => error.into(),
            ReadError::Unsettled(problem) => problem,
        }
    }
}
