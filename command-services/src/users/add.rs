//! Adding a contact: `POST /contacts/add`, `POST /contacts`. Makes the caller's row only.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, post};
use platform::http::{IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{AppendError, CommitError, Committed, Context, Effect};
use schemars::JsonSchema;
use schemas::users::{ContactAdded, ContactEvent};
use schemas::{ContactRowId, Event, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::Users;
use super::contact::{Contact, ContactCommand, ContactRefused, PAIR, pair};
use super::people::{self, Person, Who};

pub(super) fn routes() -> Api<Users> {
    const TEXT: &str = "Puts somebody into the caller's list, by id or by exact address. Makes the caller's row only: the other one's list stays as it is.";
    let refusals = || [Problem::from(AddRefused::Already), AddRefused::Yourself.into(), people::unknown()];
    let later = || [people::away(), unshown()];
    let example = || json!({"contact_email": "bob@example.org", "nickname": "Bob"});
    Api::new()
        .route(
            post("/contacts/add", http_add)
                .says("contacts.add", "Add a contact", TEXT)
                .refuses(refusals())
                .refuses(later())
                .example(example())
                .leads_to("removeContact", "id", "/id"),
        )
        .route(
            post("/contacts", http_add)
                .says("contacts.create", "Add a contact (by the collection)", TEXT)
                .refuses(refusals())
                .refuses(later())
                .example(example())
                .leads_to("removeContact", "id", "/id"),
        )
}

fn unshown() -> Problem {
    Problem::unavailable("unavailable", "The contact was added, but cannot be shown at the moment")
}

/// Whom to add.
#[derive(Deserialize, JsonSchema)]
struct AddContact {
    /// By id; it counts when both are named.
    contact_id: Option<UserId>,
    /// By their exact address.
    contact_email: Option<String>,
    /// What the caller calls them: at most 255 characters.
    #[schemars(length(max = 255))]
    nickname: Option<String>,
    #[schemars(skip)]
    user_id: Option<UserId>,
    #[schemars(skip)]
    #[serde(default, deserialize_with = "crate::messages::send::when_it_is_one")]
    current_user_id: Option<UserId>,
}

impl Validate for AddContact {
    fn validate(&self) -> Result<(), Violations> {
        let nobody = self.contact_id.is_none() && self.contact_email.as_ref().is_none_or(|email| email.trim().is_empty());
        Violations::new()
            .when(nobody, "contact_id", "is required, or `contact_email`")
            .when(
                self.nickname.as_ref().is_some_and(|name| name.trim().chars().count() > 255),
                "nickname",
                "must have at most 255 characters",
            )
            .finish()
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.user_id, self.current_user_id]
    }
}

/// Why a contact is not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddRefused {
    /// They are in the list.
    #[error("This user is already a contact")]
    Already,
    /// One is not one's own contact.
    #[error("You cannot add yourself as a contact")]
    Yourself,
}

impl From<AddRefused> for Problem {
    fn from(refused: AddRefused) -> Self {
        match refused {
            AddRefused::Already => Self::bad_request("already_contact", refused.to_string()),
            AddRefused::Yourself => Self::bad_request("yourself", refused.to_string()),
        }
    }
}

impl From<ContactRefused> for Problem {
    fn from(refused: ContactRefused) -> Self {
        match refused {
            ContactRefused::Unknown => Self::not_found("contact_unknown", "Contact not found"),
            // Only for an id that was drawn twice.
            ContactRefused::Exists => AddRefused::Already.into(),
        }
    }
}

