//! Who exists, as far as this service knows.

use std::sync::Arc;
use std::time::Duration;

use platform::fresh::Freshness;
use platform::http::Problem;
use quick_cache::sync::Cache;
use schemas::UserId;
use schemas::read_models::{self, ReadModel};

/// How many people are remembered: 64 KiB times a few.
const REMEMBERED: usize = 65_536;

/// How long a look-up may take, with the wait for a connection.
const BOUND: Duration = Duration::from_secs(2);

/// The copy of `auth.events` that recipients are looked up in, and a memory of those who were found.
///
/// Only a yes is remembered: nobody who has existed stops having existed. Clones share the memory.
#[derive(Debug, Clone)]
pub struct People {
    freshness: Freshness,
    found: Arc<Cache<UserId, ()>>,
}

impl People {
    pub fn new(freshness: Freshness) -> Self {
        Self { freshness, found: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// Whether the copy knows somebody, once it contains what this user and the caller did. A yes stands; a no is a question for [`People::exist_at_head`].
    ///
    /// # Errors
    /// 503 when the copy cannot be asked.
    pub async fn exist(&self, caller: UserId, user: UserId) -> Result<bool, Problem> {
        if self.found.get(&user).is_some() {
            return Ok(true);
        }
        // Behind or not: a yes is a yes, and a no waits for the head.
        self.freshness.settle::<read_models::People>(&[caller, user]).await;
        self.look_up(user).await
    }

    /// The same, from a copy that has everything that stood in its source when this was asked.
    ///
    /// # Errors
    /// 503 when the copy cannot get there in time.
    pub async fn exist_at_head(&self, user: UserId) -> Result<bool, Problem> {
        self.freshness.or_refuse::<read_models::People>().await?;
        self.look_up(user).await
    }

    async fn look_up(&self, user: UserId) -> Result<bool, Problem> {
        let pool = &self.freshness.pools[read_models::People::SERVICE];
        let query = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM people.people WHERE user_id = $1) AS "exists!""#, user.0);
        let exists = match tokio::time::timeout(BOUND, query.fetch_one(pool)).await {
            Ok(Ok(exists)) => exists,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the copy of who exists did not answer");
                return Err(away());
            }
            Err(_) => {
                tracing::warn!(bound_ms = BOUND.as_millis(), "the copy of who exists did not answer in time");
                return Err(away());
            }
        };
        if exists {
            self.found.insert(user, ());
        }
        Ok(exists)
    }
}

pub(super) fn away() -> Problem {
    Problem::unavailable("database_unavailable", "Whether this user exists cannot be told at the moment; please try again")
}
