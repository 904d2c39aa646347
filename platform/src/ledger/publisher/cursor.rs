//! How far the log has been written: read and moved over the connection that holds the publisher's lock.

use std::time::{Duration, Instant};

use schemas::Topic;
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::Trouble;
use crate::config::StartError;
use crate::ledger::LedgerMeta;
use crate::log::SourceError;
use crate::log::kafka::Tail;
use crate::shutdown::Shutdown;

/// How often somebody who waits for the lock tries.
const WAIT: Duration = Duration::from_secs(1);
/// How long a question may take.
const BOUND: Duration = Duration::from_secs(10);

/// The connection that holds the publisher's lock.
pub(super) struct Lane {
    connection: PgConnection,
    used: Instant,
}

/// Everything up to `position` is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cursor {
    cluster: String,
    generation: i32,
    pub(super) position: i64,
    /// Last published position per partition: what the next record of a partition names as its predecessor.
    heads: Vec<i64>,
    epoch: i64,
    /// Where the row stands.
    stored: i64,
}

async fn bounded<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Trouble> {
    match tokio::time::timeout(BOUND, question).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Trouble::Again("the ledger did not answer the publisher in time".into())),
    }
}

/// How far the log has been written, by whoever publishes; in whichever cluster it is furthest when none is named.
pub(super) async fn published(pool: &PgPool, generation: i32, cluster: Option<&str>) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(max(position), 0) AS "position!" FROM publisher_cursor WHERE generation = $1 AND cluster = coalesce($2, cluster)"#,
        generation,
        cluster
    )
    .fetch_one(pool)
    .await
}

impl Lane {
    /// Waits until no other publisher of this ledger works; `None` when the drain comes first.
    pub(super) async fn acquire(pool: &PgPool, topic: Topic, shutdown: &Shutdown) -> Result<Option<Self>, Trouble> {
        let options = pool.connect_options().as_ref().clone().options([("statement_timeout", "10s"), ("lock_timeout", "5s")]);
        let mut connection = bounded(PgConnection::connect_with(&options)).await?;
        let lock = format!("publisher.{topic}");
        let mut said = false;
        loop {
            let locked = sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#, lock);
            if bounded(locked.fetch_one(&mut connection)).await? {
                return Ok(Some(Self { connection, used: Instant::now() }));
            }
            if !said {
                tracing::info!(%topic, "another publisher works; waiting for it to end");
                said = true;
            }
            tokio::select! {
                () = shutdown.draining() => return Ok(None),
                () = tokio::time::sleep(WAIT) => {}
            }
        }
    }

    /// How long the connection has not been used.
    pub(super) fn quiet_for(&self) -> Duration {
        self.used.elapsed()
    }

    /// Fails when the connection is gone, and the lock with it.
    pub(super) async fn stands(&mut self) -> Result<(), Trouble> {
        bounded(self.connection.ping()).await?;
        self.used = Instant::now();
        Ok(())
    }

    /// Reads the cursor for a cluster and takes it over under a new epoch.
    pub(super) async fn cursor(&mut self, cluster: &str, meta: LedgerMeta) -> Result<Cursor, Trouble> {
        let none = vec![0_i64; usize::try_from(meta.partitions).unwrap_or(0)];
        let row = sqlx::query!(
            "INSERT INTO publisher_cursor AS c (cluster, generation, position, heads, epoch) VALUES ($1, $2, 0, $3, 1)
             ON CONFLICT (cluster, generation) DO UPDATE SET epoch = c.epoch + 1 RETURNING position, heads, epoch",
            cluster,
            meta.generation,
            &none
        )
        .fetch_one(&mut self.connection);
        let row = bounded(row).await?;
        self.used = Instant::now();
        Ok(Cursor {
            cluster: cluster.to_owned(),
            generation: meta.generation,
            position: row.position,
            heads: row.heads,
            epoch: row.epoch,
            stored: row.position,
        })
    }

    /// Moves the cursor, when nobody else has.
    pub(super) async fn advance(&mut self, mut to: Cursor) -> Result<Cursor, Trouble> {
        let moved = sqlx::query!(
            "UPDATE publisher_cursor SET position = $4, heads = $5 WHERE cluster = $1 AND generation = $2 AND epoch = $3 AND position = $6",
            to.cluster,
            to.generation,
            to.epoch,
            to.position,
            &to.heads,
            to.stored
        )
        .execute(&mut self.connection);
        let moved = bounded(moved).await?.rows_affected();
        self.used = Instant::now();
        if moved != 1 {
            return Err(Trouble::Again("another publisher has taken the cursor over".into()));
        }
        to.stored = to.position;
        Ok(to)
    }
}

impl Cursor {
    /// Last published position of a partition.
    pub(super) fn head(&mut self, partition: i32) -> Result<&mut i64, Trouble> {
        let count = self.heads.len();
        usize::try_from(partition).ok().and_then(|p| self.heads.get_mut(p)).ok_or_else(|| {
            Trouble::Stop(StartError::new(format!(
                "an event belongs to partition {partition}, but the cursor has {count}: the count of a generation never changes"
            )))
        })
    }

    /// Compares with what the topic really ends with. What it has beyond the cursor was acknowledged and is not sent again; an empty topic is filled from the start;
    /// one that lost some of what was acknowledged, or knows more than the ledger, is refused.
    pub(super) fn reconcile(
        &mut self,
        tails: &[Option<Tail>],
        topic: Topic,
        name: &str,
        incarnation: Uuid,
        head: i64,
    ) -> Result<(), Trouble> {
        for (partition, tail) in tails.iter().enumerate() {
            if let Some(tail) = tail {
                let who = format!("partition {partition} of the topic {name}");
                SourceError::refuse_ahead(&who, topic, (tail.incarnation, tail.position), incarnation, head)?;
            }
        }
        if tails.iter().all(Option::is_none) && self.heads.iter().any(|head| *head > 0) {
            tracing::warn!(%topic, "the topic {name} is empty: it is published again from the start of the ledger");
            self.heads.fill(0);
            self.position = 0;
            return Ok(());
        }
        for (partition, (known, tail)) in self.heads.iter_mut().zip(tails).enumerate() {
            let found = tail.map_or(0, |tail| tail.position);
            if found < *known {
                return Err(Trouble::Stop(StartError::new(format!(
                    "partition {partition} of the topic {name} ends at position {found}, but {known} had been acknowledged: the cluster lost records. \
                     Delete the topic and run `postrider topics apply`; it is then published again from the ledger."
                ))));
            }
            *known = found;
        }
        Ok(())
    }
}
