//! Who projects: a session that holds the lock, and what is kept there for whoever comes after.

use platform::frames::FrameLog;
use platform::log::{Checkpoint, Checkpoints, Columns, ProjectionLock, SourceError, Stands, Successor, at_once};
use schemas::Topic;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use super::follow::Trouble;

/// Its one table, and where that stands.
const SCHEMA: &str = "frames";
const TABLE: &str = include_str!("schema.sql");

/// A session for the lock of the projection.
pub(super) struct Owner {
    pub(super) lock: ProjectionLock,
}

impl Owner {
    /// Connects, without the lock yet; makes the table where it is missing.
    pub(super) async fn connect(pool: &PgPool, name: &'static str) -> Result<Self, sqlx::Error> {
        let mut lock = ProjectionLock::connect(pool, name).await?;
        at_once(make_table(lock.connection())).await?;
        Ok(Self { lock })
    }

    /// Where the logs of a topic stood; empty: nobody has said.
    pub(super) async fn stood(&mut self, topic: Topic) -> Result<Checkpoints, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT partition, incarnation, generation, last_position, source, next_offset FROM frames.stood WHERE topic = $1",
            topic.service()
        );
        let rows = at_once(rows.fetch_all(self.lock.connection())).await?;
        let rows = rows.into_iter().map(|row| {
            let (incarnation, generation, last_position) = (row.incarnation, row.generation, row.last_position);
            let checkpoint = Checkpoint { incarnation, generation, last_position, source: row.source, next_offset: row.next_offset };
            ((topic, row.partition), checkpoint)
        });
        Ok(rows.collect())
    }

    /// Keeps where they stand. Others may keep other partitions; within a life of the ledger nothing is lowered.
    pub(super) async fn keep(&mut self, stand: &Checkpoints) -> Result<(), sqlx::Error> {
        let stand = Columns::of(stand);
        let keeping = sqlx::query!(
            "INSERT INTO frames.stood AS s (topic, partition, incarnation, generation, last_position, source, next_offset)
             SELECT * FROM unnest($1::text[], $2::int[], $3::uuid[], $4::int[], $5::bigint[], $6::text[], $7::bigint[])
             ON CONFLICT (topic, partition) DO UPDATE
               SET incarnation = excluded.incarnation, generation = excluded.generation, last_position = excluded.last_position,
                   source = excluded.source, next_offset = excluded.next_offset
             WHERE (s.incarnation, s.generation) <> (excluded.incarnation, excluded.generation) OR s.last_position < excluded.last_position",
            &stand.topics,
            &stand.partitions,
            &stand.incarnations,
            &stand.generations,
            &stand.positions,
            &stand.sources,
            &stand.offsets
        );
        at_once(keeping.execute(self.lock.connection())).await.map(drop)
    }
}

/// Who stands by, and finds the projection by what stands in Redis.
#[derive(Debug)]
pub(super) struct ByLogs {
    pub(super) topic: Topic,
    pub(super) log: FrameLog,
}

impl Successor for ByLogs {
    type Error = Trouble;

    async fn stands(&self, _: &mut PgConnection) -> Result<Stands, Trouble> {
        Ok(self.log.stands(self.topic).await?.map_or(Stands::Nowhere, Stands::At))
    }

    fn broken(&self, error: SourceError) -> Trouble {
        Trouble::source(self.topic, error)
    }
}

async fn make_table(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let mut tx = connection.begin().await?;
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", format!("projection.{SCHEMA}.schema")).execute(&mut *tx).await?;
    let stands =
        sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "stands!""#, format!("{SCHEMA}.stood")).fetch_one(&mut *tx).await?;
    if !stands {
        tx.execute(AssertSqlSafe(format!("CREATE SCHEMA IF NOT EXISTS {SCHEMA}; SET LOCAL search_path TO {SCHEMA}; {TABLE}"))).await?;
    }
    tx.commit().await
}
