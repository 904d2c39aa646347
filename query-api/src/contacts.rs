//! Lists of contacts: `GET /contacts`, `GET /contacts/`, `GET /contacts/all-users`.
//!
//! Names are joined when the list is read, so that nobody is shown under a name that they have given up.

use axum::extract::State;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, Rendered, get};
use platform::http::{Params, Problem};
use platform::presence::Seen;
use schemars::JsonSchema;
use schemas::read_models::{Contacts, Profiles, Users};
use schemas::{Timestamp, UserId};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use time::macros::datetime;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::sight;
use crate::streaming::{Page, array};

/// Rows of a page, and most people of `all-users`.
const PAGE_ROWS: i64 = 1_000;

pub(crate) fn routes() -> Api<Reads> {
    const TEXT: &str = "The caller's list, in the order in which it was made, with what everybody is called now.";
    Api::new()
        .route(get("/contacts", contacts).says("contacts.contacts", "My contacts", TEXT))
        .route(get("/contacts/", contacts).says("contacts.contactsWithSlash", "My contacts (as the frontend asks)", TEXT))
        .route(get("/contacts/all-users", all_users).says(
            "contacts.allUsers",
            "Everybody whom I could put into a group",
            "The caller's contacts, then others in the order in which they registered, 1,000 at most. Guests are left out, and whoever does not want to be found.",
        ))
}

type Models = (Users, Profiles, Contacts);

/// A row of a list of contacts.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Contact")]
struct Shown<'a> {
    /// The row's id; of somebody who is no contact, the user's.
    id: Uuid,
    /// Whose list.
    user_id: UserId,
    /// Who is in it.
    contact_id: Uuid,
    /// What the owner calls them.
    nickname: Option<&'a str>,
    /// Since when they are in it; of somebody who is no contact, since when they have an account.
    created_at: Timestamp,
    /// Their address.
    contact_email: Option<&'a str>,
    /// How others see them.
    contact_username: Option<&'a str>,
    /// As they want to be called.
    contact_full_name: Option<&'a str>,
    /// base64 of a JWK: the key that others encrypt for.
    contact_public_key: Option<&'a str>,
    /// Whether they are here, when they let the caller see it.
    is_online: bool,
    /// When they were last here, when they let the caller see it.
    last_seen: Option<Timestamp>,
}

struct Row {
    id: Uuid,
    contact_id: Uuid,
    nickname: Option<String>,
    at: OffsetDateTime,
    email: Option<String>,
    username: Option<String>,
    full_name: Option<String>,
    public_key: Option<String>,
}

impl Row {
    fn shown(&self, owner: UserId, seen: Seen) -> Shown<'_> {
        Shown {
            id: self.id,
            user_id: owner,
            contact_id: self.contact_id,
            nickname: self.nickname.as_deref(),
            created_at: self.at.into(),
            contact_email: self.email.as_deref(),
            contact_username: self.username.as_deref(),
            contact_full_name: self.full_name.as_deref(),
            contact_public_key: self.public_key.as_deref(),
            is_online: seen.is_online,
            last_seen: seen.last_seen,
        }
    }
}

async fn seen_of(reads: &Reads, viewer: UserId, rows: &[Row]) -> Vec<Seen> {
    let people: Vec<UserId> = rows.iter().map(|row| UserId(row.contact_id)).collect();
    sight::seen(&reads.freshness, &reads.presence, viewer, &people).await
}

async fn contacts(
    State(reads): State<Reads>,
    caller: Caller,
    params: Params,
    fresh: Fresh<Models>,
) -> Result<Rendered<Vec<Shown<'static>>>, Problem> {
    params.must_be(&caller)?;
    let (owner, pool) = (caller.user, fresh.pools().0.clone());
    Ok(Rendered::of(array("", |_| String::new(), BEGIN, move |after| page(pool.clone(), reads.clone(), owner, after)).await?))
}

/// After which row a page begins: in the order in which they were added.
type After = (OffsetDateTime, Uuid);

const BEGIN: After = (datetime!(0001-01-01 0:00 UTC), Uuid::nil());

async fn page(pool: PgPool, reads: Reads, owner: UserId, after: After) -> Result<Page<After>, Problem> {
    let rows = ask(&pool, move |db| Box::pin(list(db, owner, after))).await?;
    let seen = seen_of(&reads, owner, &rows).await;
    let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE_ROWS);
    let next = rows.last().filter(|_| full).map(|last| (last.at, last.id));
    Page::of(rows.iter().zip(seen).map(|(row, seen)| row.shown(owner, seen)), next)
}

async fn list(db: &mut PgConnection, owner: UserId, after: After) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT c.contact_row_id AS id, c.contact_id, c.nickname, c.added_at AS at, u.email, u.username, u.public_key,
                  CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name
             FROM contacts.contacts c JOIN users.users u ON u.user_id = c.contact_id LEFT JOIN profiles.profiles p ON p.user_id = c.contact_id
            WHERE c.user_id = $1 AND (c.added_at, c.contact_row_id) > ($2, $3)
            ORDER BY c.added_at, c.contact_row_id LIMIT $4"#,
        owner.0,
        after.0,
        after.1,
        PAGE_ROWS,
    )
    .fetch_all(db)
    .await
}

/// Everybody whom the caller could put into a group: their contacts, then the others in the order in which they registered. Guests are left out, and whoever does
/// not want to be found by those who do not know them.
async fn all_users(
    State(reads): State<Reads>,
    caller: Caller,
    params: Params,
    fresh: Fresh<Models>,
) -> Result<Rendered<Vec<Shown<'static>>>, Problem> {
    params.must_be(&caller)?;
    let owner = caller.user;
    let rows = ask(fresh.pools().0, move |db| {
        Box::pin(async move {
            let mut rows = list(db, owner, BEGIN).await?;
            rows.retain(|row| row.email.is_some() && row.username.is_some());
            let left = PAGE_ROWS - i64::try_from(rows.len()).unwrap_or(PAGE_ROWS);
            rows.extend(others(db, owner, left).await?);
            Ok(rows)
        })
    })
    .await?;
    let seen = seen_of(&reads, owner, &rows).await;
    let shown: Vec<Shown<'_>> = rows.iter().zip(seen).map(|(row, seen)| row.shown(owner, seen)).collect();
    Ok(Rendered::json(&shown))
}

async fn others(db: &mut PgConnection, owner: UserId, most: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT u.user_id AS id, u.user_id AS contact_id, NULL AS nickname, u.created_at AS at, u.email, u.username, u.public_key,
                  CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name
             FROM users.users u LEFT JOIN profiles.profiles p ON p.user_id = u.user_id
            WHERE u.user_id <> $1 AND u.email IS NOT NULL AND u.username IS NOT NULL AND coalesce(p.discoverable, true)
              AND NOT EXISTS (SELECT FROM contacts.contacts c WHERE c.user_id = $1 AND c.contact_id = u.user_id)
            ORDER BY u.user_id LIMIT $2"#,
        owner.0,
        most,
    )
    .fetch_all(db)
    .await
}