/// Puts somebody into the caller's list. Of many who want it at once, one gets a row.
#[tracing::instrument(name = "command.contact.add", skip_all)]
async fn add(users: &Users, context: Context, caller: UserId, body: AddContact) -> Result<Committed, Problem> {
    let who = match (body.contact_id, body.contact_email) {
        (Some(id), _) => Who::Id(id),
        (None, Some(address)) => Who::Address(address),
        (None, None) => return Err(Problem::internal()),
    };
    let mut unit = users.ledger.unit(context);
    let contact = match users.people.find(caller, &who).await? {
        Some(person) => person.id,
        None => {
            if let Some(first) = unit.answered().await? {
                return Ok(first);
            }
            users.people.find_at_head(caller, &who).await?.ok_or_else(people::unknown)?.id
        }
    };
    if contact == caller {
        return match unit.answered().await? {
            Some(first) => Ok(first),
            None => Err(AddRefused::Yourself.into()),
        };
    }
    let row = ContactRowId(Uuid::now_v7());
    let nickname = body.nickname.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    unit.create::<Contact>(row, ContactCommand::Add { row, owner: caller, contact, nickname }, &()).await?;
    unit.effect(Effect::Claim { kind: PAIR, key: pair(caller, contact), owner: row.to_string(), expires_at: None });
    unit.commit().await.map_err(|error| match error {
        CommitError::Ledger(AppendError::Reserved { .. }) => AddRefused::Already.into(),
        other => Problem::from(other),
    })
}

/// A row of a list of contacts.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AddedContact")]
struct Row {
    /// The row's id.
    id: ContactRowId,
    /// Whose list.
    user_id: UserId,
    /// Who is in it.
    contact_id: UserId,
    /// What the owner calls them.
    nickname: Option<String>,
    /// Since when they are in it.
    created_at: Timestamp,
    /// Their address.
    contact_email: Option<String>,
    /// How others see them.
    contact_username: Option<String>,
    /// As they want to be called.
    contact_full_name: Option<String>,
    /// base64 of a JWK: the key that others encrypt for.
    contact_public_key: Option<String>,
    /// Whether they are here, when they let the caller see it.
    is_online: bool,
    /// When they were last here, when they let the caller see it.
    last_seen: Option<Timestamp>,
}

/// What was added, whether just now or long ago: what an answer is rendered from, so that a repeat gets the same one.
async fn row(users: &Users, committed: &Committed) -> Result<Row, Problem> {
    let event = committed.events.first().ok_or_else(Problem::internal)?;
    let mut opened = ContactEvent::decode(event).map_err(|error| {
        tracing::error!(%error, "a contact that was added cannot be read");
        Problem::internal()
    })?;
    users.ledger.vault().unseal(event.event_id, &mut opened).await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a contact that was added cannot be opened");
        unshown()
    })?;
    let ContactEvent::Added(ContactAdded { contact_row_id, user_id, contact_id, nickname, .. }) = opened else {
        return Err(Problem::internal());
    };
    let person = users.people.find(user_id, &Who::Id(contact_id)).await.unwrap_or_default();
    let seen = match &person {
        Some(person) if matches!(super::block::stands_between(users, user_id, contact_id).await, Ok(false)) => {
            users.people.seen(person).await
        }
        _ => platform::presence::Seen::default(),
    };
    let Person { email, username, full_name, public_key, .. } = person.unwrap_or_else(|| Person::gone(contact_id));
    Ok(Row {
        id: contact_row_id,
        user_id,
        contact_id,
        nickname: nickname.and_then(|name| name.reveal().ok().flatten().map(str::to_owned)),
        created_at: event.recorded_at,
        contact_email: email,
        contact_username: username,
        contact_full_name: full_name,
        contact_public_key: public_key,
        is_online: seen.is_online,
        last_seen: seen.last_seen,
    })
}

async fn http_add(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<AddContact>,
) -> Result<Written<Json<Row>>, Problem> {
    params.must_be(&caller)?;
    let context = super::recorded(&caller, request, key, &sha256, 200);
    let shutdown = users.shutdown.clone();
    detached(&shutdown, async move {
        let committed = add(&users, context, caller.user, body).await?;
        let row = row(&users, &committed).await?;
        Ok(Written(committed.token, Json(row)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::AddContact;
    use platform::http::Validate;
    use serde_json::json;
    use uuid::Uuid;

    #[test]
    fn somebody_must_be_named_by_id_or_by_address() {
        let id = Uuid::from_u128(1);
        for (body, good) in [
            (json!({}), false),
            (json!({"contact_email": " "}), false),
            (json!({"contact_id": id}), true),
            (json!({"contact_email": "bob@example.org"}), true),
            (json!({"contact_id": id, "nickname": "x".repeat(256)}), false),
        ] {
            let asked: AddContact = serde_json::from_value(body.clone()).expect("it reads");
            assert_eq!(asked.validate().is_ok(), good, "{body}");
        }
    }
}
