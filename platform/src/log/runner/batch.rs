//! One batch: folded, fenced, applied; what cannot be stored is found and parked.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use schemas::read_models::ReadModel;
use schemas::{Recorded, Topic};
use sqlx::PgConnection;
use tracing::Instrument;

use super::follow::count;
use super::parked::{self, Alarm, Parking};
use super::{Runner, Trouble, schema};
use crate::crash::{crash_point, is_armed, sabotaged};
use crate::log::checkpoint::{self, Move, Rows};
use crate::log::source::{SCAN, SourceBatch};
use crate::log::{ApplyError, Projection, ProjectionLock};

/// How long one transaction may take, connection included.
const BOUND: Duration = Duration::from_secs(90);

fn timed_out(_: tokio::time::error::Elapsed) -> Trouble {
    Trouble::Infrastructure("the projection's database did not answer in time".into())
}

/// What this runner believes to stand in its schema.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) rows: Rows,
    /// Keys with parked events.
    pub(super) parked: BTreeSet<(Topic, String)>,
}

impl Memory {
    pub(super) async fn load(conn: &mut PgConnection, schema: &str) -> Result<Self, Trouble> {
        let read = async {
            let mut tx = schema::begin(conn, schema).await?;
            let memory = Self { rows: checkpoint::load(&mut tx).await?, parked: parked::keys(&mut tx).await? };
            tx.commit().await?;
            Ok::<_, sqlx::Error>(memory)
        };
        Ok(tokio::time::timeout(BOUND, read).await.map_err(timed_out)??)
    }
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Applied {
    All,
    /// Somebody else's rows stand: nothing was written (of what had not been committed before).
    Moved,
}

/// What became of one transaction.
enum Outcome {
    Committed,
    Moved,
    /// The database refuses what was folded; SQLSTATE and constraint.
    Data(String),
}

/// A part of a batch, divided into what is applied and what is parked.
#[derive(Default)]
struct Divided {
    ready: Vec<Arc<Recorded>>,
    parking: Vec<Parking>,
    new_keys: BTreeSet<(Topic, String)>,
}

impl Divided {
    /// Parks an event with its reason, and takes the later ones of its key out of what is ready.
    fn park(&mut self, at: usize, reason: String) {
        let key = (self.ready[at].topic, self.ready[at].partition_key.clone());
        let mut reason = Some(reason);
        let mut place = 0;
        let parking = &mut self.parking;
        self.ready.retain(|event| {
            let waits = place >= at && event.partition_key == key.1;
            place += 1;
            if waits {
                parking.push(Parking { event: event.clone(), reason: reason.take() });
            }
            !waits
        });
        self.new_keys.insert(key);
    }
}

impl<P: Projection> Runner<P> {
    /// Applies a batch, in one transaction unless the database refuses something in it: then in ever smaller parts, until the culprit stands alone and is parked.
    pub(super) async fn absorb(
        &self,
        lock: &mut ProjectionLock,
        schema: &str,
        memory: &mut Memory,
        batch: &SourceBatch,
        alarm: &mut Alarm,
    ) -> Result<Applied, Trouble> {
        let name = P::Model::NAME;
        let all = batch.events.len();
        let (mut from, mut size) = (0, all);
        loop {
            let range = from..all.min(from + size.max(1));
            let span = tracing::info_span!("projection.apply", otel.name = %format_args!("projection.{name}.apply"), projection = name, events = range.len());
            match self.part(lock, schema, memory, batch, range.clone(), alarm).instrument(span).await? {
                Outcome::Moved => return Ok(Applied::Moved),
                Outcome::Committed => {
                    metrics::counter!("projection_applied_total", "projection" => name).increment(range.len() as u64);
                    metrics::histogram!("projection_batch_size", "projection" => name).record(count(range.len()));
                    from = range.end;
                    size = size.saturating_mul(2).min(all);
                    if from >= all {
                        return Ok(Applied::All);
                    }
                }
                Outcome::Data(reason) => {
                    tracing::debug!(
                        projection = name,
                        events = range.len(),
                        reason,
                        "the database refuses something in this batch; halving it"
                    );
                    size = range.len() / 2;
                }
            }
        }
    }

    async fn part(
        &self,
        lock: &mut ProjectionLock,
        schema: &str,
        memory: &mut Memory,
        batch: &SourceBatch,
        range: Range<usize>,
        alarm: &mut Alarm,
    ) -> Result<Outcome, Trouble> {
        let part = batch.part(range);
        let mut divided = Divided::default();
        for event in &part.events {
            if !memory.parked.is_empty() && memory.parked.contains(&(event.topic, event.partition_key.clone())) {
                divided.parking.push(Parking { event: event.clone(), reason: None });
            } else {
                divided.ready.push(event.clone());
            }
        }
        loop {
            let folded = lock.alive_while(self.fold(&mut divided)).await??;
            alarm.sound::<P>(divided.new_keys.len())?;
            if let Some(folded) = folded.as_ref().filter(|_| divided.parking.is_empty() && memory.parked.is_empty()) {
                match tokio::time::timeout(BOUND, self.at_once(lock, schema, memory, &part, folded)).await.map_err(timed_out)?? {
                    Some(Outcome::Data(reason)) if divided.ready.len() == 1 => {
                        divided.park(0, reason);
                        continue;
                    }
                    Some(Outcome::Committed) => {
                        self.committed(memory, &part, divided, alarm);
                        return Ok(Outcome::Committed);
                    }
                    Some(other) => return Ok(other),
                    None => {}
                }
            }
            let transaction = self.transaction(lock.connection(), schema, memory, &part, folded.as_ref(), &divided);
            match tokio::time::timeout(BOUND, transaction).await.map_err(timed_out)?? {
                Outcome::Data(reason) if divided.ready.len() == 1 => divided.park(0, reason),
                Outcome::Committed => {
                    self.committed(memory, &part, divided, alarm);
                    return Ok(Outcome::Committed);
                }
                other => return Ok(other),
            }
        }
    }

