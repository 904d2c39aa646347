//! Reads after writes: a query's pool comes only together with the wait for what its caller has done.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use schemas::read_models::ReadModel;
use schemas::{Topic, UserId};
use sqlx::PgPool;

use crate::auth::Tokens;
use crate::http::Problem;
use crate::marks::{Heads, Mark, Marks};

/// How long a reader waits at most.
pub const BOUND: Duration = Duration::from_secs(2);

/// How far each projection is. Clones share one state.
///
/// Told by the runners of this process ([`Reached::advance`]), by Redis (channel `reached`) for runners elsewhere, and read from the projection's `checkpoints`
/// as the last resort (at most every 20 ms while somebody waits).
#[derive(Clone, Debug)]
pub struct Reached {}

/// How far a projection is in one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last position applied, per partition.
    pub partitions: BTreeMap<i32, i64>,
    /// Ledger source: everything up to this position has been seen, whatever its partition.
    pub scanned: i64,
}

impl Reached {
    /// `models`: name → pool of the service's database, for the last resort. Starts following and announcing over Redis.
    #[must_use]
    pub fn new(_redis: crate::redis::Redis, _models: BTreeMap<&'static str, PgPool>, _shutdown: crate::shutdown::Shutdown) -> Self {
        todo!()
    }
    /// A runner of this process has committed a checkpoint. Wakes whoever waits, and announces it to others (gathered, at most every 5 ms).
    pub fn advance(&self, _model: &'static str, _topic: Topic, _progress: &Progress) {
        todo!()
    }
    /// Waits until a projection covers all marks of its topics; `false` at the bound.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn covers(&self, _model: &'static str, _marks: &[Mark], _bound: Duration) -> bool {
        todo!()
    }
    /// Waits until a projection has reached the present head of its sources; `false` at the bound or when a source does not answer.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn reaches_head(&self, _model: &'static str, _reads: &[Topic], _heads: &Heads, _bound: Duration) -> bool {
        todo!()
    }
}

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
    /// For a command: waits until a copy has what these users did or were named in. A pass may then rest on it.
    pub async fn settle<M: ReadModel>(&self, _users: &[UserId]) -> bool {
        todo!()
    }
    /// For a command's refusal that rests on a copy: waits for the source's head.
    ///
    /// # Errors
    /// 503 `projection_behind` at the bound.
    pub async fn or_refuse<M: ReadModel>(&self) -> Result<(), Problem> {
        todo!()
    }
}

/// The read models that a query reads: waits until they contain what the caller did (and what the request's `X-Consistency-Token` names), then hands out their pools.
///
/// At the bound: 503 `projection_behind` when the request carried a token, else the available answer with `X-Projection-Behind: true` (set by the layer that [`crate::http::routes`] lays around).
#[derive(Debug)]
pub struct Fresh<Models> {
    pools: Arc<BTreeMap<&'static str, PgPool>>,
    models: PhantomData<Models>,
}

impl<A: ReadModel> Fresh<(A,)> {
    /// The pool of its service.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pools[A::SERVICE]
    }
}

impl<S, A: ReadModel> FromRequestParts<S> for Fresh<(A,)>
where
    S: Send + Sync,
    Tokens: FromRef<S>,
    Freshness: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(_parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        todo!()
    }
}

/// Whether an answer was given from a read model that is behind: set by [`Fresh`], answered as `X-Projection-Behind: true` by [`crate::http::routes`],
/// which puts one into every request. Clones share one state.
#[derive(Debug, Clone, Default)]
pub struct Behind(Arc<std::sync::atomic::AtomicBool>);

impl Behind {
    /// The answer is behind.
    pub fn set(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
    /// Whether it is.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Acquire)
    }
}
