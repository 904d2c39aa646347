//! Who may see whether somebody is here, and when they were: lists and sockets alike ask here, and nowhere else.
//!
//! The users service answers the same question for whom it has just added or changed, from its own read models (`command-services/src/users/people.rs`): services share nothing.

use std::collections::BTreeSet;

use platform::fresh::Freshness;
use platform::http::Problem;
use platform::presence::{Presence, Seen};
use schemas::UserId;
use schemas::read_models::{Blocks, Contacts, ReadModel};
use schemas::users::LastSeen;
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::ask;

/// People asked for at once.
const AT_ONCE: usize = 1_000;

/// What somebody lets somebody else see of their coming and going.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sight {
    /// To whom they show it.
    shown_to: LastSeen,
    /// Whether they have the other in their list.
    holds: bool,
}

impl Sight {
    /// Whether the other sees it, as far as settings go.
    pub(crate) fn is_open(self) -> bool {
        self.was_open(self.shown_to)
    }

    /// The same, had they shown it to these.
    pub(crate) fn was_open(self, shown_to: LastSeen) -> bool {
        match shown_to {
            LastSeen::Everybody => true,
            LastSeen::Contacts => self.holds,
            LastSeen::Nobody => false,
        }
    }
}

/// What the second of each pair lets the first see, in their order. Blocks are not looked at. `users`: the pool of `user_db`.
///
/// # Errors
/// 503 when the database does not answer.
pub(crate) async fn between(users: &PgPool, pairs: &[(UserId, UserId)]) -> Result<Vec<Sight>, Problem> {
    let (viewers, people): (Vec<Uuid>, Vec<Uuid>) = pairs.iter().map(|(viewer, person)| (viewer.0, person.0)).unzip();
    let rows = ask(users, move |db| {
        let (viewers, people) = (viewers.clone(), people.clone());
        Box::pin(async move {
            sqlx::query!(
                r#"SELECT coalesce(p.last_seen, 'everybody') AS "shown_to!",
                          EXISTS (SELECT FROM contacts.contacts c WHERE c.user_id = asked.person AND c.contact_id = asked.viewer) AS "holds!"
                     FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY AS asked(viewer, person, n)
                     LEFT JOIN profiles.profiles p ON p.user_id = asked.person
                    ORDER BY asked.n"#,
                &viewers,
                &people
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    // What only another release knows is shown to nobody.
    let sight = |shown_to: &str, holds| Sight { shown_to: LastSeen::read(shown_to).unwrap_or(LastSeen::Nobody), holds };
    Ok(rows.iter().map(|row| sight(&row.shown_to, row.holds)).collect())
}

/// What is known of each of `people`, in their order, as far as `viewer` may see it: their settings, and blocks in either direction. Nothing, when it cannot be told who may see what.
///
/// Settings and lists are looked at as they are: whoever asks has waited for them. Blocks are waited for here: whoever blocks names both.
pub(crate) async fn seen(freshness: &Freshness, presence: &Presence, viewer: UserId, people: &[UserId]) -> Vec<Seen> {
    if let Some(seen) = seen_if_known(freshness, presence, viewer, people).await {
        return seen;
    }
    // Oneself one sees.
    let own = if people.contains(&viewer) { presence.of(&[viewer]).await[0] } else { Seen::default() };
    people.iter().map(|person| if *person == viewer { own } else { Seen::default() }).collect()
}

/// The same; `None`, when it cannot be told.
pub(crate) async fn seen_if_known(freshness: &Freshness, presence: &Presence, viewer: UserId, people: &[UserId]) -> Option<Vec<Seen>> {
    let mut seen = Vec::with_capacity(people.len());
    for people in people.chunks(AT_ONCE) {
        seen.extend(presence.known(people).await.ok()?);
    }
    let known: Vec<UserId> = people
        .iter()
        .zip(&seen)
        .filter(|(person, seen)| **person != viewer && **seen != Seen::default())
        .map(|(person, _)| *person)
        .collect();
    if known.is_empty() {
        return Some(seen);
    }
    let visible = visible(freshness, viewer, &known).await.ok()?;
    for (person, seen) in people.iter().zip(&mut seen) {
        if *person != viewer && !visible.contains(person) {
            *seen = Seen::default();
        }
    }
    Some(seen)
}

async fn visible(freshness: &Freshness, viewer: UserId, people: &[UserId]) -> Result<BTreeSet<UserId>, Problem> {
    let pairs: Vec<(UserId, UserId)> = people.iter().map(|person| (viewer, *person)).collect();
    let (sights, blocked) =
        tokio::try_join!(between(&freshness.pools[Contacts::SERVICE], &pairs), blocked_with(freshness, viewer, people))?;
    let shown = people.iter().zip(sights).filter(|(person, sight)| sight.is_open() && !blocked.contains(person));
    Ok(shown.map(|(person, _)| *person).collect())
}

/// Those of `people` who have blocked the user, or whom the user has blocked.
async fn blocked_with(freshness: &Freshness, user: UserId, people: &[UserId]) -> Result<BTreeSet<UserId>, Problem> {
    if !freshness.settle::<Blocks>(&[user]).await {
        return Err(Problem::unavailable("projection_behind", "Who has blocked whom is not known yet; please try again in a moment"));
    }
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

#[cfg(test)]
mod tests {
    use super::Sight;
    use schemas::users::LastSeen::{Contacts, Everybody, Nobody};

    #[test]
    fn what_is_shown_to_contacts_is_seen_by_those_in_the_list_of_whom_they_see() {
        let table =
            [(Everybody, false, true), (Everybody, true, true), (Contacts, false, false), (Contacts, true, true), (Nobody, true, false)];
        for (shown_to, holds, open) in table {
            assert_eq!(Sight { shown_to, holds }.is_open(), open, "{shown_to:?} {holds}");
            assert_eq!(Sight { shown_to: Nobody, holds }.was_open(shown_to), open, "{shown_to:?} {holds}");
        }
    }
}
