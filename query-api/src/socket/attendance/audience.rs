//! Who has whom in their list. What they may see of them is [`crate::sight`]'s to say.

use platform::fresh::{Freshness, Wanted};
use platform::http::Problem;
use schemas::UserId;
use schemas::read_models::{Contacts, Profiles};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::ask;

/// How many people are told at once.
pub(super) const AT_ONCE: usize = 1_000;
const PAGE: i64 = 10_000;
/// Most people that `online_users` looks at.
const MOST: i64 = 10_000;

/// After which person and which of those who hold them a page begins.
pub(super) type After = (Uuid, Uuid);
pub(super) const BEGIN: After = (Uuid::nil(), Uuid::nil());

/// Some of those who have some people in their list.
#[derive(Debug)]
pub(super) struct Page {
    /// Who has whom.
    pub pairs: Vec<(UserId, UserId)>,
    /// There may be more after this.
    pub next: Option<After>,
}

/// Waits until lists and settings contain what these people did. Behind or not: presence is a hint.
pub(super) async fn settle(freshness: &Freshness, people: &[UserId]) {
    freshness.settle_each(&[Wanted::of::<Contacts>(), Wanted::of::<Profiles>()], people).await;
}

/// Those who have any of these people in their list.
pub(super) async fn of(users: &PgPool, people: &[UserId], after: After) -> Result<Page, Problem> {
    let people: Vec<Uuid> = people.iter().map(|person| person.0).collect();
    let rows = ask(users, move |db| {
        let people = people.clone();
        Box::pin(async move {
            sqlx::query!(
                "SELECT contact_id, user_id FROM contacts.contacts
                  WHERE contact_id = ANY ($1) AND (contact_id, user_id) > ($2, $3) AND user_id <> contact_id
                  ORDER BY contact_id, user_id LIMIT $4",
                &people,
                after.0,
                after.1,
                PAGE
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    let full = i64::try_from(rows.len()).is_ok_and(|rows| rows >= PAGE);
    let next = rows.last().filter(|_| full).map(|last| (last.contact_id, last.user_id));
    Ok(Page { pairs: rows.into_iter().map(|row| (UserId(row.user_id), UserId(row.contact_id))).collect(), next })
}

/// Those whom a user has in their list.
pub(super) async fn contacts_of(users: &PgPool, user: UserId) -> Result<Vec<UserId>, Problem> {
    let found = ask(users, move |db| {
        Box::pin(async move {
            sqlx::query_scalar!("SELECT contact_id FROM contacts.contacts WHERE user_id = $1 AND contact_id <> $1 LIMIT $2", user.0, MOST)
                .fetch_all(db)
                .await
        })
    })
    .await?;
    Ok(found.into_iter().map(UserId).collect())
}

/// Whether a user has somebody in their list.
pub(super) async fn holds(users: &PgPool, user: UserId, contact: UserId) -> Result<bool, Problem> {
    ask(users, move |db| {
        Box::pin(async move {
            sqlx::query_scalar!(
                r#"SELECT EXISTS (SELECT FROM contacts.contacts WHERE user_id = $1 AND contact_id = $2) AS "holds!""#,
                user.0,
                contact.0
            )
            .fetch_one(db)
            .await
        })
    })
    .await
}
