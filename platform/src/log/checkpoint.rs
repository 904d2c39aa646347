//! Checkpoints: rows that move with what they stand for.

use std::collections::BTreeMap;

use schemas::Topic;
use sqlx::PgConnection;
use uuid::Uuid;

use super::source::{Checkpoint, Checkpoints, SCAN};

/// A row of `checkpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) build: i32,
    pub(crate) live: bool,
    pub(crate) checkpoint: Checkpoint,
}

/// All rows of a projection, as somebody remembers or finds them.
pub(crate) type Rows = BTreeMap<(Topic, i32), Row>;

/// Makes one row per partition and one for the source's scan, so that there is always a row to lock.
pub(crate) async fn create(conn: &mut PgConnection, topic: Topic, build: i32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO checkpoints (topic, partition, build, state, incarnation, generation, last_position, source, next_offset)
         SELECT $1, partition, $2, 'live', $3, 1, 0, '', 0 FROM generate_series($4::int, $5::int) AS partition",
        topic.service(),
        build,
        Uuid::nil(),
        SCAN,
        Topic::PARTITIONS - 1
    )
    .execute(conn)
    .await?;
    Ok(())
}

macro_rules! row {
    ($row:expr) => {
        Row {
            build: $row.build,
            live: $row.state == "live",
            checkpoint: Checkpoint {
                incarnation: $row.incarnation,
                generation: $row.generation,
                last_position: $row.last_position,
                source: $row.source,
                next_offset: $row.next_offset,
            },
        }
    };
}

/// All rows. Those of topics that this release does not know are none of its business.
pub(crate) async fn load(conn: &mut PgConnection) -> Result<Rows, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT topic, partition, build, state, incarnation, generation, last_position, source, next_offset FROM checkpoints ORDER BY topic, partition"
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Some(((row.topic.parse().ok()?, row.partition), row!(row)))).collect())
}

/// Checkpoints as a statement takes them: a column each, for `unnest`.
#[derive(Debug, Default)]
pub struct Columns {
    /// By the service whose events they are.
    pub topics: Vec<String>,
    /// And [`SCAN`].
    pub partitions: Vec<i32>,
    /// See [`Checkpoint`], as the columns below.
    pub incarnations: Vec<Uuid>,
    /// As above.
    pub generations: Vec<i32>,
    /// As above.
    pub positions: Vec<i64>,
    /// As above.
    pub sources: Vec<String>,
    /// As above.
    pub offsets: Vec<i64>,
}

impl Columns {
    /// A row for each checkpoint.
    #[must_use]
    pub fn of(checkpoints: &Checkpoints) -> Self {
        let mut columns = Self::default();
        for ((topic, partition), checkpoint) in checkpoints {
            columns.topics.push(topic.service().to_owned());
            columns.partitions.push(*partition);
            columns.incarnations.push(checkpoint.incarnation);
            columns.generations.push(checkpoint.generation);
            columns.positions.push(checkpoint.last_position);
            columns.sources.push(checkpoint.source.clone());
            columns.offsets.push(checkpoint.next_offset);
        }
        columns
    }
}

/// Locks the row of a partition: whoever moves it waits.
pub(crate) async fn lock(conn: &mut PgConnection, topic: Topic, partition: i32) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT FROM checkpoints WHERE topic = $1 AND partition = $2 FOR UPDATE", topic.service(), partition)
        .execute(conn)
        .await?;
    Ok(())
}

/// How checkpoints were moved.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Advanced {
    /// All of them; whether anything is parked.
    All { anything_parked: bool },
    /// Some rows are not what was believed. Whoever goes on must not commit.
    Moved,
}

/// Locks rows, always in the same order, and moves them if they all stand where they are believed to stand, live and of this build: fence and checkpoint in one round trip.
/// Who waits for a lock compares what the other has committed.
pub(crate) async fn advance(conn: &mut PgConnection, build: i32, believed: &Rows, to: &Checkpoints) -> Result<Advanced, sqlx::Error> {
    let from = to.keys().map(|place| Some((*place, believed.get(place).filter(|row| row.live && row.build == build)?.checkpoint.clone())));
    let Some(from) = from.collect::<Option<Checkpoints>>() else { return Ok(Advanced::Moved) };
    let (from, next) = (Columns::of(&from), Columns::of(to));
    let moved = sqlx::query_scalar!(
        r#"WITH moves AS (
             SELECT * FROM unnest($2::text[], $3::int[], $4::uuid[], $5::int[], $6::bigint[], $7::text[], $8::bigint[],
                                  $9::uuid[], $10::int[], $11::bigint[], $12::text[], $13::bigint[])
                 AS m (topic, partition, was_incarnation, was_generation, was_position, was_source, was_offset, incarnation, generation, last_position, source, next_offset)
           ), locked AS (
             SELECT c.topic, c.partition FROM checkpoints AS c JOIN moves AS m USING (topic, partition)
              WHERE c.build = $1 AND c.state = 'live' AND c.incarnation = m.was_incarnation AND c.generation = m.was_generation
                AND c.last_position = m.was_position AND c.source = m.was_source AND c.next_offset = m.was_offset
              ORDER BY c.topic, c.partition FOR UPDATE OF c
           )
           UPDATE checkpoints AS c
              SET incarnation = m.incarnation, generation = m.generation, last_position = m.last_position, source = m.source, next_offset = m.next_offset
             FROM moves AS m JOIN locked USING (topic, partition)
            WHERE c.topic = m.topic AND c.partition = m.partition
           RETURNING EXISTS (SELECT FROM parked) AS "anything_parked!""#,
        build,
        &next.topics,
        &next.partitions,
        &from.incarnations,
        &from.generations,
        &from.positions,
        &from.sources,
        &from.offsets,
        &next.incarnations,
        &next.generations,
        &next.positions,
        &next.sources,
        &next.offsets
    )
    .fetch_all(conn)
    .await?;
    Ok(if moved.len() == to.len() { Advanced::All { anything_parked: moved.contains(&true) } } else { Advanced::Moved })
}

/// What a source is sent to: rows of partitions that have been begun.
pub(crate) fn begun(rows: &Rows) -> Checkpoints {
    rows.iter()
        .filter(|(_, row)| row.checkpoint.last_position > 0 || row.checkpoint.next_offset > 0)
        .map(|(place, row)| (*place, row.checkpoint.clone()))
        .collect()
}
