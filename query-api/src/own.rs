//! What somebody left with us, and what they want: `GET /users/me/key-backup`, `GET /users/me/settings`.

use axum::Json;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, get};
use platform::http::{Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::Profiles;
use serde::Serialize;

use crate::Reads;
use crate::database::ask;

pub(crate) fn routes() -> Api<Reads> {
    Api::new()
        .route(get("/users/me/key-backup", key_backup).says(
            "users.keyBackup",
            "The copy of my private key",
            "The encrypted copy, as the caller left it.",
        ))
        .route(get("/users/me/settings", settings).says(
            "users.settings",
            "My settings",
            "All of the caller's settings; those that were never chosen have their defaults.",
        ))
}

/// The copy of the caller's private key, as they left it.
#[derive(Debug, Serialize, JsonSchema)]
struct KeyBackup {
    /// Whether there is one.
    has_backup: bool,
    /// Opaque text; absent when there is none.
    encrypted_private_key: Option<String>,
}

async fn key_backup(caller: Caller, params: Params, fresh: Fresh<(Profiles,)>) -> Result<Json<KeyBackup>, Problem> {
    params.must_be(&caller)?;
    let user = caller.user;
    let encrypted_private_key = ask(fresh.pool(), move |db| {
        Box::pin(async move {
            sqlx::query_scalar!("SELECT encrypted_private_key FROM profiles.key_backups WHERE user_id = $1", user.0)
                .fetch_optional(db)
                .await
        })
    })
    .await?;
    Ok(Json(KeyBackup { has_backup: encrypted_private_key.is_some(), encrypted_private_key }))
}

/// All of the caller's settings.
#[derive(Debug, Serialize, JsonSchema)]
struct Settings {
    /// Whether authors are shown that their messages were read.
    read_receipts: bool,
    /// Who may see when the caller was last here, and whether they are: `everybody`, `contacts` or `nobody`.
    #[schemars(extend("enum" = ["everybody", "contacts", "nobody"]))]
    last_seen: String,
    /// Whether search finds the caller by more than their exact address.
    discoverable: bool,
    /// A BCP 47 tag, once one was chosen.
    language: Option<String>,
    /// A name of the IANA time zone database, once one was chosen.
    time_zone: Option<String>,
}

async fn settings(caller: Caller, params: Params, fresh: Fresh<(Profiles,)>) -> Result<Json<Settings>, Problem> {
    params.must_be(&caller)?;
    let user = caller.user;
    let said = ask(fresh.pool(), move |db| {
        Box::pin(async move {
            sqlx::query_as!(
                Settings,
                "SELECT read_receipts, last_seen, discoverable, language, time_zone FROM profiles.profiles WHERE user_id = $1",
                user.0
            )
            .fetch_optional(db)
            .await
        })
    })
    .await?;
    Ok(Json(said.unwrap_or_else(|| Settings {
        read_receipts: true,
        last_seen: "everybody".to_owned(),
        discoverable: true,
        language: None,
        time_zone: None,
    })))
}
