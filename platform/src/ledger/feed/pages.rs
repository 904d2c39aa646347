//! What a feed asks the database.

use std::sync::Arc;
use std::time::Duration;

use schemas::Topic;
use serde_json::value::RawValue;
use sqlx::PgPool;
use sqlx::types::Json;
use uuid::Uuid;

use super::Page;
use crate::ledger::row::Row;

/// Events of a page at most.
pub(super) const PAGE_EVENTS: usize = 2_000;
/// Bytes of a page at most (its first event always fits).
pub(super) const PAGE_BYTES: usize = 8 << 20;
/// How long a question may take.
const BOUND: Duration = Duration::from_secs(10);

/// The life of a ledger, the generation of its topic and that generation's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerMeta {
    /// Positions of another incarnation mean nothing here.
    pub incarnation: Uuid,
    /// Of the topic.
    pub generation: i32,
    /// Of that generation.
    pub partitions: i32,
}

async fn bounded<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(BOUND, question).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "the ledger did not answer in 10 s"))),
    }
}

pub(super) async fn meta(pool: &PgPool) -> Result<LedgerMeta, sqlx::Error> {
    bounded(sqlx::query_as!(LedgerMeta, "SELECT incarnation, generation, partitions FROM ledger_meta").fetch_one(pool)).await
}

pub(super) async fn head(pool: &PgPool) -> Result<i64, sqlx::Error> {
    bounded(sqlx::query_scalar!(r#"SELECT coalesce(max(position), 0) AS "head!" FROM events"#).fetch_one(pool)).await
}

pub(super) async fn lag(pool: &PgPool, position: i64) -> Result<(i64, f64), sqlx::Error> {
    let row = bounded(
        sqlx::query!(
            r#"SELECT coalesce((SELECT max(position) FROM events), 0) - $1 AS "events!",
                      coalesce((SELECT extract(epoch FROM clock_timestamp() - recorded_at)::float8 FROM events WHERE position > $1 ORDER BY position LIMIT 1), 0) AS "seconds!""#,
            position
        )
        .fetch_one(pool),
    )
    .await?;
    Ok((row.events.max(0), row.seconds.max(0.0)))
}

/// One page from the database. The bound on bytes is applied there, by a running sum over the stored sizes, so that a page of large events is never in memory as a whole.
pub(super) async fn read(pool: &PgPool, topic: Topic, meta: LedgerMeta, position: i64) -> Result<Page, sqlx::Error> {
    let rows = bounded(
        sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload!: Json<Box<RawValue>>",
                      metadata AS "metadata!: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM (SELECT *, sum(size + 512) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - (size + 512) AS before
                         FROM (SELECT * FROM events WHERE position > $1 ORDER BY position LIMIT $2) AS next) AS page
                WHERE before < $3 ORDER BY position"#,
            position,
            i64::try_from(PAGE_EVENTS).unwrap_or(i64::MAX),
            // The sum stands before each row: one maximal event (900 KiB) less, so that the last one fits too.
            i64::try_from(PAGE_BYTES - (1 << 20)).unwrap_or(i64::MAX),
        )
        .fetch_all(pool),
    )
    .await?;
    Ok(page(topic, meta, position, rows))
}

/// What of an aggregate stands after a position.
pub(super) async fn read_aggregate(
    pool: &PgPool,
    topic: Topic,
    meta: LedgerMeta,
    (kind, id): (&str, &str),
    position: i64,
) -> Result<Page, sqlx::Error> {
    /// Streams are short, and each event has at most 900 KiB.
    const EVENTS: i64 = 20;
    let rows = bounded(
        sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload!: Json<Box<RawValue>>",
                      metadata AS "metadata!: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND position > $3 ORDER BY sequence LIMIT $4"#,
            kind,
            id,
            position,
            EVENTS
        )
        .fetch_all(pool),
    )
    .await?;
    Ok(page(topic, meta, position, rows))
}

/// The position after which the newest `count` events stand.
pub(super) async fn before_newest(pool: &PgPool, aggregate: Option<(&str, &str)>, count: i64) -> Result<i64, sqlx::Error> {
    let position = match aggregate {
        None => {
            bounded(sqlx::query_scalar!("SELECT position FROM events ORDER BY position DESC OFFSET $1 LIMIT 1", count).fetch_optional(pool))
                .await
        }
        Some((kind, id)) => {
            bounded(
                sqlx::query_scalar!(
                    "SELECT position FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence DESC OFFSET $3 LIMIT 1",
                    kind,
                    id,
                    count
                )
                .fetch_optional(pool),
            )
            .await
        }
    };
    Ok(position?.unwrap_or(0))
}

fn page(topic: Topic, meta: LedgerMeta, position: i64, rows: Vec<Row>) -> Page {
    let mut page = Page { events: Vec::with_capacity(rows.len()), scanned: position };
    for row in rows {
        page.scanned = row.position;
        page.events.push(Arc::new(row.recorded(topic, meta.incarnation)));
    }
    page
}
