//! Waiting for the lock.

use std::fmt::Debug;

use sqlx::PgConnection;

use super::watch::Watch;
use super::{Ownership, ProjectionLock, STAND_BY};
use crate::http::health::Readiness;
use crate::log::{Checkpoints, Ends, EventSource, SourceError};
use crate::shutdown::Shutdown;

/// Where a projection stands, as somebody finds it who does not run it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stands {
    /// There.
    At(Checkpoints),
    /// Nowhere yet, or no longer.
    Nowhere,
    /// It is of another build: not for us to judge.
    NotOurs,
}

/// Whoever stands by for a projection.
pub trait Successor: Debug + Send {
    /// Why it cannot go on standing by.
    type Error: From<sqlx::Error>;

    /// Where the projection stands. The connection is the one that waits for the lock.
    ///
    /// # Errors
    /// Something does not answer, or the projection is not to be run by this release.
    fn stands(&self, connection: &mut PgConnection) -> impl Future<Output = Result<Stands, Self::Error>> + Send;

    /// What an error of the source means to it.
    fn broken(&self, error: SourceError) -> Self::Error;
}

impl ProjectionLock {
    /// Waits until the lock is free, and takes it; `false` when the drain comes first. Who stands by becomes ready when whoever holds it has caught up, and ends the holder's session
    /// where that has stalled (see [`Ownership::Alone`]).
    ///
    /// # Errors
    /// As [`Successor`].
    pub async fn acquire<S: Successor>(
        &mut self,
        ownership: Ownership,
        successor: &S,
        source: &mut dyn EventSource,
        readiness: &Readiness,
        shutdown: &Shutdown,
    ) -> Result<bool, S::Error> {
        let (name, mut said, mut ends) = (self.name, false, None);
        let mut watch = match ownership {
            Ownership::Alone { stalled_after } => Some(Watch::new(stalled_after)),
            // Who shares waits only while somebody refills, and catches up by itself afterwards.
            Ownership::Shared => None,
        };
        while !self.try_lock(!ownership.is_alone()).await? {
            if !std::mem::replace(&mut said, true) {
                tracing::info!(projection = name, "another process runs this projection; standing by");
            }
            if let Some(watch) = &mut watch {
                let to_pass = match &ends {
                    Some(ends) => ends,
                    None => ends.insert(source.ends().await.map_err(|error| successor.broken(error))?),
                };
                if readiness.missing().contains(&name)
                    && let Stands::At(stands) = successor.stands(&mut self.connection).await?
                    && passes(source, &stands, to_pass).await.map_err(|error| successor.broken(error))?
                {
                    readiness.set(name, true);
                }
                if watch.has_ended_the_holder(self, successor, source).await? {
                    continue;
                }
            }
            tokio::select! {
                () = shutdown.draining() => return Ok(false),
                () = tokio::time::sleep(STAND_BY) => {}
            }
        }
        Ok(true)
    }
}

/// Whether whoever stands there has everything that came before these ends.
pub(super) async fn passes(source: &mut dyn EventSource, stands: &Checkpoints, ends: &Ends) -> Result<bool, SourceError> {
    source.seek(stands).await?;
    Ok(source.has_passed(ends))
}
