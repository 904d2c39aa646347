//! `GET /users/{id}`: who somebody is.

use axum::Json;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, get};
use platform::http::{Id, Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::Users;
use schemas::{Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;

pub(crate) fn routes() -> Api<Reads> {
    Api::new().route(
        get("/users/{id}", user)
            .says("users.user", "A person", "What everybody may know of a person, the key that others encrypt for among it.")
            .path("id", "The person.")
            .refuses([unknown()]),
    )
}

/// What everybody may know of a person.
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
    /// base64 of a JWK: the key that others encrypt for.
    public_key: Option<String>,
    /// Whether the account may be used.
    is_active: bool,
    /// A picture of them.
    avatar_url: Option<String>,
    /// What they say of themselves.
    bio: Option<String>,
    /// Whether they are here now.
    is_online: bool,
    /// When they were here last; `null` when that is unknown, or not for the caller to know.
    last_seen: Option<Timestamp>,
}

fn unknown() -> Problem {
    Problem::not_found("user_unknown", "User not found")
}

async fn user(caller: Caller, params: Params, Id(id): Id<UserId>, fresh: Fresh<(Users,)>) -> Result<Json<User>, Problem> {
    params.must_be(&caller)?;
    let found = ask(fresh.pool(), move |db| {
        Box::pin(async move {
            sqlx::query!("SELECT user_id, email, username, full_name, public_key, is_active FROM users.users WHERE user_id = $1", id.0)
                .fetch_optional(db)
                .await
        })
    })
    .await?;
    let row = found.ok_or_else(unknown)?;
    Ok(Json(User {
        id: row.user_id,
        email: row.email,
        username: row.username,
        full_name: row.full_name,
        public_key: row.public_key,
        is_active: row.is_active,
        avatar_url: None,
        bio: None,
        is_online: false,
        last_seen: None,
    }))
}
