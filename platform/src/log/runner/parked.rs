//! Poison, and what waits behind it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use schemas::read_models::ReadModel;
use schemas::{Metadata, Recorded, Timestamp, Topic, partition};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::batch::data_error;
use super::{Trouble, schema};
use crate::config::StartError;
use crate::log::{ApplyError, Projection, checkpoint};

/// Newly parked keys in a minute beyond which something else is wrong than the data.
const TOO_MANY: usize = 30;

/// Counts newly parked keys.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    recent: VecDeque<Instant>,
}

impl Alarm {
    /// Stops the projection when this many more would be too many; before they are parked.
    pub(super) fn sound<P: Projection>(&mut self, more: usize) -> Result<(), Trouble> {
        self.recent.retain(|at| at.elapsed() < Duration::from_secs(60));
        if more > 0 && self.recent.len() + more > TOO_MANY {
            return Err(Trouble::Stop(StartError::new(format!(
                "the projection {} would park more than {TOO_MANY} keys within a minute, which is no accident of the data; the reasons of those that it has parked stand in {}.parked",
                P::Model::NAME,
                P::Model::NAME
            ))));
        }
        Ok(())
    }

    pub(super) fn note(&mut self, keys: usize) {
        self.recent.extend(std::iter::repeat_n(Instant::now(), keys));
    }
}

/// An event on its way into `parked`.
#[derive(Debug)]
pub(super) struct Parking {
    pub(super) event: Arc<Recorded>,
    /// `None`: waits behind another.
    pub(super) reason: Option<String>,
}

/// [`Recorded`], as it stands in `parked`.
#[derive(Debug, Serialize, Deserialize)]
struct ParkedEvent {
    topic: String,
    incarnation: Uuid,
    position: i64,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: Box<RawValue>,
    metadata: Metadata,
    partition_key: String,
    key_hash: i32,
    event_id: Uuid,
    recorded_at: Timestamp,
}

impl ParkedEvent {
    fn of(event: &Recorded) -> Self {
        Self {
            topic: event.topic.service().to_owned(),
            incarnation: event.incarnation,
            position: event.position,
            aggregate_type: event.aggregate_type.clone(),
            aggregate_id: event.aggregate_id.clone(),
            sequence: event.sequence,
            event_type: event.event_type.clone(),
            event_version: event.event_version.clone(),
            payload: event.payload.clone(),
            metadata: event.metadata.clone(),
            partition_key: event.partition_key.clone(),
            key_hash: event.key_hash,
            event_id: event.event_id,
            recorded_at: event.recorded_at,
        }
    }

    fn into_recorded(self, topic: Topic) -> Recorded {
        Recorded {
            topic,
            incarnation: self.incarnation,
            position: self.position,
            prev_position: None,
            aggregate_type: self.aggregate_type,
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata: self.metadata,
            partition_key: self.partition_key,
            key_hash: self.key_hash,
            event_id: self.event_id,
            recorded_at: self.recorded_at,
        }
    }
}

/// Keys with parked events.
pub(super) async fn keys(conn: &mut PgConnection) -> Result<BTreeSet<(Topic, String)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT DISTINCT topic, partition_key FROM parked").fetch_all(conn).await?;
    Ok(rows.into_iter().filter_map(|row| Some((row.topic.parse().ok()?, row.partition_key))).collect())
}