    /// Folds what is ready; events that cannot be read are parked on the way. `None`: nothing is ready.
    async fn fold(&self, divided: &mut Divided) -> Result<Option<P::Folded>, Trouble> {
        while !divided.ready.is_empty() {
            match self.projection.fold(&divided.ready).await {
                Ok(folded) => return Ok(Some(folded)),
                Err(ApplyError::Infrastructure(error)) => return Err(Trouble::Infrastructure(error)),
                Err(ApplyError::Event { event_id, reason, .. }) => {
                    let culprit = divided.ready.iter().position(|event| event.event_id == event_id);
                    // A fold that blames an event of no batch would blame it for ever.
                    divided.park(culprit.unwrap_or(0), reason);
                }
            }
        }
        Ok(None)
    }

    /// One statement instead of a transaction. `None`: that cannot be, or something stands in its way that the transaction finds out; nothing was done.
    async fn at_once(
        &self,
        lock: &mut ProjectionLock,
        schema: &str,
        memory: &Memory,
        part: &SourceBatch,
        folded: &P::Folded,
    ) -> Result<Option<Outcome>, sqlx::Error> {
        let Some(to) = Move::of(P::BUILD, &memory.rows, &part.checkpoints()).filter(|_| !is_armed("projection.checkpoint_first")) else {
            return Ok(None);
        };
        let to = Move { unless_parked: true, ..to };
        if cfg!(debug_assertions) {
            crash_point(&format!("projection.{}.before_commit", P::Model::NAME));
        }
        let connection = lock.connection_in(schema).await?;
        let moved = if P::is_empty(folded) {
            checkpoint::advance(connection, &to).await.map(Some)
        } else {
            self.projection.apply_at_once(connection, &to, folded).await
        };
        match moved {
            Ok(Some(moved)) if to.is_made(&moved) => Ok(Some(Outcome::Committed)),
            Ok(_) => Ok(None),
            Err(error) => data_error(&error).map(|reason| Some(Outcome::Data(reason))).ok_or(error),
        }
    }

    async fn transaction(
        &self,
        conn: &mut PgConnection,
        schema: &str,
        memory: &Memory,
        part: &SourceBatch,
        folded: Option<&P::Folded>,
        divided: &Divided,
    ) -> Result<Outcome, sqlx::Error> {
        let Some(to) = Move::of(P::BUILD, &memory.rows, &part.checkpoints()) else { return Ok(Outcome::Moved) };
        let mut tx = schema::begin(conn, schema).await?;
        let moved = checkpoint::advance(&mut tx, &to).await?;
        let same_parked = to.is_made(&moved)
            && if moved.anything_parked { parked::keys(&mut tx).await? == memory.parked } else { memory.parked.is_empty() };
        if !same_parked {
            tx.rollback().await?;
            return Ok(Outcome::Moved);
        }
        if sabotaged("projection.checkpoint_first") {
            tx.commit().await?;
            tx = schema::begin(conn, schema).await?;
        }
        if let Some(folded) = folded {
            match self.projection.apply(&mut tx, folded).await {
                Ok(()) => {}
                Err(error) => match data_error(&error) {
                    Some(reason) => {
                        tx.rollback().await?;
                        return Ok(Outcome::Data(reason));
                    }
                    None => return Err(error),
                },
            }
        }
        parked::store(&mut tx, &divided.parking).await?;
        if cfg!(debug_assertions) {
            crash_point(&format!("projection.{}.before_commit", P::Model::NAME));
        }
        tx.commit().await?;
        Ok(Outcome::Committed)
    }

    fn committed(&self, memory: &mut Memory, part: &SourceBatch, divided: Divided, alarm: &mut Alarm) {
        let name = P::Model::NAME;
        for (place, checkpoint) in part.checkpoints() {
            if let Some(row) = memory.rows.get_mut(&place) {
                row.checkpoint = checkpoint;
            }
        }
        for parking in divided.parking.iter().filter(|parking| parking.reason.is_some()) {
            let event = &parking.event;
            tracing::error!(
                projection = name, topic = %event.topic, position = event.position, event.id = %event.event_id, event.r#type = event.event_type,
                reason = parking.reason.as_deref(), "parked: this event and the later ones of its key wait"
            );
        }
        if !divided.new_keys.is_empty() {
            alarm.note(divided.new_keys.len());
            memory.parked.extend(divided.new_keys);
            metrics::gauge!("projection_parked_keys", "projection" => name).set(count(memory.parked.len()));
        }
        tracing::debug!(
            projection = name,
            events = part.events.len(),
            position = part.events.last().map(|e| e.position),
            scan = part.scanned.map(|_| SCAN),
            "applied"
        );
        if tracing::enabled!(tracing::Level::DEBUG) {
            for event in &part.events {
                tracing::debug!(
                    projection = name,
                    correlation_id = event.metadata.correlation_id,
                    causation_id = event.metadata.causation_id,
                    event.r#type = event.event_type,
                    aggregate.id = event.aggregate_id,
                    position = event.position,
                    "projected"
                );
            }
        }
    }
}

/// What the database says of data that it cannot hold, without the data; `None` for every other failure.
pub(super) fn data_error(error: &sqlx::Error) -> Option<String> {
    let database = error.as_database_error()?;
    let code = database.code()?;
    matches!(code.get(..2), Some("22" | "23")).then(|| match database.constraint() {
        Some(constraint) => format!("SQLSTATE {code}, constraint {constraint}"),
        None => format!("SQLSTATE {code}"),
    })
}
