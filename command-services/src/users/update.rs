//! Presenting oneself otherwise: `PUT /users/{id}`, for oneself, and for admins.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, put};
use platform::http::{Id, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{CommitError, Committed, Context};
use schemars::JsonSchema;
use schemas::auth::Role;
use schemas::users::ProfileEvent;
use schemas::{Event, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Users;
use super::people::{self, Who};
use super::profile::{Presented, Profile, ProfileCommand, ProfileRefused};

pub(super) fn routes() -> Api<Users> {
    Api::new().route(
        put("/users/{id}", http_update)
            .says(
                "users.putUser",
                "Present oneself",
                "Changes what others see of the caller; what is left out stays, and what is empty is cleared. Admins may do it for others.",
            )
            .path("id", "Whose profile: the caller's, or for an admin anybody's.")
            .example(json!({"full_name": "Ann Example", "bio": "Here since 2026"}))
            .refuses([not_yourself(), people::unknown(), people::away()]),
    )
}

fn not_yourself() -> Problem {
    Problem::forbidden("not_yourself", "You can only change your own profile")
}

/// What is to be shown; what is left out stays, and what is empty is cleared.
#[derive(Deserialize, JsonSchema)]
struct UpdateProfile {
    /// As one wants to be called: at most 255 characters.
    #[schemars(length(max = 255))]
    full_name: Option<String>,
    /// What one says of oneself: at most 500 characters.
    #[schemars(length(max = 500))]
    bio: Option<String>,
    /// Where the picture is: an `http` or `https` address, or a path on this server; at most 500 characters.
    #[schemars(
        length(max = 500),
        regex(
            pattern = r#"^\s*((https?://[^\s"<>\\\x00-\x1f\x7f-\x9f]+|/([^\s"<>\\\x00-\x1f\x7f-\x9f/][^\s"<>\\\x00-\x1f\x7f-\x9f]*)?)\s*)?$"#
        )
    )]
    avatar_url: Option<String>,
}

/// Nothing that a browser would run, and nothing that leads it astray.
fn is_picture_url(url: &str) -> bool {
    let plain = !url.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<' | '>' | '\\'));
    let lower = url.to_ascii_lowercase();
    let there = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).is_some_and(|rest| !rest.is_empty());
    plain && (there || (url.starts_with('/') && !url.starts_with("//")))
}

impl Validate for UpdateProfile {
    fn validate(&self) -> Result<(), Violations> {
        let longer = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.trim().chars().count() > most);
        let url = self.avatar_url.as_deref().map(str::trim).filter(|url| !url.is_empty());
        Violations::new()
            .when(longer(&self.full_name, 255), "full_name", "must have at most 255 characters")
            .when(longer(&self.bio, 500), "bio", "must have at most 500 characters")
            .when(longer(&self.avatar_url, 500), "avatar_url", "must have at most 500 characters")
            .when(
                url.is_some_and(|url| !is_picture_url(url)),
                "avatar_url",
                "must be an http or https address, or a path that begins with /",
            )
            .finish()
    }
}

/// A profile, as `GET /users/{id}` shows it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Profile")]
struct Shown {
    /// The person.
    id: UserId,
    /// Their address; `null` for a guest.
    email: Option<String>,
    /// How others see them.
    username: Option<String>,
    /// As they want to be called.
    full_name: Option<String>,
    /// base64 of a JWK: the active one, which others encrypt for.
    public_key: Option<String>,
    /// Whether the account may be used.
    is_active: bool,
    /// A picture of them.
    avatar_url: Option<String>,
    /// What they say of themselves.
    bio: Option<String>,
    /// Whether they are here, when they let the caller see it.
    is_online: bool,
    /// When they were last here, when they let the caller see it.
    last_seen: Option<Timestamp>,
}