pub(super) async fn store(conn: &mut PgConnection, parking: &[Parking]) -> Result<(), sqlx::Error> {
    if parking.is_empty() {
        return Ok(());
    }
    let topics: Vec<String> = parking.iter().map(|p| p.event.topic.service().to_owned()).collect();
    let keys: Vec<String> = parking.iter().map(|p| p.event.partition_key.clone()).collect();
    let positions: Vec<i64> = parking.iter().map(|p| p.event.position).collect();
    let reasons: Vec<Option<String>> = parking.iter().map(|p| p.reason.clone()).collect();
    let mut events = Vec::with_capacity(parking.len());
    for parking in parking {
        events.push(serde_json::to_string(&ParkedEvent::of(&parking.event)).map_err(|e| sqlx::Error::Encode(Box::new(e)))?);
    }
    sqlx::query!(
        "INSERT INTO parked (topic, partition_key, position, reason, event)
         SELECT topic, partition_key, position, reason, event::json
           FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[]) AS p (topic, partition_key, position, reason, event)",
        &topics,
        &keys,
        &positions,
        &reasons as &[Option<String>],
        &events
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A key that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedKey {
    /// Whose event.
    pub topic: Topic,
    /// Its partition key.
    pub key: String,
    /// How many of its events wait.
    pub events: i64,
    /// Of the oldest of them, which is the one that cannot be applied.
    pub position: i64,
    /// Why, without content.
    pub reason: Option<String>,
    /// When it was parked.
    pub since: Timestamp,
}

/// The keys that a projection has parked, the longest waiting first; none where its schema has not been made yet. `pool` is its service's own.
///
/// # Errors
/// When the database does not answer.
pub async fn list_parked(pool: &PgPool, projection: &str) -> Result<Vec<ParkedKey>, sqlx::Error> {
    struct Row {
        topic: String,
        partition_key: String,
        position: i64,
        reason: Option<String>,
        parked_at: time::OffsetDateTime,
        events: i64,
    }
    let mut conn = pool.acquire().await?;
    if !schema::stands(&mut conn, projection).await? {
        return Ok(Vec::new());
    }
    let mut tx = schema::begin(&mut conn, projection).await?;
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT DISTINCT ON (topic, partition_key) topic, partition_key, position, reason, parked_at, count(*) OVER (PARTITION BY topic, partition_key) AS "events!"
             FROM parked ORDER BY topic, partition_key, position"#
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let key = |row| {
        let Row { topic, partition_key, position, reason, parked_at, events } = row;
        // A topic of another release is none that this one could work off.
        Some(ParkedKey { topic: topic.parse().ok()?, key: partition_key, events, position, reason, since: Timestamp::from(parked_at) })
    };
    let mut keys: Vec<ParkedKey> = rows.into_iter().filter_map(key).collect();
    keys.sort_by_key(|key| key.since.unix_micros());
    Ok(keys)
}

/// Why a parked key could not be worked off.
#[derive(Debug, thiserror::Error)]
pub enum RetryError {
    /// An event still cannot be applied; it and the later ones of its key go on waiting.
    #[error("position {position} still cannot be applied: {reason}")]
    StillBroken {
        /// Where it stands.
        position: i64,
        /// What is wrong with it, without content.
        reason: String,
    },
    /// The database did not answer.
    #[error("the projection's database is not available")]
    Database(#[from] sqlx::Error),
    /// Something else that the fold needs did not answer.
    #[error("a dependency is not available")]
    Infrastructure(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Applies a key's parked events again, oldest first, each in a transaction of its own, beside a running projector. Returns how many were applied; the key is free when it returns `Ok`.
///
/// # Errors
/// [`RetryError`]; what was applied before stays applied.
pub async fn retry_parked<P: Projection>(projection: &P, pool: &PgPool, topic: Topic, partition_key: &str) -> Result<u64, RetryError> {
    let mut conn = pool.acquire().await?;
    let mut applied = 0;
    while let Some(event) = first(&mut conn, P::Model::NAME, topic, partition_key).await? {
        retry_one(projection, &mut conn, Arc::new(event)).await?;
        applied += 1;
    }
    Ok(applied)
}

/// Gives up one parked event for ever (the oldest of its key), so that what waits behind it can be tried. Returns its position; `None` when the key has none.
///
/// # Errors
/// When the database does not answer.
pub async fn skip_parked<P: Projection>(pool: &PgPool, topic: Topic, partition_key: &str) -> Result<Option<i64>, sqlx::Error> {
    let mut conn = pool.acquire().await?;
    let Some(event) = first(&mut conn, P::Model::NAME, topic, partition_key).await? else { return Ok(None) };
    let mut tx = schema::begin(&mut conn, P::Model::NAME).await?;
    checkpoint::lock(&mut tx, topic, partition(event.key_hash, Topic::PARTITIONS)).await?;
    remove(&mut tx, &event).await?;
    tx.commit().await?;
    Ok(Some(event.position))
}

async fn first(conn: &mut PgConnection, schema: &str, topic: Topic, key: &str) -> Result<Option<Recorded>, sqlx::Error> {
    let mut tx = schema::begin(conn, schema).await?;
    let row = sqlx::query!(
        r#"SELECT event AS "event!: Json<ParkedEvent>" FROM parked WHERE topic = $1 AND partition_key = $2 ORDER BY position LIMIT 1"#,
        topic.service(),
        key
    )
    .fetch_optional(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(row.map(|row| row.event.0.into_recorded(topic)))
}

async fn remove(conn: &mut PgConnection, event: &Recorded) -> Result<bool, sqlx::Error> {
    let gone = sqlx::query!(
        "DELETE FROM parked WHERE topic = $1 AND partition_key = $2 AND position = $3",
        event.topic.service(),
        event.partition_key,
        event.position
    )
    .execute(conn)
    .await?;
    Ok(gone.rows_affected() == 1)
}

async fn retry_one<P: Projection>(projection: &P, conn: &mut PgConnection, event: Arc<Recorded>) -> Result<(), RetryError> {
    let position = event.position;
    let folded = match projection.fold(std::slice::from_ref(&event)).await {
        Ok(folded) => folded,
        Err(ApplyError::Event { reason, .. }) => return Err(RetryError::StillBroken { position, reason }),
        Err(ApplyError::Infrastructure(error)) => return Err(RetryError::Infrastructure(error)),
    };
    let mut tx = schema::begin(conn, P::Model::NAME).await?;
    // The runner locks the same row before it queues anything behind this key.
    checkpoint::lock(&mut tx, event.topic, partition(event.key_hash, Topic::PARTITIONS)).await?;
    if !remove(&mut tx, &event).await? {
        // Somebody else was faster.
        return Ok(tx.rollback().await?);
    }
    if let Err(error) = projection.apply(&mut tx, &folded).await {
        return Err(match data_error(&error) {
            Some(reason) => RetryError::StillBroken { position, reason },
            None => error.into(),
        });
    }
    Ok(tx.commit().await?)
}
