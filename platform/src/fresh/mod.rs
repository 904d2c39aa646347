//! Reads after writes: a query's pool comes only together with the wait for what its caller has done.

mod announce;
mod extract;
mod reached;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::UserId;
use schemas::read_models::ReadModel;
use sqlx::PgPool;
use tokio::time::Instant;
use uuid::Uuid;

pub(crate) use extract::unreadable_token;
pub use extract::{Behind, Fresh, ReadModels, Wanted};
pub use reached::{Progress, Reached};

use crate::http::Problem;
use crate::marks::{ConsistencyToken, Heads, Known, Mark, Marks};

/// How long a reader waits at most.
pub const BOUND: Duration = Duration::from_secs(2);

/// Everything that waiting needs; part of the state of every router whose handlers read. Clones share it.
#[derive(Clone, Debug)]
pub struct Freshness {
    /// Marks.
    pub marks: Marks,
    /// Heads.
    pub heads: Heads,
    /// Progress.
    pub reached: Reached,
    /// Read pools by service (`messages` → `message_db`).
    pub pools: Arc<BTreeMap<&'static str, PgPool>>,
}

impl Freshness {
    /// For a command: waits until a copy has what these users did or were named in. A pass may then rest on it. `false` at the bound (2 s).
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn settle<M: ReadModel>(&self, users: &[UserId]) -> bool {
        self.settle_each(&[Wanted::of::<M>()], users).await == [true]
    }

    /// As [`Freshness::settle`], for several copies at once: the marks are asked for once. Which of them has it, in their order.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn settle_each(&self, models: &[Wanted], users: &[UserId]) -> Vec<bool> {
        let known = self.marks.of(users).await;
        self.reach(models, &known).await
    }

    /// The same, for somebody who has asked for the marks already.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn reach(&self, models: &[Wanted], known: &Known) -> Vec<bool> {
        let deadline = Instant::now() + BOUND;
        let nothing = ConsistencyToken::default();
        let waits = models.iter().map(|wanted| self.has(*wanted, known, &nothing, deadline));
        futures::future::join_all(waits).await
    }

    /// For a command's refusal that rests on a copy: waits for the source's head.
    ///
    /// # Errors
    /// 503 `projection_behind` at the bound (2 s), or when the source cannot be asked.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn or_refuse<M: ReadModel>(&self) -> Result<(), Problem> {
        if self.reached.reaches_head(M::NAME, M::READS, &self.heads, BOUND).await { Ok(()) } else { Err(behind(M::NAME)) }
    }

    /// Whether a read model contains what is known and what a token names, before the deadline.
    async fn has(&self, wanted: Wanted, known: &Known, token: &ConsistencyToken, deadline: Instant) -> bool {
        let known = async {
            match known {
                Known::Marks(marks) => self.covers(wanted, marks, deadline).await,
                Known::Unsure => self.reached.reaches_head(wanted.name, wanted.reads, &self.heads, left(deadline)).await,
            }
        };
        let named = self.has_named(wanted, token, deadline);
        let (known, named) = tokio::join!(known, named);
        known && named
    }

    /// Marks of a topic's other generations were left in another life of its ledger, and ask for nothing. Which generation it is in is only asked for when there is something to wait for.
    async fn covers(&self, wanted: Wanted, marks: &[Mark], deadline: Instant) -> bool {
        let marks = wanted.read_by(marks);
        let living = async {
            let mut living = marks.clone();
            for topic in wanted.reads {
                if let Ok(head) = self.heads.head(*topic).await {
                    living.retain(|mark| mark.topic != *topic || mark.generation == head.generation);
                }
            }
            living
        };
        tokio::select! {
            biased;
            covered = self.reached.covers(wanted.name, &marks, left(deadline)) => covered,
            living = living => self.reached.covers(wanted.name, &living, left(deadline)).await,
        }
    }

    /// Marks of another life of a ledger ask for nothing. Which life it is in is only asked for when there is something to wait for.
    async fn has_named(&self, wanted: Wanted, token: &ConsistencyToken, deadline: Instant) -> bool {
        let marks = wanted.read_by(&token.marks);
        tokio::select! {
            biased;
            covered = self.reached.covers(wanted.name, &marks, left(deadline)) => covered,
            living = self.of_this_life(&marks, token) => self.reached.covers(wanted.name, &living, left(deadline)).await,
        }
    }

    async fn of_this_life(&self, marks: &[Mark], token: &ConsistencyToken) -> Vec<Mark> {
        let mut living = marks.to_vec();
        for (topic, incarnation) in &token.incarnations {
            if !marks.iter().any(|mark| mark.topic == *topic) {
                continue;
            }
            if let Ok(head) = self.heads.head(*topic).await
                && short(head.incarnation) != *incarnation
            {
                living.retain(|mark| mark.topic != *topic);
            }
        }
        living
    }
}

/// How an incarnation stands in a token.
fn short(incarnation: Uuid) -> u32 {
    incarnation.as_fields().0
}

fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}

fn behind(model: &'static str) -> Problem {
    metrics::counter!("projection_reads_behind_total", "projection" => model).increment(1);
    is_behind()
}

pub(crate) fn is_behind() -> Problem {
    Problem::unavailable("projection_behind", "This is not up to date yet; please try again in a moment")
}
