//! Who exists and who has blocked whom, as far as this service knows.

use std::sync::Arc;
use std::time::Duration;

use platform::fresh::{Freshness, Wanted};
use platform::http::Problem;
use platform::marks::Known;
use quick_cache::sync::Cache;
use schemas::read_models::{self, ReadModel};
use schemas::{Topic, UserId};
use tokio::time::Instant;

/// How many people are remembered: 64 KiB times a few.
const REMEMBERED: usize = 65_536;

/// How long nothing that was done between two people is missed by whoever reads their marks: marks are kept for half as long again.
const OPEN_FOR: Duration = Duration::from_secs(20);

/// How long a look-up may take, with the wait for a connection.
const BOUND: Duration = Duration::from_secs(2);

/// The copies of `auth.events` and `users.events` that sends look in, and a memory of those who were found.
///
/// Of who exists only a yes is remembered: nobody who has existed stops having existed. That nothing stands between two people is remembered for as long as their
/// marks would tell otherwise. Clones share the memory.
#[derive(Debug, Clone)]
pub struct People {
    freshness: Freshness,
    found: Arc<Cache<UserId, ()>>,
    /// Sender and recipient, and since when what is known of them holds.
    open: Arc<Cache<(UserId, UserId), Instant>>,
}

/// How two people stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// The one can write to the other.
    Open,
    /// One of them has blocked the other.
    Blocked,
    /// There is no such other.
    Unknown,
}

impl People {
    pub fn new(freshness: Freshness) -> Self {
        Self { freshness, found: Arc::new(Cache::new(REMEMBERED)), open: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// How the two stand to each other, once the copies contain what both did. [`Between::Open`] stands; anything else is a question for [`People::between_at_head`].
    ///
    /// # Errors
    /// 503 when a copy cannot be asked, or the copy of blocks does not get there in time: who has been promised that nothing comes any more is not to wait for it.
    pub async fn between(&self, sender: UserId, recipient: UserId) -> Result<Between, Problem> {
        let began = Instant::now();
        let known = self.freshness.marks.of(&[sender, recipient]).await;
        // Whoever had blocked the other since then would have left a mark, and it would still be there.
        if let Known::Marks(marks) = &known
            && !marks.iter().any(|mark| mark.topic == Topic::Users)
            && self.open.get(&(sender, recipient)).is_some_and(|since| since.elapsed() < OPEN_FOR)
        {
            return Ok(Between::Open);
        }
        let both = [Wanted::of::<read_models::Blocks>(), Wanted::of::<read_models::People>()];
        let wanted = if self.found.get(&recipient).is_some() { &both[..1] } else { &both };
        let settled = self.freshness.reach(wanted, &known).await;
        // Of who exists, behind or not: a yes is a yes, and a no waits for the head.
        if settled.first() != Some(&true) {
            return Err(behind());
        }
        let between = self.look_up(sender, recipient).await?;
        if between == Between::Open {
            self.open.insert((sender, recipient), began);
        }
        Ok(between)
    }

    /// The same, from copies that have everything that stood in their source when this was asked: the one on which `refusal` rests.
    ///
    /// # Errors
    /// 503 when the copy cannot get there in time.
    pub async fn between_at_head(&self, sender: UserId, recipient: UserId, refusal: Between) -> Result<Between, Problem> {
        if refusal == Between::Unknown {
            self.freshness.or_refuse::<read_models::People>().await?;
        }
        self.freshness.or_refuse::<read_models::Blocks>().await?;
        self.look_up(sender, recipient).await
    }

    async fn look_up(&self, sender: UserId, recipient: UserId) -> Result<Between, Problem> {
        let pool = &self.freshness.pools[read_models::People::SERVICE];
        let query = sqlx::query!(
            r#"SELECT EXISTS (SELECT FROM people.people WHERE user_id = $2) AS "exists!",
                      EXISTS (SELECT FROM blocks.blocks WHERE (blocker = $1 AND blocked = $2) OR (blocker = $2 AND blocked = $1)) AS "blocked!""#,
            sender.0,
            recipient.0,
        );
        let found = match tokio::time::timeout(BOUND, query.fetch_one(pool)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the copies of who exists and who is blocked did not answer");
                return Err(away());
            }
            Err(_) => {
                tracing::warn!(bound_ms = BOUND.as_millis(), "the copies of who exists and who is blocked did not answer in time");
                return Err(away());
            }
        };
        if !found.exists {
            return Ok(if self.found.get(&recipient).is_none() { Between::Unknown } else { standing(found.blocked) });
        }
        self.found.insert(recipient, ());
        Ok(standing(found.blocked))
    }
}

fn standing(blocked: bool) -> Between {
    if blocked { Between::Blocked } else { Between::Open }
}

pub(super) fn away() -> Problem {
    Problem::unavailable("database_unavailable", "Whether this user can be written to cannot be told at the moment; please try again")
}

pub(super) fn behind() -> Problem {
    Problem::unavailable("projection_behind", "Whether this user can be written to is not known yet; please try again in a moment")
}
