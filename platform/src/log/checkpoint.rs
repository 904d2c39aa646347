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

/// From where to where checkpoints are to be moved: all of them, or none.
#[derive(Debug, Default)]
pub struct Move {
    /// Of the rows, which must be live.
    pub build: i32,
    /// Whether nothing may be moved while anything is parked.
    pub unless_parked: bool,
    /// As the rows are believed to stand.
    pub from: Columns,
    /// The same rows, as they are to stand.
    pub to: Columns,
}

impl Move {
    /// `None`: some of the rows are believed not to be there for this build.
    pub(crate) fn of(build: i32, believed: &Rows, to: &Checkpoints) -> Option<Self> {
        let from =
            to.keys().map(|place| Some((*place, believed.get(place).filter(|row| row.live && row.build == build)?.checkpoint.clone())));
        let from = from.collect::<Option<Checkpoints>>()?;
        Some(Self { build, unless_parked: false, from: Columns::of(&from), to: Columns::of(to) })
    }

    /// Whether everything was moved.
    #[must_use]
    pub fn is_made(&self, moved: &Moved) -> bool {
        usize::try_from(moved.rows) == Ok(self.to.topics.len())
    }
}

/// What became of a [`Move`].
#[derive(Debug, PartialEq, Eq)]
pub struct Moved {
    /// How many checkpoints; 0 unless all stood where they were believed to stand.
    pub rows: i64,
    /// Whether anything is parked.
    pub anything_parked: bool,
}

/// Locks checkpoints, always in the same order, and moves them if all stand where they are believed to stand, live and of this build: fence and checkpoint in one round trip. Who waits for a
/// lock compares what the other has committed.
///
/// `$with`: what else happens in the same statement, as further `WITH` queries, each after a comma. Its arguments begin at `$15`; it reads from `passed`, which has one row when the checkpoints were
/// moved, and else none.
#[macro_export]
macro_rules! moving {
    ($connection:expr, $move:expr, $with:literal $(, $argument:expr)* $(,)?) => {{
        let $crate::log::Move { build, unless_parked, from, to } = $move;
        sqlx::query_as!(
            $crate::log::Moved,
            r#"WITH moves AS (
                 SELECT * FROM unnest($3::text[], $4::int[], $5::uuid[], $6::int[], $7::bigint[], $8::text[], $9::bigint[],
                                      $10::uuid[], $11::int[], $12::bigint[], $13::text[], $14::bigint[])
                     AS m (topic, partition, was_incarnation, was_generation, was_position, was_source, was_offset, incarnation, generation, last_position, source, next_offset)
               ), locked AS (
                 SELECT c.topic, c.partition FROM checkpoints AS c JOIN moves AS m USING (topic, partition)
                  WHERE c.build = $1 AND c.state = 'live' AND c.incarnation = m.was_incarnation AND c.generation = m.was_generation
                    AND c.last_position = m.was_position AND c.source = m.was_source AND c.next_offset = m.was_offset
                  ORDER BY c.topic, c.partition FOR UPDATE OF c
               ), moved AS (
                 UPDATE checkpoints AS c
                    SET incarnation = m.incarnation, generation = m.generation, last_position = m.last_position, source = m.source, next_offset = m.next_offset
                   FROM moves AS m
                  WHERE c.topic = m.topic AND c.partition = m.partition AND (SELECT count(*) FROM locked) = cardinality($3)
                    AND NOT ($2::bool AND EXISTS (SELECT FROM parked))
                 RETURNING c.partition
               ), passed AS (
                 SELECT WHERE (SELECT count(*) FROM moved) = cardinality($3)
               )"# + $with + r#"
               SELECT (SELECT count(*) FROM moved) AS "rows!", EXISTS (SELECT FROM parked) AS "anything_parked!""#,
            build,
            unless_parked,
            &to.topics,
            &to.partitions,
            &from.incarnations,
            &from.generations,
            &from.positions,
            &from.sources,
            &from.offsets,
            &to.incarnations,
            &to.generations,
            &to.positions,
            &to.sources,
            &to.offsets
            $(, $argument)*
        )
        .fetch_one($connection)
        .await
    }};
}

/// See [`moving!`].
pub(crate) async fn advance(conn: &mut PgConnection, to: &Move) -> Result<Moved, sqlx::Error> {
    crate::moving!(conn, to, "")
}

/// What a source is sent to: rows of partitions that have been begun.
pub(crate) fn begun(rows: &Rows) -> Checkpoints {
    rows.iter()
        .filter(|(_, row)| row.checkpoint.last_position > 0 || row.checkpoint.next_offset > 0)
        .map(|(place, row)| (*place, row.checkpoint.clone()))
        .collect()
}
