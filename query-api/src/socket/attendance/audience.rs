//! Who may see whom: lists of contacts, settings, blocks.

use std::collections::{BTreeMap, BTreeSet};

use platform::fresh::{Freshness, Wanted};
use platform::http::Problem;
use schemas::UserId;
use schemas::read_models::{Blocks, Contacts, Profiles, ReadModel};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::ask;

/// How many rows are read, and people asked for, at once.
pub(super) const AT_ONCE: usize = 1_000;
const PAGE: i64 = 10_000;
/// Most people that `online_users` looks at.
const MOST: i64 = 10_000;

/// After which person and which of those who hold them a page begins.
pub(super) type After = (Uuid, Uuid);
pub(super) const BEGIN: After = (Uuid::nil(), Uuid::nil());

/// Some of those who may see some people.
#[derive(Debug)]
pub(super) struct Page {
    /// By whom they see.
    pub holders: BTreeMap<UserId, Vec<UserId>>,
    /// There may be more after this.
    pub next: Option<After>,
}

/// Waits until lists and settings contain what these people did. Behind or not: presence is a hint.
pub(super) async fn settle(freshness: &Freshness, people: &[UserId]) {
    freshness.settle_each(&[Wanted::of::<Contacts>(), Wanted::of::<Profiles>()], people).await;
}

/// Those who have any of these people in their list, and may see them.
pub(super) async fn of(users: &PgPool, people: &[UserId], after: After) -> Result<Page, Problem> {
    let people: Vec<Uuid> = people.iter().map(|person| person.0).collect();
    let rows = ask(users, move |db| {
        let people = people.clone();
        Box::pin(async move {
            sqlx::query!(
                "SELECT c.contact_id, c.user_id FROM contacts.contacts c LEFT JOIN profiles.profiles p ON p.user_id = c.contact_id
                  WHERE c.contact_id = ANY ($1) AND (c.contact_id, c.user_id) > ($2, $3) AND c.user_id <> c.contact_id
                    AND (coalesce(p.last_seen, 'everybody') = 'everybody' OR (p.last_seen = 'contacts'
                      AND EXISTS (SELECT FROM contacts.contacts back WHERE back.user_id = c.contact_id AND back.contact_id = c.user_id)))
                  ORDER BY c.contact_id, c.user_id LIMIT $4",
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
    let mut holders = BTreeMap::<UserId, Vec<UserId>>::new();
    for row in rows {
        holders.entry(UserId(row.contact_id)).or_default().push(UserId(row.user_id));
    }
    Ok(Page { holders, next })
}

/// A user's contacts who let the user see whether they are here.
pub(super) async fn shown_contacts(users: &PgPool, user: UserId) -> Result<Vec<UserId>, Problem> {
    let found = ask(users, move |db| {
        Box::pin(async move {
            sqlx::query_scalar!(
                "SELECT c.contact_id FROM contacts.contacts c LEFT JOIN profiles.profiles p ON p.user_id = c.contact_id
                  WHERE c.user_id = $1 AND c.contact_id <> $1
                    AND (coalesce(p.last_seen, 'everybody') = 'everybody' OR (p.last_seen = 'contacts'
                      AND EXISTS (SELECT FROM contacts.contacts back WHERE back.user_id = c.contact_id AND back.contact_id = $1)))
                  LIMIT $2",
                user.0,
                MOST
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.into_iter().map(UserId).collect())
}

/// Those of `people` who let `viewer` see whether they are here.
pub(super) async fn shown_of(users: &PgPool, viewer: UserId, people: &[UserId]) -> Result<Vec<UserId>, Problem> {
    let people: Vec<Uuid> = people.iter().map(|person| person.0).collect();
    let found = ask(users, move |db| {
        let people = people.clone();
        Box::pin(async move {
            sqlx::query_scalar!(
                r#"SELECT asked.id AS "id!" FROM unnest($2::uuid[]) AS asked(id) LEFT JOIN profiles.profiles p ON p.user_id = asked.id
                    WHERE coalesce(p.last_seen, 'everybody') = 'everybody' OR (p.last_seen = 'contacts'
                      AND EXISTS (SELECT FROM contacts.contacts back WHERE back.user_id = asked.id AND back.contact_id = $1))"#,
                viewer.0,
                &people
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.into_iter().map(UserId).collect())
}

/// Those of `people` who have blocked the user, or whom the user has blocked. From a copy that has what all of them did.
pub(super) async fn blocked_with(freshness: &Freshness, user: UserId, people: &[UserId]) -> Result<BTreeSet<UserId>, Problem> {
    let named: Vec<UserId> = people.iter().copied().chain([user]).collect();
    freshness.settle::<Blocks>(&named).await;
    let people: Vec<Uuid> = people.iter().map(|person| person.0).collect();
    let found = ask(&freshness.pools[Blocks::SERVICE], move |db| {
        let people = people.clone();
        Box::pin(async move {
            sqlx::query_scalar!(
                r#"SELECT blocked AS "peer!" FROM blocks.blocks WHERE blocker = $1 AND blocked = ANY ($2)
                    UNION SELECT blocker FROM blocks.blocks WHERE blocked = $1 AND blocker = ANY ($2)"#,
                user.0,
                &people
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.into_iter().map(UserId).collect())
}
