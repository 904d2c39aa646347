//! Sending a direct message: `POST /messages/send`, `POST /relay/send`, `POST /relay/queue`. One command; each route answers in its own shape.

mod body;
mod digest;
mod socket;

pub(crate) use body::when_it_is_one;
pub use socket::by_socket;

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::clock;
use platform::http::api::{Api, Rendered, post};
use platform::http::{IdempotencyKey, Params, Problem, RequestContext, Valid, Violation, Written, detached};
use platform::ledger::{AppendError, CommitError, Committed, Context, ExecuteError, Minted};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::messages::{MessageEvent, MessageSent, Via};
use schemas::{Event, MessageId, MessageObject, Recorded, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::message::{Draft, Message, MessageCommand, MessageRefused};
use super::people::Between;
use super::{Messages, people};
use body::{RelayBody, SendBody};

const TEXT: &str = "Answers once the message is stored for good. It is in both people's history, and waits in the recipient's queue until they acknowledge it or it expires. Content is opaque: \
                    the server never decrypts it.\n\nA `message_id` of the client's own makes it safe to repeat, for ever and over every route that sends: the same id for the same \
                    recipient and content gets the first answer again, for anything else it is refused.";

pub(super) fn routes() -> Api<Messages> {
    let example = || {
        json!({
            "message_id": "0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f",
            "recipient_id": "0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e50",
            "encrypted_content": "bm90aGluZyB0byBzZWU=",
            "encrypted_session_key": "a2V5",
        })
    };
    let refusals = || [SendRefused::RecipientUnknown, SendRefused::Blocked, SendRefused::IdTaken];
    let large = || Violation { field: "encrypted_content".into(), message: "must be at most 256 KiB".into() };
    let everywhere = || [people::away(), people::behind(), body::too_large(vec![large()])];
    Api::new()
        .route(
            post("/messages/send", http_send)
                .says("messages.sendMessage", "Send a direct message", TEXT)
                .counts(Class::Sends)
                .refuses(refusals())
                .refuses(everywhere())
                .example(example())
                .leads_to("dequeue", "message_id", "/id"),
        )
        .route(
            post("/relay/send", http_relay)
                .says("relay.send", "Send a direct message by the relay", TEXT)
                .counts(Class::Sends)
                .refuses(refusals())
                .refuses(everywhere())
                .example(example())
                .leads_to("dequeue", "message_id", "/message_id"),
        )
        .route(
            post("/relay/queue", http_relay)
                .says("relay.queue", "Send a direct message by the relay (old name)", TEXT)
                .counts(Class::Sends)
                .refuses(refusals())
                .refuses(everywhere())
                .example(example()),
        )
}

/// What is to be sent, and what makes a repeat of it the same.
#[derive(Debug)]
pub struct SendMessage {
    draft: Draft,
    /// See [`digest`].
    digest: String,
    /// Whether the client minted the message's id: then the id may have been used before.
    minted_by_client: bool,
}

/// Why a send is refused; each variant is a reason that its sender understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    /// Nobody has this id.
    #[error("no such user")]
    RecipientUnknown,
    /// One of the two has blocked the other; which of them is not said.
    #[error("one of you has blocked the other")]
    Blocked,
    /// The id was used before, by another sender, for another recipient or for other content.
    #[error("this message id already belongs to another message")]
    IdTaken,
}

