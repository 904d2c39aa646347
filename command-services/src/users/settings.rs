//! Wanting something otherwise: `PUT /users/me/settings`.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Api, put};
use platform::http::{Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::Context;
use schemars::JsonSchema;
use schemas::users::{LastSeen, ProfileEvent, SettingsChange};
use schemas::{Event, UserId};
use serde::Deserialize;
use serde_json::json;

use super::Users;
use super::profile::{ProfileCommand, Settings};

pub(super) fn routes() -> Api<Users> {
    Api::new().route(
        put("/users/me/settings", http_change)
            .says("users.putSettings", "What I want", "Changes the caller's settings; what is left out stays. Answers all of them.")
            .example(json!({"read_receipts": false, "last_seen": "contacts", "language": "de-AT", "time_zone": "Europe/Vienna"})),
    )
}

/// What is to be otherwise; what is left out stays.
#[derive(Deserialize, JsonSchema)]
struct ChangeSettings {
    /// Whether authors are shown that their messages were read.
    read_receipts: Option<bool>,
    /// Who may see when the caller was last here, and whether they are.
    last_seen: Option<LastSeen>,
    /// Whether search finds the caller by more than their exact address.
    discoverable: Option<bool>,
    /// A BCP 47 tag, like `de-AT`.
    #[schemars(length(max = 35), regex(pattern = "^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$"))]
    language: Option<String>,
    /// A name of the IANA time zone database, like `Europe/Vienna`.
    #[schemars(length(max = 64), regex(pattern = "^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"))]
    time_zone: Option<String>,
    #[schemars(skip)]
    user_id: Option<UserId>,
}

/// RFC 5646, as far as its shape goes.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let first = parts.next().is_some_and(|part| (2..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphabetic()));
    tag.len() <= 35 && first && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The shape of a name in the IANA time zone database.
fn is_time_zone(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'));
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.split('/').all(part)
}

impl Validate for ChangeSettings {
    fn validate(&self) -> Result<(), Violations> {
        Violations::new()
            .when(self.language.as_ref().is_some_and(|tag| !is_language(tag)), "language", "must be a language tag, like de-AT")
            .when(
                self.time_zone.as_ref().is_some_and(|name| !is_time_zone(name)),
                "time_zone",
                "must be the name of a time zone, like Europe/Vienna",
            )
            .finish()
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.user_id]
    }
}

async fn http_change(
    State(users): State<Users>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Valid { body, .. }: Valid<ChangeSettings>,
) -> Result<Written<Json<Settings>>, Problem> {
    params.must_be(&caller)?;
    let context = Context::of_user(caller.user, request);
    let ChangeSettings { read_receipts, last_seen, discoverable, language, time_zone, user_id: _ } = body;
    let settings = SettingsChange { read_receipts, last_seen, discoverable, language, time_zone };
    let shutdown = users.shutdown.clone();
    detached(&shutdown, async move {
        let command = ProfileCommand::Change { user_id: caller.user, settings };
        let committed = super::update::run(&users, context, caller.user, command).await?;
        let changed = committed.events.first().filter(|_| !committed.again).map(|event| event.sequence);
        let (before, settings) = of(&users, caller.user, changed).await?;
        if let Some(was) = before {
            users.presence.shown_otherwise(caller.user, was).await;
        }
        Ok(Written(committed.token, Json(settings)))
    })
    .await
}

/// All of somebody's settings, as the ledger has them; and who could see them before the event of this sequence, when that has changed it.
async fn of(users: &Users, user: UserId, changed: Option<i64>) -> Result<(Option<LastSeen>, Settings), Problem> {
    let (mut settings, mut before) = (Settings::default(), None);
    for event in users.ledger.load(ProfileEvent::AGGREGATE, &user.to_string()).await? {
        match ProfileEvent::decode(&event) {
            Ok(ProfileEvent::SettingsChanged(new)) => {
                if changed == Some(event.sequence) && new.settings.last_seen.is_some() {
                    before = Some(settings.last_seen);
                }
                settings.apply(new.settings);
            }
            Ok(_) => {}
            Err(error) => {
                tracing::error!(%error, "a profile cannot be read");
                return Err(Problem::internal());
            }
        }
    }
    Ok((before, settings))
}

#[cfg(test)]
mod tests {
    use super::{is_language, is_time_zone};

    #[test]
    fn tags_and_zones_are_told_from_what_could_not_be_one() {
        for good in ["de", "de-AT", "zh-Hant-TW"] {
            assert!(is_language(good), "{good}");
        }
        for odd in ["", "d", "1a", "de_AT", "de-", "de-abcdefghi", "<b>"] {
            assert!(!is_language(odd), "{odd}");
        }
        for good in ["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert!(is_time_zone(good), "{good}");
        }
        for odd in ["", "/etc", "Europe/", "Europe//Vienna", "../x", "1", "Europe/Wien !"] {
            assert!(!is_time_zone(odd), "{odd}");
        }
    }
}