/// Runs a command on a profile. What was so already is answered again, with what made it so.
pub(super) async fn run(users: &Users, context: Context, user: UserId, command: ProfileCommand) -> Result<Committed, CommitError> {
    let mut unit = users.ledger.unit(context.clone());
    unit.execute::<Profile>(user, command, &()).await?;
    let committed = unit.commit().await?;
    if !committed.events.is_empty() {
        return Ok(committed);
    }
    // It was so already, by somebody whose marks may be lost: reads wait for it all the same.
    let last = users.ledger.load(ProfileEvent::AGGREGATE, &user.to_string()).await?.pop();
    Ok(users.ledger.unit(context).found(last.into_iter().collect()).await)
}

impl From<ProfileRefused> for Problem {
    fn from(refused: ProfileRefused) -> Self {
        match refused {}
    }
}

#[tracing::instrument(name = "command.profile.update", skip_all, fields(aggregate.id = %user))]
async fn update(
    users: &Users,
    context: Context,
    caller: UserId,
    user: UserId,
    body: UpdateProfile,
) -> Result<Written<Json<Shown>>, Problem> {
    let person = match users.people.find(caller, &Who::Id(user)).await? {
        Some(person) => person,
        None => users.people.find_at_head(caller, &Who::Id(user)).await?.ok_or_else(people::unknown)?,
    };
    let said = |text: Option<String>| text.map(|text| Some(text.trim().to_owned()).filter(|text| !text.is_empty()));
    let presented = Presented { full_name: said(body.full_name), bio: said(body.bio), avatar_url: said(body.avatar_url) };
    let token = run(users, context, user, ProfileCommand::Update { user_id: user, presented }).await?.token;
    let presented = presented_by(users, user).await?;
    let seen = users.people.seen(&person).await;
    let shown = Shown {
        id: user,
        email: person.email,
        username: person.username,
        full_name: presented.full_name.unwrap_or(person.registered_name),
        public_key: person.public_key,
        is_active: person.is_active,
        avatar_url: presented.avatar_url.flatten(),
        bio: presented.bio.flatten(),
        is_online: seen.is_online,
        last_seen: seen.last_seen,
    };
    Ok(Written(token, Json(shown)))
}

/// How somebody presents themselves, as the ledger has it.
async fn presented_by(users: &Users, user: UserId) -> Result<Presented, Problem> {
    let mut presented = Presented::default();
    for recorded in users.ledger.load(ProfileEvent::AGGREGATE, &user.to_string()).await? {
        let mut event = ProfileEvent::decode(&recorded).map_err(|error| {
            tracing::error!(%error, "a profile cannot be read");
            Problem::internal()
        })?;
        if let ProfileEvent::Updated(_) = event {
            users.ledger.vault().unseal(recorded.event_id, &mut event).await.map_err(CommitError::from)?;
        }
        if let ProfileEvent::Updated(updated) = event {
            presented.apply(updated);
        }
    }
    Ok(presented)
}

async fn http_update(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    Id(user): Id<UserId>,
    request: RequestContext,
    Valid { body, .. }: Valid<UpdateProfile>,
) -> Result<Written<Json<Shown>>, Problem> {
    params.must_be(&caller)?;
    if user != caller.user && caller.role != Role::Admin.as_str() {
        return Err(not_yourself());
    }
    let context = Context::of_user(caller.user, request);
    let shutdown = users.shutdown.clone();
    detached(&shutdown, async move { update(&users, context, caller.user, user, body).await }).await
}

#[cfg(test)]
mod tests {
    use super::is_picture_url;

    #[test]
    fn a_picture_is_at_an_address_or_on_this_server_and_nothing_that_runs() {
        for good in ["https://example.org/a.png", "HTTP://example.org", "/api/v1/media/files/x.png"] {
            assert!(is_picture_url(good), "{good}");
        }
        for odd in
            ["javascript:alert(1)", "data:image/png;base64,x", "//example.org/a", "https://", "a.png", "https://a b", "/\\evil", "/a\"b"]
        {
            assert!(!is_picture_url(odd), "{odd}");
        }
    }
}
