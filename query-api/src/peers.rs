//! The people that messages are shown with: joined at read time, by one look-up for a whole page, since no projection depends on another service's topic.

use std::collections::HashMap;

use platform::http::Problem;
use schemas::{Timestamp, UserId};
use sqlx::PgPool;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::database::ask;

/// Somebody, as far as those whom they write to may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    pub username: Option<String>,
    pub full_name: Option<String>,
    pub avatar_url: Option<String>,
    /// Whether others see what they have read.
    pub shows_reading: bool,
}

/// What is known of each of those named. `users` is the users service's pool, waited for with `Users` and `Profiles`.
///
/// # Errors
/// 503 when the database does not answer.
pub async fn of(users: &PgPool, ids: &[Uuid]) -> Result<HashMap<Uuid, Peer>, Problem> {
    let ids = ids.to_vec();
    let found = ask(users, move |db| {
        let ids = ids.clone();
        Box::pin(async move {
            sqlx::query!(
                r#"SELECT asked.id AS "id!", u.username AS "username?", CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name,
                          p.avatar_url AS "avatar_url?", coalesce(p.read_receipts, true) AS "shows_reading!"
                     FROM unnest($1::uuid[]) AS asked(id)
                     LEFT JOIN users.users u ON u.user_id = asked.id
                     LEFT JOIN profiles.profiles p ON p.user_id = asked.id"#,
                &ids
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    let peers = found.into_iter().map(|row| {
        let peer = Peer { username: row.username, full_name: row.full_name, avatar_url: row.avatar_url, shows_reading: row.shows_reading };
        (row.id, peer)
    });
    Ok(peers.collect())
}

/// Who looks at messages, and what they may see of the other's reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    pub user: UserId,
    /// Whether the other lets them see it.
    pub sees_reading: bool,
}

impl Viewer {
    /// Somebody who looks at messages between them and a peer. Of whom nothing is known, nothing is hidden.
    pub fn of(user: UserId, peer: Option<&Peer>) -> Self {
        Self { user, sees_reading: peer.is_none_or(|peer| peer.shows_reading) }
    }

    /// When a message was read, for whoever looks: its reader knows it anyway.
    pub fn read_at(self, recipient: Uuid, read_at: Option<OffsetDateTime>) -> Option<Timestamp> {
        read_at.filter(|_| self.sees_reading || recipient == self.user.0).map(Timestamp::from)
    }
}

#[cfg(test)]
mod tests {
    use super::{Peer, Viewer};
    use schemas::UserId;
    use time::OffsetDateTime;
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    #[test]
    fn a_reader_who_shows_nothing_still_sees_what_they_have_read_themselves() {
        let peer = |shows_reading| Peer { username: None, full_name: None, avatar_url: None, shows_reading };
        let at = Some(OffsetDateTime::UNIX_EPOCH);
        for (peer, to_bob, to_ann) in [(Some(peer(false)), false, true), (Some(peer(true)), true, true), (None, true, true)] {
            let ann = Viewer::of(ANN, peer.as_ref());
            assert_eq!((ann.read_at(BOB.0, at).is_some(), ann.read_at(ANN.0, at).is_some()), (to_bob, to_ann));
            assert_eq!(ann.read_at(ANN.0, None), None);
        }
    }
}
