//! The extractor that every query begins with.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::StatusCode;
use axum::http::request::Parts;
use schemas::Topic;
use schemas::read_models::ReadModel;
use sqlx::PgPool;
use tokio::time::Instant;

use super::{BOUND, Freshness, behind};
use crate::auth::{Caller, Tokens};
use crate::http::Problem;
use crate::marks::{ConsistencyToken, Mark};

/// The header that names what a read must contain.
const HEADER: &str = "x-consistency-token";

/// Says that an answer may lack something that its reader knows of. Put into the request's extensions by [`crate::http::routes`], which turns it into
/// `X-Projection-Behind: true`. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Behind(Arc<AtomicBool>);

impl Behind {
    /// It may.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    /// Whether it may.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A read model as something to wait for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// [`ReadModel::NAME`]
    pub name: &'static str,
    /// [`ReadModel::SERVICE`]
    pub service: &'static str,
    /// [`ReadModel::READS`]
    pub reads: &'static [Topic],
}

impl Wanted {
    /// A read model as something to wait for.
    #[must_use]
    pub const fn of<M: ReadModel>() -> Self {
        Self { name: M::NAME, service: M::SERVICE, reads: M::READS }
    }

    pub(super) fn read_by(&self, marks: &[Mark]) -> Vec<Mark> {
        marks.iter().filter(|mark| self.reads.contains(&mark.topic)).copied().collect()
    }
}

/// The read models that one query reads: `(A,)`, `(A, B)` or `(A, B, C)`.
pub trait ReadModels: Send + Sync + 'static {
    /// Each of them.
    const WANTED: &'static [Wanted];
}

impl<A: ReadModel> ReadModels for (A,) {
    const WANTED: &'static [Wanted] = &[Wanted::of::<A>()];
}

impl<A: ReadModel, B: ReadModel> ReadModels for (A, B) {
    const WANTED: &'static [Wanted] = &[Wanted::of::<A>(), Wanted::of::<B>()];
}

impl<A: ReadModel, B: ReadModel, C: ReadModel> ReadModels for (A, B, C) {
    const WANTED: &'static [Wanted] = &[Wanted::of::<A>(), Wanted::of::<B>(), Wanted::of::<C>()];
}

/// The read models that a query reads: waits until they contain what the caller did (and what the request's `X-Consistency-Token` names), then hands out their pools.
///
/// At the bound: 503 `projection_behind` when the request carried a token, else the available answer with `X-Projection-Behind: true` (set by the layer that
/// [`crate::http::routes`] lays around). 422 `consistency_token` for a token that cannot be read.
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

impl<A: ReadModel, B: ReadModel> Fresh<(A, B)> {
    /// The pools of their services, in the order of the models.
    #[must_use]
    pub fn pools(&self) -> (&PgPool, &PgPool) {
        (&self.pools[A::SERVICE], &self.pools[B::SERVICE])
    }
}

impl<A: ReadModel, B: ReadModel, C: ReadModel> Fresh<(A, B, C)> {
    /// The pools of their services, in the order of the models.
    #[must_use]
    pub fn pools(&self) -> (&PgPool, &PgPool, &PgPool) {
        (&self.pools[A::SERVICE], &self.pools[B::SERVICE], &self.pools[C::SERVICE])
    }
}

impl<S, M: ReadModels> FromRequestParts<S> for Fresh<M>
where
    S: Send + Sync,
    Tokens: FromRef<S>,
    Freshness: FromRef<S>,
{
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let deadline = Instant::now() + BOUND;
        let caller = match parts.extensions.get::<Caller>() {
            Some(caller) => caller.clone(),
            None => Caller::from_request_parts(parts, state).await?,
        };
        let token = token(parts)?;
        let freshness = Freshness::from_ref(state);
        if let Some(wanted) = M::WANTED.iter().find(|wanted| !freshness.pools.contains_key(wanted.service)) {
            tracing::error!(projection = wanted.name, service = wanted.service, "a query was started without the pool of its read model");
            return Err(Problem::internal());
        }
        let known = freshness.marks.of(&[caller.user]).await;
        let named = token.clone().unwrap_or_default();
        let waits = M::WANTED.iter().map(|wanted| freshness.has(*wanted, &known, &named, deadline));
        let late = futures::future::join_all(waits).await.iter().position(|has| !has);
        if let Some(late) = late {
            let problem = behind(M::WANTED[late].name);
            if token.is_some() {
                return Err(problem);
            }
            if let Some(flag) = parts.extensions.get::<Behind>() {
                flag.set();
            }
        }
        Ok(Self { pools: freshness.pools, models: PhantomData })
    }
}

fn token(parts: &Parts) -> Result<Option<ConsistencyToken>, Problem> {
    let Some(value) = parts.headers.get(HEADER) else { return Ok(None) };
    let read = value.to_str().ok().and_then(ConsistencyToken::decode);
    read.map(Some).ok_or_else(unreadable_token)
}

pub(crate) fn unreadable_token() -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "consistency_token", "X-Consistency-Token is not one that we have given")
}
