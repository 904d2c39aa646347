//! Removing a contact: `DELETE /contacts/{id}`. Messages, and the other one's row, stay.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, delete};
use platform::http::{Id, Params, Problem, RequestContext, Written, detached};
use platform::ledger::{Committed, Context, Effect};
use schemars::JsonSchema;
use schemas::users::ContactEvent;
use schemas::{ContactRowId, Event, UserId};
use serde::Serialize;

use super::Users;
use super::contact::{Contact, ContactCommand, ContactRefused, PAIR, pair};

pub(super) fn routes() -> Api<Users> {
    Api::new().route(
        delete("/contacts/{id}", http_remove)
            .says(
                "contacts.removeContact",
                "Remove a contact",
                "Takes a row out of the caller's list. Messages, and the other one's list, stay as they are.",
            )
            .path("id", "The row's id, as the list shows it.")
            .refuses([ContactRefused::Unknown]),
    )
}

/// Takes a row out of its owner's list. Somebody else's row, one that was removed and one that never was are the same: unknown.
#[tracing::instrument(name = "command.contact.remove", skip_all, fields(aggregate.id = %row))]
async fn remove(users: &Users, context: Context, by: UserId, row: ContactRowId) -> Result<Committed, Problem> {
    let first = users.ledger.first(ContactEvent::AGGREGATE, &row.to_string()).await?.ok_or(ContactRefused::Unknown)?;
    let added = match ContactEvent::decode(&first) {
        Ok(ContactEvent::Added(added)) => added,
        Ok(ContactEvent::Removed(_)) => return Err(ContactRefused::Unknown.into()),
        Err(error) => {
            tracing::error!(%error, "a contact that was added cannot be read");
            return Err(Problem::internal());
        }
    };
    let mut unit = users.ledger.unit(context);
    unit.execute::<Contact>(row, ContactCommand::Remove { row, by }, &()).await?;
    unit.effect(Effect::Release { kind: PAIR, key: pair(added.user_id, added.contact_id), owner: row.to_string() });
    unit.commit().await.map_err(|error| match error.refused::<ContactRefused>() {
        Ok(refused) => Problem::from(refused),
        Err(error) => Problem::from(error),
    })
}

/// It is gone.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RemovedContact")]
struct Removed {
    /// A sentence.
    status: &'static str,
}

async fn http_remove(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Id(row): Id<ContactRowId>,
) -> Result<Written<Json<Removed>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    let shutdown = users.shutdown.clone();
    let committed = detached(&shutdown, async move { remove(&users, context, caller.user, row).await }).await?;
    Ok(Written(committed.token, Json(Removed { status: "Contact removed" })))
}
