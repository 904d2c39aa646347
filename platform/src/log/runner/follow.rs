//! Batch after batch.

use std::time::{Duration, Instant};

use schemas::read_models::ReadModel;

use super::batch::{Applied, Memory};
use super::pace::Pace;
use super::{Runner, Trouble, parked, schema};
use crate::crash::crash_point;
use crate::fresh::Progress;
use crate::log::source::{Checkpoints, SCAN};
use crate::log::{EventSource, Projection, ProjectionLock, SourceError, checkpoint};
use crate::shutdown::Shutdown;

/// How often lag is measured.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// Until when to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// Until the drain: this is the schema that serves.
    Never,
    /// Until everything that stood in the source at the beginning is applied: a refill, of which nobody is told.
    CatchUp,
}

/// Why following ended.
#[derive(Debug)]
pub(super) enum Followed {
    Drained,
    CaughtUp,
}

impl<P: Projection> Runner<P> {
    #[expect(clippy::too_many_arguments, reason = "all of a session's parts meet here, once")]
    pub(super) async fn follow(
        &self,
        lock: &mut ProjectionLock,
        name_of_schema: &str,
        source: &mut dyn EventSource,
        shutdown: &Shutdown,
        goal: Goal,
        alarm: &mut parked::Alarm,
        moved: &mut bool,
    ) -> Result<Followed, Trouble> {
        let name = P::Model::NAME;
        let broken = |error| Trouble::source(name, error);
        let mut ends = None;
        let mut caught_up = false;
        let mut measured: Option<Instant> = None;
        'seek: loop {
            let mut memory = Memory::load(lock.connection(), name_of_schema).await?;
            schema::serves::<P>(&memory.rows)?;
            match lock.alive_while(source.seek(&checkpoint::begun(&memory.rows))).await? {
                Err(SourceError::Reassigned) => continue 'seek,
                other => other.map_err(broken)?,
            }
            metrics::gauge!("projection_parked_keys", "projection" => name).set(count(memory.parked.len()));
            if goal == Goal::Never {
                self.announce(&checkpoint::begun(&memory.rows));
            }
            let mut pace = Pace::default();
            loop {
                if !caught_up {
                    if ends.is_none() {
                        ends = Some(lock.alive_while(source.ends()).await?.map_err(broken)?);
                    }
                    caught_up = ends.as_ref().is_some_and(|ends| source.has_passed(ends));
                    match (caught_up, goal) {
                        (true, Goal::CatchUp) => return Ok(Followed::CaughtUp),
                        (true, Goal::Never) => self.config.readiness.set(name, true),
                        (false, _) => {}
                    }
                }
                if measured.is_none_or(|at| at.elapsed() > LAG_EVERY) {
                    measured = Some(Instant::now());
                    lock.alive_while(self.measure(source)).await?;
                }
                let batch = tokio::select! {
                    biased;
                    () = shutdown.draining() => return Ok(Followed::Drained),
                    batch = lock.alive_while(source.next_batch()) => match batch? {
                        Err(SourceError::Reassigned) => continue 'seek,
                        other => other.map_err(broken)?,
                    },
                };
                if batch.is_empty() {
                    continue;
                }
                let began = Instant::now();
                match self.absorb(lock, name_of_schema, &mut memory, &batch, alarm).await? {
                    Applied::Moved => {
                        tracing::info!(projection = name, "another process moved the checkpoint; reading on from its rows");
                        continue 'seek;
                    }
                    Applied::All => *moved = true,
                }
                let checkpoints = batch.checkpoints();
                source.applied(&checkpoints);
                if goal == Goal::Never {
                    self.announce(&checkpoints);
                    if cfg!(debug_assertions) {
                        crash_point(&format!("projection.{name}.after_commit"));
                    }
                }
                let until = pace.after(began, batch.events.len());
                if until > Instant::now() {
                    tokio::select! {
                        () = shutdown.draining() => {}
                        () = tokio::time::sleep_until(until.into()) => {}
                    }
                }
            }
        }
    }

    fn announce(&self, checkpoints: &Checkpoints) {
        for topic in P::Model::READS {
            let mut progress = Progress::default();
            for ((_, partition), checkpoint) in checkpoints.iter().filter(|((t, _), _)| t == topic) {
                if *partition == SCAN {
                    progress.scanned = checkpoint.last_position;
                } else {
                    progress.partitions.insert(*partition, checkpoint.last_position);
                }
            }
            if progress != Progress::default() {
                self.config.announce.advance(P::Model::NAME, *topic, &progress);
            }
        }
    }

    /// Lag is for dashboards: who cannot measure it goes on.
    async fn measure(&self, source: &mut dyn EventSource) {
        let name = P::Model::NAME;
        match source.lag().await {
            Ok((events, seconds)) => {
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!("projection_lag_events", "projection" => name).set(events as f64);
                metrics::gauge!("projection_lag_seconds", "projection" => name).set(seconds);
            }
            Err(error) => tracing::debug!(projection = name, %error, "lag could not be measured"),
        }
    }
}

/// For gauges and histograms.
pub(super) fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
