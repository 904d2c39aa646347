//! Blocking and unblocking: `POST` and `DELETE /contacts/{user_id}/block`.
//!
//! Who has its 2xx can rely on it: it names both people, so every send between them that begins afterwards waits for the copy that it looks in.

use axum::extract::State;
use axum::response::NoContent;
use platform::auth::Caller;
use platform::http::api::{Api, delete, post};
use platform::http::{Id, IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::Context;
use platform::marks::ConsistencyToken;
use schemars::JsonSchema;
use schemas::users::BlockEvent;
use schemas::{Event, UserId, block_id};
use serde::Deserialize;
use serde_json::json;

use super::Users;
use super::barrier::{Barrier, BarrierCommand, BarrierRefused};
use super::people::{self, Who};

pub(super) fn routes() -> Api<Users> {
    Api::new()
        .route(
            post("/contacts/{user_id}/block", http_block)
                .says(
                    "contacts.block",
                    "Block somebody",
                    "While either has blocked the other, nothing can be sent between them: a send that begins after this answer is refused, in both directions. Repeating it is fine.",
                )
                .path("user_id", "Whom to block: a user's id.")
                .example(json!({}))
                .refuses([BarrierRefused::Yourself])
                .refuses([people::unknown(), people::away()]),
        )
        .route(
            delete("/contacts/{user_id}/block", http_unblock)
                .says("contacts.unblock", "Unblock somebody", "Lifts the caller's block; one that the other has placed stays. Repeating it is fine.")
                .path("user_id", "Whom to unblock: a user's id.")
                .refuses([BarrierRefused::Yourself]),
        )
}

/// Nothing has to be said.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Empty")]
struct Nothing {}

impl Validate for Nothing {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

impl From<BarrierRefused> for Problem {
    fn from(refused: BarrierRefused) -> Self {
        match refused {
            BarrierRefused::Yourself => Self::bad_request("yourself", refused.to_string()),
        }
    }
}

/// Places a block, or lifts it. Safe to repeat: what is so already is left as it is.
#[tracing::instrument(name = "command.block", skip_all)]
async fn carry_out(users: &Users, context: Context, command: BarrierCommand) -> Result<ConsistencyToken, Problem> {
    let id = block_id(command.by, command.towards);
    let mut unit = users.ledger.unit(context.clone());
    if command.stand && users.people.find(command.by, &Who::Id(command.towards)).await?.is_none() {
        if let Some(first) = unit.answered().await? {
            return Ok(first.token);
        }
        users.people.find_at_head(command.by, &Who::Id(command.towards)).await?.ok_or_else(people::unknown)?;
    }
    unit.execute::<Barrier>(id, command, &()).await?;
    let committed = unit.commit().await.map_err(|error| match error.refused::<BarrierRefused>() {
        Ok(refused) => Problem::from(refused),
        Err(error) => Problem::from(error),
    })?;
    if !committed.events.is_empty() {
        tell_sockets(users, command, &committed.token).await;
        return Ok(committed.token);
    }
    // It was so already. Whoever made it so may have died before it left its marks: this answer promises no less.
    let last = users.ledger.load(BlockEvent::AGGREGATE, &id.to_string()).await?.pop();
    let found = users.ledger.unit(context).found(last.into_iter().collect()).await;
    tell_sockets(users, command, &found.token).await;
    Ok(found.token)
}

/// Whether one of the two has blocked the other, as the ledger has it.
///
/// # Errors
/// 503 when the ledger does not answer.
pub(super) async fn stands_between(users: &Users, one: UserId, other: UserId) -> Result<bool, Problem> {
    for id in [block_id(one, other), block_id(other, one)] {
        if let Some((_, last)) = users.ledger.ends(BlockEvent::AGGREGATE, &id.to_string()).await?
            && last == "block.placed"
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Before its 2xx: nothing between the two reaches a socket afterwards. While Redis is away nothing does anyway, and who comes back looks in the read model first.
async fn tell_sockets(users: &Users, command: BarrierCommand, token: &ConsistencyToken) {
    for mark in &token.marks {
        let (partition, position) = (mark.partition, mark.position);
        let block = platform::frames::Block { by: command.by, towards: command.towards, stands: command.stand, partition, position };
        if let Err(error) = users.frames.blocked(&block).await {
            tracing::warn!(%error, "sockets hear of a block, or of its end, when Redis is back");
        }
    }
}

async fn http_block(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    Id(towards): Id<UserId>,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body: Nothing {}, sha256 }: Valid<Nothing>,
) -> Result<Written<NoContent>, Problem> {
    params.must_be(&caller)?;
    // Whom it concerns stands in the path, not in the body.
    let digest = <sha2::Sha256 as sha2::Digest>::digest([&sha256[..], &towards.0.as_bytes()[..]].concat());
    let context = super::recorded(&caller, request, key, &digest.into(), 204);
    answer(users, context, BarrierCommand { by: caller.user, towards, stand: true }).await
}

async fn http_unblock(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    Id(towards): Id<UserId>,
    request: RequestContext,
) -> Result<Written<NoContent>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    answer(users, context, BarrierCommand { by: caller.user, towards, stand: false }).await
}

async fn answer(users: Users, context: Context, command: BarrierCommand) -> Result<Written<NoContent>, Problem> {
    let shutdown = users.shutdown.clone();
    let token = detached(&shutdown, async move { carry_out(&users, context, command).await }).await?;
    Ok(Written(token, NoContent))
}
