//! `GET /users/{id}`: who somebody is.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, get};
use platform::http::{Id, Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::{Contacts, Profiles, Users};
use schemas::{Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::sight;

pub(crate) fn routes() -> Api<Reads> {
    Api::new().route(
        get("/users/{id}", user)
            .says("users.user", "A person", "What everybody may know of a person, the key that others encrypt for among it.")
            .path("id", "The person.")
            .refuses([unknown()]),
    )
}

/// Somebody, as the caller may see them.
#[derive(Debug, Serialize, JsonSchema)]
struct User {
    /// The person.
    id: Uuid,
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

fn unknown() -> Problem {
    Problem::not_found("user_unknown", "User not found")
}

async fn user(
    State(reads): State<Reads>,
    caller: Caller,
    params: Params,
    Id(id): Id<UserId>,
    fresh: Fresh<(Users, Profiles, Contacts)>,
) -> Result<Json<User>, Problem> {
    params.must_be(&caller)?;
    let found = ask(fresh.pools().0, move |db| {
        Box::pin(async move {
            sqlx::query!(
                r#"SELECT u.user_id, u.email, u.username, u.public_key, u.is_active, p.avatar_url AS "avatar_url?", p.bio AS "bio?",
                          CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name
                     FROM users.users u LEFT JOIN profiles.profiles p ON p.user_id = u.user_id
                    WHERE u.user_id = $1"#,
                id.0
            )
            .fetch_optional(db)
            .await
        })
    })
    .await?;
    let row = found.ok_or_else(unknown)?;
    let seen = sight::seen(&reads.freshness, &reads.presence, caller.user, &[id]).await;
    Ok(Json(User {
        id: row.user_id,
        email: row.email,
        username: row.username,
        full_name: row.full_name,
        public_key: row.public_key,
        is_active: row.is_active,
        avatar_url: row.avatar_url,
        bio: row.bio,
        is_online: seen[0].is_online,
        last_seen: seen[0].last_seen,
    }))
}
