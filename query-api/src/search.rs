//! `GET /users/search` and `GET /users/by-email`: finding people.
//!
//! Whoever is called exactly so comes first, then those whose name or address begins so, then those who have it in the middle; the latter in the order in which they
//! registered. Three questions, each only when the one before has not found enough, and each bounded whatever is looked for:
//!
//! 1. exact and beginnings: along the index of texts, which has the exact one first;
//! 2. the middle, among the first who registered: what is common is found there at once, where an index would have to bring up everybody who has it;
//! 3. the middle, by its pieces (`schemas::search`): what was not found so far is rare.

use axum::Json;
use platform::auth::Caller;
use platform::auth::cookie::CallerOrCookie;
use platform::fresh::Fresh;
use platform::http::api::{Api, get};
use platform::http::{Params, Problem, Violation};
use schemars::JsonSchema;
use schemas::read_models::{Profiles, Users};
use schemas::{Timestamp, search};
use serde::Serialize;
use serde_json::json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;

/// Most people of an answer.
const MOST: usize = 10;
/// No name and no address is longer.
const LONGEST: usize = 255;
/// Among how many rows the common is looked for.
const SAMPLE: i64 = 2_000;

pub(crate) fn routes() -> Api<Reads> {
    Api::new()
        .route(
            get("/users/search", find)
                .says(
                    "users.search",
                    "Find people",
                    "At most ten people: whoever is called exactly so first, then those whose name or address begins so, then those who have it in the middle. Who does not want to be found is found \
                     by their exact address only. One of `email` and `q` is needed; `email` counts when both are there. The sign-in's cookie is enough.",
                )
                .query("email", json!({"type": "string"}), "A part of an address.")
                .query("q", json!({"type": "string"}), "A part of a user name or of a full name."),
        )
        .route(
            get("/users/by-email", by_email)
                .says("users.byEmail", "Somebody by their address", "Who has exactly this address, compared without case.")
                .query_required("email", json!({"type": "string"}), "The address.")
                .refuses([unknown()]),
        )
}

fn unknown() -> Problem {
    Problem::not_found("user_unknown", "User not found")
}

/// Somebody who was found.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "FoundPerson")]
struct Found {
    /// The person.
    id: Uuid,
    /// Their address; `null` for a guest.
    email: Option<String>,
    /// How others see them.
    username: Option<String>,
    /// As they want to be called.
    full_name: Option<String>,
    /// Whether the account may be used.
    is_active: bool,
    /// A picture of them.
    avatar_url: Option<String>,
    /// What they say of themselves.
    bio: Option<String>,
    /// Whether the address was proved to be theirs.
    is_verified: bool,
    /// Since when there is this account.
    created_at: Timestamp,
    /// base64 of a JWK: the active one, which others encrypt for.
    public_key: Option<String>,
    /// `user`, `admin` or `guest`.
    role: String,
}

/// Whose what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    /// `email=`
    Address,
    /// `q=`: user name and full name.
    Name,
}

/// A text that is looked for, folded.
#[derive(Debug, Clone)]
struct Sought {
    text: String,
    /// Comes after every text that begins with it.
    end: String,
    pieces: Vec<i32>,
}

impl Sought {
    /// `None`: nobody has this.
    fn of(text: &str) -> Option<Self> {
        let text = search::folded(text);
        let some = !text.is_empty() && text.chars().count() <= LONGEST;
        some.then(|| Self { end: format!("{text}{}", char::MAX), pieces: search::wanted_pieces(&text), text })
    }
}

fn invalid(field: &'static str, message: &'static str) -> Problem {
    Problem::invalid(vec![Violation { field: field.into(), message: message.into() }])
}

/// A parameter; 422 when it holds what no text of ours can.
fn text<'p>(params: &'p Params, name: &'static str) -> Result<Option<&'p str>, Problem> {
    match params.get(name) {
        Some(text) if text.contains('\0') => Err(invalid(name, "must not contain U+0000")),
        other => Ok(other),
    }
}

