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

/// What was found under the lock.
#[derive(Debug)]
pub(crate) struct Locked {
    pub(crate) rows: Rows,
    pub(crate) anything_parked: bool,
}

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

/// Locks the rows of these partitions, always in the same order.
pub(crate) async fn lock(conn: &mut PgConnection, topic: Topic, partitions: &[i32]) -> Result<Locked, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT partition, build, state, incarnation, generation, last_position, source, next_offset,
                  EXISTS (SELECT FROM parked) AS "anything_parked!"
             FROM checkpoints WHERE topic = $1 AND partition = ANY ($2) ORDER BY partition FOR UPDATE OF checkpoints"#,
        topic.service(),
        partitions
    )
    .fetch_all(conn)
    .await?;
    let anything_parked = rows.iter().any(|row| row.anything_parked);
    Ok(Locked { rows: rows.into_iter().map(|row| ((topic, row.partition), row!(row))).collect(), anything_parked })
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

/// Moves locked rows.
pub(crate) async fn advance(conn: &mut PgConnection, checkpoints: &Checkpoints) -> Result<(), sqlx::Error> {
    let to = Columns::of(checkpoints);
    sqlx::query!(
        "UPDATE checkpoints AS c SET incarnation = n.incarnation, generation = n.generation, last_position = n.last_position, source = n.source, next_offset = n.next_offset
           FROM unnest($1::text[], $2::int[], $3::uuid[], $4::int[], $5::bigint[], $6::text[], $7::bigint[])
                AS n (topic, partition, incarnation, generation, last_position, source, next_offset)
          WHERE c.topic = n.topic AND c.partition = n.partition",
        &to.topics,
        &to.partitions,
        &to.incarnations,
        &to.generations,
        &to.positions,
        &to.sources,
        &to.offsets
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// What a source is sent to: rows of partitions that have been begun.
pub(crate) fn begun(rows: &Rows) -> Checkpoints {
    rows.iter()
        .filter(|(_, row)| row.checkpoint.last_position > 0 || row.checkpoint.next_offset > 0)
        .map(|(place, row)| (*place, row.checkpoint.clone()))
        .collect()
}