/// Why a send was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// For a reason that its sender understands.
    #[error(transparent)]
    Refused(#[from] SendRefused),
    /// The ledger did not store it.
    #[error(transparent)]
    Ledger(#[from] CommitError),
    /// Whether the recipient exists and nobody is blocked could not be learned in time.
    #[error("whether the recipient can be written to is not known")]
    Unsettled(Problem),
}

/// The one way to send.
///
/// Answers once the event is durable. Safe to repeat: with the same id, by whatever route, for ever; with the same `Idempotency-Key`, for 24 h. The
/// repeat gets the first answer, whatever has changed since: every way to a refusal looks back first.
///
/// # Errors
/// [`SendError`]
#[tracing::instrument(name = "command.message.send", skip_all, fields(aggregate.id = %send.draft.message_id))]
pub async fn send(messages: &Messages, context: Context, send: SendMessage) -> Result<Committed, SendError> {
    let SendMessage { draft, digest, minted_by_client } = send;
    let (id, sender, recipient) = (draft.message_id, draft.sender_id, draft.recipient_id);
    let mut unit = messages.ledger.unit(context);
    // Only the relay's answer says so, and a repeat of it gets what was true the first time.
    let there = draft.via == Via::Relay && messages.presence.is_online(recipient).await;
    unit.remember(Some(digest), Some(if there { "delivered" } else { "queued" }.into()));

    let between = messages.people.between(sender, recipient).await;
    if !matches!(between, Ok(Between::Open)) {
        if let Some(first) = unit.answered().await? {
            return Ok(first);
        }
        if minted_by_client {
            match unit.minted::<MessageEvent>(id).await? {
                Minted::Again(first) => return Ok(first),
                Minted::Taken => return Err(SendRefused::IdTaken.into()),
                Minted::Free => {}
            }
        }
        let refusal = between.map_err(SendError::Unsettled)?;
        match messages.people.between_at_head(sender, recipient, refusal).await.map_err(SendError::Unsettled)? {
            Between::Open => {}
            Between::Blocked => return Err(SendRefused::Blocked.into()),
            Between::Unknown => return Err(SendRefused::RecipientUnknown.into()),
        }
    }

    unit.create::<Message>(id, MessageCommand::Send(Box::new(draft)), &()).await?;
    match unit.commit_minted::<MessageEvent>(id).await {
        Err(CommitError::Ledger(AppendError::Conflict { .. })) => Err(SendRefused::IdTaken.into()),
        committed => Ok(committed?),
    }
}

impl SendMessage {
    /// What a body asks, once nothing is wrong with it.
    fn of(caller: &Caller, body: SendBody, via: Via) -> Result<Self, Problem> {
        // `ttl_days` is the relay's; elsewhere it is one more field that nobody knows.
        let days = if via == Via::Relay { body.ttl_days()? } else { 7 };
        let media = body.media();
        let (asked_id, recipient_id, reply_to) = (body.message_id, body.recipient_id, body.reply_to);
        let signatures = body.signatures.as_ref().map(digest::canonical);
        let content = body.into_content(signatures.as_ref().map_or(0, Vec::len))?;
        let digest = digest::of(caller.user, recipient_id, &content, signatures.as_deref(), &media, reply_to);
        let draft = Draft {
            message_id: asked_id.unwrap_or_else(|| MessageId(Uuid::now_v7())),
            sender_id: caller.user,
            recipient_id,
            content,
            reply_to,
            client_id: None,
            via,
            expires_at: (OffsetDateTime::from(clock::now()) + Duration::days(days)).into(),
        };
        Ok(Self { draft, digest, minted_by_client: asked_id.is_some() })
    }
}

/// What every route has before it.
type Asked = (State<Messages>, Caller, Params, RequestContext, IdempotencyKey);

async fn http_send(asked: Asked, body: Valid<SendBody>) -> Result<Written<Rendered<MessageObject<'static, Value>>>, Problem> {
    let committed = carry_out(asked, body, Via::Send).await?;
    let (event, sent) = first_of(&committed)?;
    let object = MessageObject {
        id: sent.message_id,
        sender_id: sent.sender_id,
        recipient_id: sent.recipient_id,
        encrypted_content: &sent.encrypted_content,
        encrypted_session_key: &sent.encrypted_session_key,
        sender_encrypted_content: sent.sender_encrypted_content.as_deref(),
        crypto_version: &sent.crypto_version,
        encryption_algorithm: &sent.encryption_algorithm,
        kdf_algorithm: &sent.kdf_algorithm,
        signatures: sent.signatures.as_ref(),
        created_at: event.recorded_at,
        delivered_at: None,
        read_at: None,
        reply_to: sent.reply_to,
    };
    Ok(Written(committed.token, Rendered::json(&object)))
}

/// The message is stored, and on its way.
#[derive(Serialize, JsonSchema)]
struct Queued {
    /// `true`
    success: bool,
    /// The message.
    message_id: MessageId,
    /// `delivered`: the recipient had an open socket at that moment. `queued`: it waits.
    #[schemars(extend("enum" = ["delivered", "queued"]))]
    status: String,
    /// Until when it waits.
    expires_at: Option<Timestamp>,
}

async fn http_relay(asked: Asked, Valid { body: RelayBody(body), sha256 }: Valid<RelayBody>) -> Result<Written<Json<Queued>>, Problem> {
    let committed = carry_out(asked, Valid { body, sha256 }, Via::Relay).await?;
    let (event, sent) = first_of(&committed)?;
    let status = event.metadata.answer.clone().unwrap_or_else(|| "queued".into());
    Ok(Written(committed.token, Json(Queued { success: true, message_id: sent.message_id, status, expires_at: sent.expires_at })))
}

async fn carry_out((State(messages), caller, params, request, key): Asked, asked: Valid<SendBody>, via: Via) -> Result<Committed, Problem> {
    params.must_be(&caller)?;
    let context = super::context(&caller, request, key, &asked.sha256);
    let command = SendMessage::of(&caller, asked.body, via)?;
    let shutdown = messages.shutdown.clone();
    detached(&shutdown, async move { Ok(send(&messages, context, command).await?) }).await
}

/// The event as it was stored, whether just now or long ago: what an answer is rendered from, so that a repeat gets the same one.
///
/// # Errors
/// 500 when it cannot be read.
pub fn first_of(committed: &Committed) -> Result<(&Recorded, MessageSent), Problem> {
    let event = committed.events.first().ok_or_else(Problem::internal)?;
    match MessageEvent::decode(event) {
        Ok(MessageEvent::Sent(sent)) => Ok((event, sent)),
        Ok(MessageEvent::Deleted(_)) => Err(Problem::internal()),
        Err(error) => {
            tracing::error!(%error, "a message that was sent cannot be read");
            Err(Problem::internal())
        }
    }
}

impl From<ExecuteError<MessageRefused>> for SendError {
    fn from(error: ExecuteError<MessageRefused>) -> Self {
        match error {
            ExecuteError::Refused(_) => Self::Refused(SendRefused::IdTaken),
            other => Self::Ledger(other.into()),
        }
    }
}

impl From<SendRefused> for Problem {
    fn from(refused: SendRefused) -> Self {
        match refused {
            SendRefused::RecipientUnknown => Self::not_found("recipient_unknown", "Recipient not found"),
            SendRefused::Blocked => Self::forbidden("blocked", "You cannot write to each other: one of you has blocked the other"),
            SendRefused::IdTaken => Self::conflict("id_taken", "This message_id already belongs to another message"),
        }
    }
}

impl From<SendError> for Problem {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Refused(refused) => refused.into(),
            SendError::Ledger(error) => error.into(),
            SendError::Unsettled(problem) => problem,
        }
    }
}