async fn find(
    CallerOrCookie(caller): CallerOrCookie,
    params: Params,
    fresh: Fresh<(Users, Profiles)>,
) -> Result<Json<Vec<Found>>, Problem> {
    params.must_be(&caller)?;
    let (email, q) = (text(&params, "email")?, text(&params, "q")?);
    let (field, asked) = match (email.filter(|email| !email.trim().is_empty()), q) {
        (Some(email), _) => (Field::Address, email),
        (None, Some(q)) => (Field::Name, q),
        (None, None) => (Field::Address, email.ok_or_else(|| invalid("email", "is required, or `q`"))?),
    };
    let Some(sought) = Sought::of(asked) else { return Ok(Json(Vec::new())) };
    Ok(Json(found(fresh.pools().0, field, sought).await?))
}

async fn by_email(caller: Caller, params: Params, fresh: Fresh<(Users, Profiles)>) -> Result<Json<Found>, Problem> {
    params.must_be(&caller)?;
    let address = search::folded(text(&params, "email")?.ok_or_else(|| invalid("email", "is required"))?);
    let found = ask(fresh.pools().0, move |db| {
        let address = address.clone();
        Box::pin(async move {
            let id = sqlx::query_scalar!("SELECT user_id FROM users.addresses WHERE term = $1 ORDER BY user_id LIMIT 1", address);
            let ids: Vec<Uuid> = id.fetch_optional(&mut *db).await?.into_iter().collect();
            people(db, &ids).await
        })
    })
    .await?;
    found.into_iter().next().map(Json).ok_or_else(unknown)
}

/// At most ten, the best first.
async fn found(pool: &PgPool, field: Field, sought: Sought) -> Result<Vec<Found>, Problem> {
    ask(pool, move |db| {
        let sought = sought.clone();
        Box::pin(async move {
            let ids = ids(db, field, &sought).await?;
            people(db, &ids).await
        })
    })
    .await
}

async fn ids(db: &mut PgConnection, field: Field, sought: &Sought) -> Result<Vec<Uuid>, sqlx::Error> {
    let mut ids = match field {
        Field::Address => beginning_addresses(db, sought).await?,
        Field::Name => beginning_names(db, sought).await?,
    };
    if ids.len() < MOST {
        let common = match field {
            Field::Address => common_addresses(db, sought, &ids).await?,
            Field::Name => common_names(db, sought, &ids).await?,
        };
        if ids.len() + common.len() >= MOST {
            ids.extend(common);
        } else {
            ids.extend(match field {
                Field::Address => rare_addresses(db, sought, &ids).await?,
                Field::Name => rare_names(db, sought, &ids).await?,
            });
        }
    }
    ids.truncate(MOST);
    Ok(ids)
}

async fn beginning_addresses(db: &mut PgConnection, sought: &Sought) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT a.user_id FROM users.addresses a LEFT JOIN profiles.profiles p ON p.user_id = a.user_id
          WHERE a.term >= $1 AND a.term < $2 AND (a.term = $1 OR coalesce(p.discoverable, true))
          ORDER BY a.term, a.user_id LIMIT 10",
        sought.text,
        sought.end,
    )
    .fetch_all(db)
    .await
}

async fn common_addresses(db: &mut PgConnection, sought: &Sought, found: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT a.user_id FROM (SELECT user_id, term FROM users.addresses ORDER BY user_id LIMIT $3) a
           LEFT JOIN profiles.profiles p ON p.user_id = a.user_id
          WHERE strpos(a.term, $1) > 1 AND a.user_id <> ALL ($2) AND coalesce(p.discoverable, true)
          ORDER BY a.user_id LIMIT 10",
        sought.text,
        found,
        SAMPLE,
    )
    .fetch_all(db)
    .await
}

