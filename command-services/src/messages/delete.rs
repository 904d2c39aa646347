//! Taking a message back: `DELETE /messages/{id}`.
//!
//! The deleting event makes every read model drop the content. In the ledger the message's first event stays where it is, chained and readable, but is blanked:
//! by the command itself, and, should it not get there, by housekeeping. What is still to be blanked is noted in the same append as the deletion.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::crash::crash_point;
use platform::http::api::{Api, delete};
use platform::http::{Id, Params, Problem, RequestContext, Written, detached};
use platform::ledger::{AppendError, CommitError, Committed, Context, Effect, Ledger, Redaction};
use schemars::JsonSchema;
use schemas::messages::MessageEvent;
use schemas::{Event, MessageId, UserId};
use serde::Serialize;

use super::Messages;
use super::message::{Message, MessageCommand, MessageRefused};

/// Notes in the ledger: messages whose first event is to be blanked.
const TO_BLANK: &str = "blank.message";

pub(super) fn routes() -> Api<Messages> {
    Api::new().route(
        delete("/messages/{id}", http_delete)
            .says(
                "messages.delete",
                "Take a message back",
                "Deletes a message of the caller's for both of its people: it leaves both histories, the recipient's queue and both inboxes. Deleting it again is fine.",
            )
            .path("id", "The message.")
            .refuses([MessageRefused::Unknown, MessageRefused::NotTheSender]),
    )
}

/// Takes a message back, for both of its people. Safe to repeat.
///
/// # Errors
/// `MessageRefused` within [`CommitError::Refused`], or what kept the ledger from storing it.
#[tracing::instrument(name = "command.message.delete", skip_all, fields(aggregate.id = %message))]
pub async fn delete_message(messages: &Messages, context: Context, by: UserId, message: MessageId) -> Result<Committed, CommitError> {
    let mut unit = messages.ledger.unit(context.clone());
    unit.execute::<Message>(message, MessageCommand::Delete { by }, &()).await?;
    if !unit.is_empty() {
        unit.effect(Effect::Put { kind: TO_BLANK, key: message.to_string(), value: Vec::new(), expires_at: None });
        let committed = unit.commit().await?;
        crash_point("delete.before_blanking");
        if let Err(error) = blank(&messages.ledger, message).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "a deleted message is left for housekeeping to blank");
        }
        if !committed.events.is_empty() {
            return Ok(committed);
        }
    }
    // Somebody was faster: what they wrote is the answer.
    let stream = messages.ledger.load(MessageEvent::AGGREGATE, &message.to_string()).await?;
    let deletion = stream.into_iter().filter(|event| event.event_type == "message.deleted").collect();
    messages.ledger.unit(context).again(deletion).await
}

/// Blanks every deleted message that has not been blanked yet. Says how many there were.
///
/// # Errors
/// [`AppendError::Unavailable`]
///
/// # Cancel safety
/// Safe: what was not blanked is found again.
pub async fn blank_deleted(ledger: &Ledger) -> Result<u64, AppendError> {
    let mut blanked = 0;
    for (message, _) in ledger.secrets_of(TO_BLANK).await? {
        if let Ok(message) = message.parse() {
            blank(ledger, message).await?;
            blanked += 1;
        }
    }
    Ok(blanked)
}

/// Leaves of the message's events who, to whom and when. Applied twice equals once.
async fn blank(ledger: &Ledger, message: MessageId) -> Result<(), AppendError> {
    let stream = ledger.load(MessageEvent::AGGREGATE, &message.to_string()).await?;
    let Some(deletion) = stream.iter().find(|event| event.event_type == "message.deleted") else { return Ok(()) };
    for event in &stream {
        match MessageEvent::decode(event) {
            Ok(MessageEvent::Sent(sent)) => {
                let payload = MessageEvent::Sent(sent.redacted()).payload().expect("nothing in a message is personal");
                ledger.redact(Redaction { event_id: event.event_id, position: event.position, payload, by: deletion.event_id }).await?;
            }
            Ok(MessageEvent::Deleted(_)) => {}
            Err(error) => {
                // Stays noted, so that a release that can read it blanks it.
                tracing::error!(%error, "an event of a deleted message cannot be read, and keeps its content");
                return Ok(());
            }
        }
    }
    ledger.forget_secret(TO_BLANK, &message.to_string()).await
}

/// What became of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeletionStatus")]
struct Status {
    /// A sentence.
    status: &'static str,
}

/// Deletes a message of the caller's, for both of its people. 403 for anybody else's, 404 for one that is unknown; deleting it again is fine.
async fn http_delete(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Id(message): Id<MessageId>,
) -> Result<Written<Json<Status>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    let shutdown = messages.shutdown.clone();
    let committed = detached(&shutdown, async move {
        delete_message(&messages, context, caller.user, message).await.map_err(|error| match error.refused::<MessageRefused>() {
            Ok(refused) => refused.into(),
            Err(error) => error.into(),
        })
    })
    .await?;
    Ok(Written(committed.token, Json(Status { status: "Message deleted" })))
}

impl From<MessageRefused> for Problem {
    fn from(refused: MessageRefused) -> Self {
        match refused {
            MessageRefused::SentAlready => Self::conflict("id_taken", "This message_id already belongs to another message"),
            MessageRefused::Unknown => Self::not_found("message_unknown", "Message not found"),
            MessageRefused::NotTheSender => Self::forbidden("not_the_sender", "Only its sender can delete a message"),
        }
    }
}
