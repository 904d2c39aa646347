//! Who projects: a connection that holds the lock, and what is kept for whoever comes after.

use std::time::Duration;

use platform::log::{Checkpoint, Checkpoints};
use schemas::Topic;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(10);
/// Its one table, and where that stands.
const SCHEMA: &str = "frames";
const TABLE: &str = include_str!("schema.sql");

/// A session with the lock of a projection. The comparison of checkpoints is the fence; the lock keeps two from doing the same work.
pub(super) struct Owner {
    connection: PgConnection,
    lock: String,
}

impl Owner {
    /// Connects, without the lock yet; makes the table where it is missing.
    pub(super) async fn connect(pool: &PgPool, name: &str) -> Result<Self, sqlx::Error> {
        let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "10s"), ("lock_timeout", "10s")]);
        let connecting = async {
            let mut connection = PgConnection::connect_with(&options).await?;
            make_table(&mut connection).await?;
            Ok::<_, sqlx::Error>(connection)
        };
        let connection = tokio::time::timeout(PATIENCE, connecting).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(Self { connection, lock: format!("projection.{name}") })
    }

    /// Whether it is ours now, alone or (`shared`) with others who share it.
    pub(super) async fn try_lock(&mut self, shared: bool) -> Result<bool, sqlx::Error> {
        if shared {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0)) AS "locked!""#, self.lock)
                .fetch_one(&mut self.connection)
                .await
        } else {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#, self.lock)
                .fetch_one(&mut self.connection)
                .await
        }
    }

    /// Fails when the connection, and the lock with it, is gone.
    pub(super) async fn still(&mut self) -> Result<(), sqlx::Error> {
        tokio::time::timeout(PATIENCE, self.connection.ping()).await.map_err(|_| sqlx::Error::PoolTimedOut)?
    }

    /// Where the logs of a topic stood; empty: nobody has said.
    pub(super) async fn stood(&mut self, topic: Topic) -> Result<Checkpoints, sqlx::Error> {
        let rows = sqlx::query!(
            "SELECT partition, incarnation, generation, last_position, source, next_offset FROM frames.stood WHERE topic = $1",
            topic.service()
        )
        .fetch_all(&mut self.connection)
        .await?;
        let checkpoint = |row: (Uuid, i32, i64, String, i64)| Checkpoint {
            incarnation: row.0,
            generation: row.1,
            last_position: row.2,
            source: row.3,
            next_offset: row.4,
        };
        let rows = rows.into_iter().map(|row| {
            ((topic, row.partition), checkpoint((row.incarnation, row.generation, row.last_position, row.source, row.next_offset)))
        });
        Ok(rows.collect())
    }

    /// Keeps where they stand. Others may keep other partitions; within a life of the ledger nothing is lowered.
    pub(super) async fn keep(&mut self, stand: &Checkpoints) -> Result<(), sqlx::Error> {
        let (mut topics, mut partitions, mut incarnations, mut generations) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut positions, mut sources, mut offsets) = (Vec::new(), Vec::new(), Vec::new());
        for ((topic, partition), checkpoint) in stand {
            topics.push(topic.service().to_owned());
            partitions.push(*partition);
            incarnations.push(checkpoint.incarnation);
            generations.push(checkpoint.generation);
            positions.push(checkpoint.last_position);
            sources.push(checkpoint.source.clone());
            offsets.push(checkpoint.next_offset);
        }
        let keeping = sqlx::query!(
            "INSERT INTO frames.stood AS s (topic, partition, incarnation, generation, last_position, source, next_offset)
             SELECT * FROM unnest($1::text[], $2::int[], $3::uuid[], $4::int[], $5::bigint[], $6::text[], $7::bigint[])
             ON CONFLICT (topic, partition) DO UPDATE
               SET incarnation = excluded.incarnation, generation = excluded.generation, last_position = excluded.last_position,
                   source = excluded.source, next_offset = excluded.next_offset
             WHERE (s.incarnation, s.generation) <> (excluded.incarnation, excluded.generation) OR s.last_position < excluded.last_position",
            &topics,
            &partitions,
            &incarnations,
            &generations,
            &positions,
            &sources,
            &offsets
        );
        tokio::time::timeout(PATIENCE, keeping.execute(&mut self.connection)).await.map_err(|_| sqlx::Error::PoolTimedOut)??;
        Ok(())
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
