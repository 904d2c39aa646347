//! Leaving a copy of one's private key: `POST /users/me/key-backup`. It comes encrypted, and what opens it never comes here.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, post};
use platform::http::{IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use schemars::JsonSchema;
use schemas::UserId;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Users;
use super::profile::ProfileCommand;

/// The longest copy, in bytes.
const LIMIT: usize = 64 * 1024;

pub(super) fn routes() -> Api<Users> {
    Api::new().route(
        post("/users/me/key-backup", http_keep)
            .says(
                "users.keepKey",
                "Leave a copy of my private key",
                "Keeps an encrypted copy of the caller's private key, in place of the one before. What opens it never comes to the server.",
            )
            .example(json!({"encrypted_private_key": "b3BhcXVl"})),
    )
}

/// What is to be kept.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "KeepKey")]
struct KeyBackup {
    /// Opaque text, at most 64 KiB.
    #[schemars(length(min = 1, max = 65536))]
    encrypted_private_key: String,
    #[schemars(skip)]
    user_id: Option<UserId>,
}

impl Validate for KeyBackup {
    fn validate(&self) -> Result<(), Violations> {
        Violations::new()
            .when(self.encrypted_private_key.is_empty(), "encrypted_private_key", "must not be empty")
            .when(self.encrypted_private_key.len() > LIMIT, "encrypted_private_key", "must be at most 64 KiB")
            .finish()
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.user_id]
    }
}

/// It is kept.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "KeyKept")]
struct Kept {
    /// `true`
    success: bool,
}

async fn http_keep(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<KeyBackup>,
) -> Result<Written<Json<Kept>>, Problem> {
    params.must_be(&caller)?;
    let context = super::recorded(&caller, request, key, &sha256, 200);
    let command = ProfileCommand::Keep { user_id: caller.user, encrypted_private_key: body.encrypted_private_key };
    let shutdown = users.shutdown.clone();
    let token = detached(&shutdown, async move { Ok(super::update::run(&users, context, caller.user, command).await?.token) }).await?;
    Ok(Written(token, Json(Kept { success: true })))
}
