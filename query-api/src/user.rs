//! `GET /users/{id}`: who somebody is.

use axum::routing::get;
use axum::{Json, Router};
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::{Id, Params, Problem};
use schemas::read_models::Users;
use schemas::{Timestamp, UserId};
use serde::Serialize;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;

pub(crate) fn routes() -> Router<Reads> {
    Router::new().route("/users/{id}", get(user))
}

#[derive(Debug, Serialize)]
struct User {
    id: Uuid,
    email: Option<String>,
    username: Option<String>,
    full_name: Option<String>,
    public_key: Option<String>,
    is_active: bool,
    /// Nothing sets these yet; clients read them all the same.
    avatar_url: Option<String>,
    bio: Option<String>,
    is_online: bool,
    last_seen: Option<Timestamp>,
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
    let row = found.ok_or_else(|| Problem::not_found("user_unknown", "User not found"))?;
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
