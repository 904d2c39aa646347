//! What drives a projection.

mod batch;
mod follow;
mod owner;
mod pace;
mod parked;
mod schema;

use std::sync::Arc;
use std::time::Duration;

use schemas::Topic;
use schemas::read_models::ReadModel;

use super::{EventSource, Ownership, Projection, ProjectionLock, SourceError};
use crate::config::StartError;
use crate::fresh::{Progress, Reached};
use crate::http::health::Readiness;
use crate::shutdown::Shutdown;
use follow::{Followed, Goal};
use owner::ByRows;

pub use parked::{ParkedKey, RetryError, list_parked, retry_parked, skip_parked};

/// Where progress is told. [`Reached`] is what production uses.
pub trait Announce: Send + Sync + std::fmt::Debug + 'static {
    /// A projection has committed a checkpoint of a topic: partitions that moved, and the scan when it moved (else 0).
    fn advance(&self, model: &'static str, topic: Topic, progress: &Progress);
}

impl Announce for Reached {
    fn advance(&self, model: &'static str, topic: Topic, progress: &Progress) {
        Self::advance(self, model, topic, progress);
    }
}

/// What a runner needs besides projection and source.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// The service's database, as its owner. The runner opens one connection of its own with the same options.
    pub pool: sqlx::PgPool,
    /// Where progress is told.
    pub announce: Arc<dyn Announce>,
    /// Where "caught up once" is told, under the projection's name.
    pub readiness: Readiness,
    /// With whom it is run.
    pub ownership: Ownership,
}

/// Runs one projection until the drain.
#[derive(Debug)]
pub struct Runner<P: Projection> {
    projection: P,
    config: RunnerConfig,
}

/// Why a session with the projection's schema ended early.
#[derive(Debug)]
enum Trouble {
    /// Something did not answer: try again.
    Infrastructure(Box<dyn std::error::Error + Send + Sync>),
    /// What a retry cannot mend.
    Stop(StartError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Infrastructure(Box::new(error))
    }
}

impl Trouble {
    /// [`SourceError::Reassigned`] is the follower's own to handle.
    fn source(model: &'static str, error: SourceError) -> Self {
        match error {
            SourceError::Unavailable(..) | SourceError::Reassigned => Self::Infrastructure(Box::new(error)),
            SourceError::Gap { .. } => {
                metrics::counter!("projection_gaps_total", "projection" => model).increment(1);
                Self::Stop(StartError::because(
                    format!(
                        "the projection {model} stopped at a gap in its log; compare the topic with its ledger (`postrider events`) before it goes on"
                    ),
                    error,
                ))
            }
            SourceError::Ahead(_) | SourceError::Foreign { .. } => {
                Self::Stop(StartError::because(format!("the projection {model} stopped"), error))
            }
        }
    }
}

impl<P: Projection> Runner<P> {
    /// Schema, checkpoint and metric label.
    const NAME: &'static str = P::Model::NAME;

    /// A runner that has not begun.
    pub fn new(projection: P, config: RunnerConfig) -> Self {
        Self { projection, config }
    }

    /// Makes the schema when it is missing (refills it when it is older, refuses when it is newer), then applies batch after batch: fold, lock and compare the
    /// checkpoint, apply, move, announce. Infrastructure errors are tried again with backoff (100 ms to 5 s); poison parks its key; a gap, a newer
    /// build or more than 30 newly parked keys in a minute return. Finishes the batch it is in when the drain begins.
    ///
    /// # Errors
    /// What a retry cannot mend.
    pub async fn run(self, mut source: Box<dyn EventSource>, shutdown: Shutdown) -> Result<(), StartError> {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        let mut pause = SHORTEST;
        let mut alarm = parked::Alarm::default();
        loop {
            let mut moved = false;
            match self.session(&mut *source, &shutdown, &mut alarm, &mut moved).await {
                Ok(Followed::Drained) => return Ok(()),
                Ok(Followed::CaughtUp) => {}
                Err(Trouble::Stop(error)) => {
                    tracing::error!(projection = Self::NAME, error = %error, cause = std::error::Error::source(&error).map(tracing::field::display), "projection stopped");
                    return Err(error);
                }
                Err(Trouble::Infrastructure(error)) => {
                    if moved {
                        pause = SHORTEST;
                    }
                    tracing::warn!(projection = Self::NAME, %error, cause = error.source().map(tracing::field::display), pause_ms = pause.as_millis(), "projection will try again");
                    tokio::select! {
                        () = shutdown.draining() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    /// From taking ownership to losing it. `moved` becomes true with the first batch applied.
    async fn session(
        &self,
        source: &mut dyn EventSource,
        shutdown: &Shutdown,
        alarm: &mut parked::Alarm,
        moved: &mut bool,
    ) -> Result<Followed, Trouble> {
        let RunnerConfig { pool, readiness, ownership, .. } = &self.config;
        let mut lock = ProjectionLock::connect(pool, Self::NAME).await?;
        if !lock.acquire(*ownership, &ByRows::<P>::default(), source, readiness, shutdown).await? {
            return Ok(Followed::Drained);
        }
        if schema::prepare::<P>(lock.connection()).await? == schema::Prepared::Current {
            return self.follow(&mut lock, Self::NAME, source, shutdown, Goal::Never, alarm, moved).await;
        }
        // An older build stands here. Nobody else may fill its successor.
        if !lock.alone(shutdown).await? {
            return Ok(Followed::Drained);
        }
        if schema::prepare::<P>(lock.connection()).await? == schema::Prepared::Current {
            return Ok(Followed::CaughtUp);
        }
        let next = schema::prepare_next::<P>(lock.connection()).await?;
        tracing::info!(projection = Self::NAME, build = P::BUILD, "refilling; the older build serves meanwhile");
        let followed = self.follow(&mut lock, &next, source, shutdown, Goal::CatchUp, alarm, moved).await?;
        if matches!(followed, Followed::CaughtUp) {
            schema::swap::<P>(lock.connection()).await?;
            tracing::info!(projection = Self::NAME, build = P::BUILD, "refilled and swapped in");
        }
        // With a fresh connection, whose statements know nothing of the old tables.
        Ok(followed)
    }
}
