//! Who exists, and what is shown of them, from the read models of this service.

use std::time::Duration;

use platform::fresh::{Freshness, Wanted};
use platform::http::Problem;
use platform::presence::{Presence, Seen};
use schemas::read_models::{Contacts, Profiles, ReadModel, Users};
use schemas::{UserId, search};

/// How long a look-up may take, with the wait for a connection.
const BOUND: Duration = Duration::from_secs(2);

/// Looks people up. Clones share it.
#[derive(Debug, Clone)]
pub struct People {
    freshness: Freshness,
    presence: Presence,
}

/// How somebody is named.
#[derive(Clone)]
pub enum Who {
    /// By id.
    Id(UserId),
    /// By their exact address.
    Address(String),
}

/// Somebody, as the asker may see them.
pub struct Person {
    pub id: UserId,
    pub email: Option<String>,
    pub username: Option<String>,
    pub full_name: Option<String>,
    pub registered_name: Option<String>,
    pub public_key: Option<String>,
    pub is_active: bool,
    /// Whether the asker may see whether they are here, and when they were.
    shows_presence: bool,
}

impl Person {
    /// Somebody of whom nothing is known any more.
    pub fn gone(id: UserId) -> Self {
        Self {
            id,
            email: None,
            username: None,
            full_name: None,
            registered_name: None,
            public_key: None,
            is_active: false,
            shows_presence: false,
        }
    }
}

impl People {
    pub fn new(freshness: Freshness, presence: Presence) -> Self {
        Self { freshness, presence }
    }

    /// Somebody, once the read models contain what they and the asker did. `None` is a question for [`People::find_at_head`].
    ///
    /// # Errors
    /// 503 when the read models cannot be asked.
    pub async fn find(&self, asker: UserId, who: &Who) -> Result<Option<Person>, Problem> {
        let named: &[UserId] = if let Who::Id(id) = who { &[asker, *id] } else { &[asker] };
        // Behind or not: whoever is there is there, and nobody waits for the head.
        self.freshness.settle_each(&[Wanted::of::<Users>(), Wanted::of::<Profiles>(), Wanted::of::<Contacts>()], named).await;
        self.look_up(asker, who).await
    }

    /// The same, from a read model that has everybody who had registered when this was asked.
    ///
    /// # Errors
    /// 503 when it cannot get there in time.
    pub async fn find_at_head(&self, asker: UserId, who: &Who) -> Result<Option<Person>, Problem> {
        self.freshness.or_refuse::<Users>().await?;
        self.look_up(asker, who).await
    }

    /// Whether they are here, and when they were, as far as the asker may see it.
    pub async fn seen(&self, person: &Person) -> Seen {
        if !person.shows_presence {
            return Seen::default();
        }
        self.presence.of(&[person.id]).await.first().copied().unwrap_or_default()
    }

    async fn look_up(&self, asker: UserId, who: &Who) -> Result<Option<Person>, Problem> {
        let (id, address) = match who {
            Who::Id(id) => (Some(id.0), None),
            Who::Address(address) => (None, Some(search::folded(address))),
        };
        let query = sqlx::query!(
            r#"SELECT u.user_id, u.email, u.username, u.full_name AS registered_name, u.public_key, u.is_active,
                      CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name,
                      (u.user_id = $1 OR coalesce(p.last_seen, 'everybody') = 'everybody' OR (p.last_seen = 'contacts'
                        AND EXISTS (SELECT FROM contacts.contacts c WHERE c.user_id = u.user_id AND c.contact_id = $1))) AS "shows_presence!"
                 FROM users.users u LEFT JOIN profiles.profiles p ON p.user_id = u.user_id
                WHERE u.user_id = coalesce($2, (SELECT a.user_id FROM users.addresses a WHERE a.term = $3 ORDER BY a.user_id LIMIT 1))"#,
            asker.0,
            id,
            address,
        );
        let found = match tokio::time::timeout(BOUND, query.fetch_optional(&self.freshness.pools[Users::SERVICE])).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the read model of who people are did not answer");
                return Err(away());
            }
            Err(_) => {
                tracing::warn!(bound_ms = BOUND.as_millis(), "the read model of who people are did not answer in time");
                return Err(away());
            }
        };
        Ok(found.map(|row| Person {
            id: UserId(row.user_id),
            email: row.email,
            username: row.username,
            full_name: row.full_name,
            registered_name: row.registered_name,
            public_key: row.public_key,
            is_active: row.is_active,
            shows_presence: row.shows_presence,
        }))
    }
}

pub fn away() -> Problem {
    Problem::unavailable("database_unavailable", "Whether this user exists cannot be told at the moment; please try again")
}

/// Nobody has this id or this address.
pub fn unknown() -> Problem {
    Problem::not_found("user_unknown", "User not found")
}