async fn rare_addresses(db: &mut PgConnection, sought: &Sought, found: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "WITH rare AS MATERIALIZED (SELECT user_id FROM users.addresses WHERE pieces @> $3 AND strpos(term, $1) > 1 AND user_id <> ALL ($2))
         SELECT rare.user_id FROM rare LEFT JOIN profiles.profiles p ON p.user_id = rare.user_id
          WHERE coalesce(p.discoverable, true) ORDER BY rare.user_id LIMIT 10",
        sought.text,
        found,
        &sought.pieces,
    )
    .fetch_all(db)
    .await
}

/// Of a name that was changed only the new one counts; somebody may be found by two.
async fn beginning_names(db: &mut PgConnection, sought: &Sought) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT user_id AS "user_id!" FROM (
             (SELECT n.user_id, n.term FROM users.names n LEFT JOIN profiles.profiles p ON p.user_id = n.user_id
               WHERE n.term >= $1 AND n.term < $2 AND coalesce(p.discoverable, true) AND (n.field = 'username' OR NOT coalesce(p.full_name_set, false))
               ORDER BY n.term, n.user_id LIMIT 20)
             UNION ALL
             (SELECT f.user_id, f.term FROM profiles.full_names f JOIN profiles.profiles p ON p.user_id = f.user_id
               WHERE f.term >= $1 AND f.term < $2 AND p.discoverable ORDER BY f.term, f.user_id LIMIT 10)) named
           GROUP BY user_id ORDER BY min(term), user_id LIMIT 10"#,
        sought.text,
        sought.end,
    )
    .fetch_all(db)
    .await
}

async fn common_names(db: &mut PgConnection, sought: &Sought, found: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT DISTINCT n.user_id FROM (SELECT user_id, field, term FROM users.names ORDER BY user_id, field LIMIT $3) n
           LEFT JOIN profiles.profiles p ON p.user_id = n.user_id
          WHERE strpos(n.term, $1) > 1 AND n.user_id <> ALL ($2) AND coalesce(p.discoverable, true)
            AND (n.field = 'username' OR NOT coalesce(p.full_name_set, false))
          ORDER BY n.user_id LIMIT 10",
        sought.text,
        found,
        SAMPLE,
    )
    .fetch_all(db)
    .await
}

async fn rare_names(db: &mut PgConnection, sought: &Sought, found: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH registered AS MATERIALIZED (SELECT user_id, field FROM users.names WHERE pieces @> $3 AND strpos(term, $1) > 1 AND user_id <> ALL ($2)),
                chosen AS MATERIALIZED (SELECT user_id FROM profiles.full_names WHERE pieces @> $3 AND strpos(term, $1) > 1 AND user_id <> ALL ($2))
           SELECT r.user_id AS "user_id!" FROM registered r LEFT JOIN profiles.profiles p ON p.user_id = r.user_id
            WHERE coalesce(p.discoverable, true) AND (r.field = 'username' OR NOT coalesce(p.full_name_set, false))
           UNION
           SELECT c.user_id FROM chosen c JOIN profiles.profiles p ON p.user_id = c.user_id WHERE p.discoverable
           ORDER BY 1 LIMIT 10"#,
        sought.text,
        found,
        &sought.pieces,
    )
    .fetch_all(db)
    .await
}

/// Who they are, in this order.
async fn people(db: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Found>, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query!(
        r#"SELECT u.user_id, u.email, u.username, u.public_key, u.is_active, u.role, u.created_at, p.avatar_url AS "avatar_url?", p.bio AS "bio?",
                  CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name
             FROM users.users u LEFT JOIN profiles.profiles p ON p.user_id = u.user_id
            WHERE u.user_id = ANY ($1) ORDER BY array_position($1, u.user_id)"#,
        ids,
    )
    .fetch_all(db)
    .await?;
    let found = rows.into_iter().map(|row| Found {
        id: row.user_id,
        email: row.email,
        username: row.username,
        full_name: row.full_name,
        is_active: row.is_active,
        avatar_url: row.avatar_url,
        bio: row.bio,
        is_verified: false,
        created_at: OffsetDateTime::into(row.created_at),
        public_key: row.public_key,
        role: row.role,
    });
    Ok(found.collect())
}

#[cfg(test)]
mod tests;
