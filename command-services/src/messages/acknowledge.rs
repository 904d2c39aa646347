//! Saying that a message has arrived: `POST /relay/acknowledge`, `DELETE /relay/{message_id}`.
//!
//! Reads the write side only (the message's first event, by key), so a client can acknowledge what it received before any read model has it.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, delete, post};
use platform::http::{Id, IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Committed, Context};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::{MessageId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Messages;
use super::receipt::{Kind, ReceiptCommand};
use super::receipts::{self, Found};

pub(super) fn routes() -> Api<Messages> {
    const TEXT: &str = "Takes a message out of the caller's queue, for good, and tells its sender that it was delivered; it stays in history. Repeating it is fine, and so is \
                        acknowledging what has expired. A message that is not the caller's to acknowledge is `not_found`, and stays. Never limited below what one busy client needs.";
    Api::new()
        .route(
            post("/relay/acknowledge", http_acknowledge)
                .says("relay.acknowledge", "A message has arrived", TEXT)
                .counts(Class::Vital)
                .example(json!({"message_id": "0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f"})),
        )
        .route(
            delete("/relay/{message_id}", http_delete)
                .says("relay.dequeue", "A message has arrived (by its id)", TEXT)
                .path("message_id", "The message.")
                .counts(Class::Vital),
        )
}

/// Takes a message out of its recipient's queue, for good. Safe to repeat: there is one receipt per message and user, and a repeat finds it.
///
/// Without events: the caller has no such message, be it that there is none or that it is somebody else's, and nothing was changed.
///
/// # Errors
/// [`platform::ledger::CommitError`], 503
#[tracing::instrument(name = "command.message.acknowledge", skip_all, fields(aggregate.id = %message))]
pub async fn acknowledge(messages: &Messages, context: Context, by: UserId, message: MessageId) -> Result<Committed, Problem> {
    if let Some(Found { message, .. }) = receipts::find(messages, message).await? {
        let command = ReceiptCommand { kind: Kind::Delivered, message, by };
        if let Some(given) = receipts::give(messages, context.clone(), command).await? {
            return Ok(given);
        }
    }
    // That nothing was found is an answer like any other: under its key it stays the answer.
    Ok(messages.ledger.unit(context).commit().await?)
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Acknowledge {
    /// What has arrived.
    message_id: MessageId,
    #[schemars(skip)]
    user_id: Option<UserId>,
    #[schemars(skip)]
    #[serde(default, deserialize_with = "super::send::when_it_is_one")]
    current_user_id: Option<UserId>,
}

impl Validate for Acknowledge {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.user_id, self.current_user_id]
    }
}

/// What became of it.
#[derive(Serialize, JsonSchema)]
struct Acknowledged {
    /// `true`
    success: bool,
    /// The message.
    message_id: MessageId,
    /// `deleted`: it waits no more, from now on or since before. `not_found`: the caller has no such message.
    #[schemars(extend("enum" = ["deleted", "not_found"]))]
    status: &'static str,
}

async fn http_acknowledge(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<Acknowledge>,
) -> Result<Written<Json<Acknowledged>>, Problem> {
    params.must_be(&caller)?;
    let context = super::context(&caller, request, key, &sha256);
    carry_out(messages, context, caller.user, body.message_id).await
}

async fn http_delete(
    State(messages): State<Messages>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Id(message): Id<MessageId>,
) -> Result<Written<Json<Acknowledged>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    carry_out(messages, context, caller.user, message).await
}

async fn carry_out(
    messages: Messages,
    context: Context,
    by: UserId,
    message_id: MessageId,
) -> Result<Written<Json<Acknowledged>>, Problem> {
    let shutdown = messages.shutdown.clone();
    let committed = detached(&shutdown, async move { acknowledge(&messages, context, by, message_id).await }).await?;
    let status = if committed.events.is_empty() { "not_found" } else { "deleted" };
    Ok(Written(committed.token, Json(Acknowledged { success: true, message_id, status })))
}

#[cfg(test)]
mod tests {
    use super::Acknowledge;
    use platform::http::Validate;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn an_acknowledgement_names_a_message_by_uuid_and_nobody_but_the_caller() {
        let id = Uuid::from_u128(1);
        for body in [json!({}), json!({"message_id": null}), json!({"message_id": "x"}), json!({"message_id": id, "user_id": "me"})] {
            assert!(serde_json::from_value::<Acknowledge>(body.clone()).is_err(), "{body}");
        }
        let body: Acknowledge =
            serde_json::from_value(json!({"message_id": id, "user_id": id, "current_user_id": "x"})).expect("it is one");
        assert_eq!(body.must_be_caller(), [Some(id.into()), None]);
    }
}
