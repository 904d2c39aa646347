//! How far the sources are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use schemas::Topic;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

/// One query per source in this time, however many wait.
const PACE: Duration = Duration::from_millis(50);
const TIME_OUT: Duration = Duration::from_secs(1);

/// The head of a source, from the view `<service>_ledger.ledger_head`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The ledger's life.
    pub incarnation: Uuid,
    /// Of its topic.
    pub generation: i32,
    /// Position of the newest committed event, 0 when there is none.
    pub head: i64,
    /// Up to where the publisher has published, and the last position per partition; for readers of Kafka. Of several clusters the one that is furthest.
    pub published: Option<(i64, Vec<i64>)>,
}

/// Asks for heads; one query per source and 50 ms for all who wait. Clones share it.
#[derive(Clone, Debug)]
pub struct Heads {
    sources: Arc<BTreeMap<Topic, mpsc::UnboundedSender<Waiter>>>,
}

type Waiter = oneshot::Sender<Result<Head, Arc<sqlx::Error>>>;

impl Heads {
    /// With one pool per topic, connected as `postrider_reader`.
    #[must_use]
    pub fn new(readers: BTreeMap<Topic, PgPool>) -> Self {
        let sources = readers.into_iter().map(|(topic, pool)| {
            let (waiters, queue) = mpsc::unbounded_channel();
            tokio::spawn(answer(topic, pool, queue));
            (topic, waiters)
        });
        Self { sources: Arc::new(sources.collect()) }
    }

    /// The head, read after this call began.
    ///
    /// # Errors
    /// When the source's database does not answer in time.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn head(&self, topic: Topic) -> Result<Head, sqlx::Error> {
        let source =
            self.sources.get(&topic).ok_or_else(|| sqlx::Error::Configuration(format!("no reader for the ledger of {topic}").into()))?;
        let (waiter, answer) = oneshot::channel();
        source.send(waiter).map_err(|_| sqlx::Error::WorkerCrashed)?;
        answer.await.map_err(|_| sqlx::Error::WorkerCrashed)?.map_err(|error| sqlx::Error::Io(std::io::Error::other(error)))
    }
}

/// Runs until the last [`Heads`] is gone. Who comes while a query runs waits for the next one.
async fn answer(topic: Topic, pool: PgPool, mut queue: mpsc::UnboundedReceiver<Waiter>) {
    let mut next = Instant::now();
    while let Some(first) = queue.recv().await {
        tokio::time::sleep_until(next).await;
        let mut waiters = vec![first];
        while let Ok(waiter) = queue.try_recv() {
            waiters.push(waiter);
        }
        next = Instant::now() + PACE;
        let head = match tokio::time::timeout(TIME_OUT, read(topic, &pool)).await {
            Ok(head) => head,
            Err(_) => Err(sqlx::Error::PoolTimedOut),
        };
        let head = head.map_err(Arc::new);
        for waiter in waiters {
            // Who no longer waits is not told.
            let _ = waiter.send(head.clone());
        }
    }
}

async fn read(topic: Topic, pool: &PgPool) -> Result<Head, sqlx::Error> {
    type Row = (Uuid, i32, i64, Option<i64>, Option<Vec<i64>>);
    let sql = format!(
        "SELECT incarnation, generation, head, published, heads FROM {}_ledger.ledger_head ORDER BY published DESC NULLS LAST LIMIT 1",
        topic.service()
    );
    let (incarnation, generation, head, published, heads): Row = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(pool).await?;
    Ok(Head { incarnation, generation, head, published: published.zip(heads) })
}
