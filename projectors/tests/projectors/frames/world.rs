use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use platform::frames::{FrameLog, Kept, Places};
use platform::fresh::{Progress, Reached};
use platform::http::health::Readiness;
use platform::log::{Checkpoints, Ends, EventSource, LEDGER, Origin, Ownership, SCAN, SourceBatch, SourceError};
use platform::marks::Heads;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use projectors::{Frames, FramesConfig};
use schemas::{Recorded, Topic, UserId};
use sqlx::PgPool;
use testkit::own_redis::OwnRedis;
use testkit::wait_until;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub const LONG: Duration = Duration::from_secs(20);

/// Two ledgers in memory, with their heads in a database, and a Redis of their own.
pub struct World {
    pub redis: OwnRedis,
    pub pool: PgPool,
    pub messages: Ledger,
    pub users: Ledger,
}

/// What a source reads. Clones share it.
#[derive(Clone, Default)]
pub struct Ledger {
    events: Arc<Mutex<Vec<Arc<Recorded>>>>,
}

impl Ledger {
    pub fn append(&self, events: &[Arc<Recorded>]) {
        self.events.lock().unwrap().extend_from_slice(events);
    }

    pub fn head(&self) -> i64 {
        self.events.lock().unwrap().last().map_or(0, |event| event.position)
    }

    pub fn events(&self) -> Vec<Arc<Recorded>> {
        self.events.lock().unwrap().clone()
    }
}

/// A process that projects, until it is dropped (as if it were killed).
pub struct Process {
    pub log: FrameLog,
    pub reached: Reached,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shutdown.drain();
    }
}

impl World {
    pub async fn new() -> Self {
        let pool = testkit::servers::database().await.pool;
        for service in ["messages", "users"] {
            let sql = format!(
                "CREATE SCHEMA {service}_ledger; CREATE TABLE {service}_ledger.held (generation int, head bigint); INSERT INTO {service}_ledger.held VALUES (1, 0);
                 CREATE VIEW {service}_ledger.ledger_head AS SELECT '{}'::uuid AS incarnation, generation, head, NULL::bigint AS published, NULL::bigint[] AS heads FROM {service}_ledger.held",
                Uuid::nil()
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&pool).await.unwrap();
        }
        Self { redis: OwnRedis::started().await, pool, messages: Ledger::default(), users: Ledger::default() }
    }

    /// What the ledger's view says from now on.
    pub async fn head(&self, topic: Topic, generation: i32, head: i64) {
        let sql = format!("UPDATE {topic}_ledger.held SET generation = $1, head = $2");
        sqlx::query(sqlx::AssertSqlSafe(sql)).bind(generation).bind(head).execute(&self.pool).await.unwrap();
    }

    pub async fn log(&self) -> FrameLog {
        let redis = Redis::connect(&self.redis.url(), Shutdown::new()).unwrap();
        wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
        FrameLog::new(redis, Kept::default())
    }

    /// Reading so many events at a time; everything that it reads is in the read models.
    pub async fn process(&self, batch: usize) -> Process {
        let process = self.process_behind(batch).await;
        for model in ["conversations", "relay"] {
            process.covers(model, Topic::Messages, i64::MAX);
        }
        process.covers("contacts", Topic::Users, i64::MAX);
        process
    }

    /// The same, with read models that contain nothing yet.
    pub async fn process_behind(&self, batch: usize) -> Process {
        let (shutdown, readiness) = (Shutdown::new(), Readiness::new());
        let redis = Redis::connect(&self.redis.url(), shutdown.clone()).unwrap();
        let reached = Reached::new(redis.clone(), BTreeMap::new(), shutdown.clone());
        let log = FrameLog::new(redis, Kept::default());
        let heads = Heads::new([(Topic::Messages, self.pool.clone()), (Topic::Users, self.pool.clone())].into());
        let mut tasks = Vec::new();
        for (topic, ledger) in [(Topic::Messages, &self.messages), (Topic::Users, &self.users)] {
            readiness.require(projectors::frames::name(topic));
            let config = FramesConfig {
                log: log.clone(),
                reached: reached.clone(),
                heads: heads.clone(),
                pool: self.pool.clone(),
                readiness: readiness.clone(),
                ownership: Ownership::Alone { stalled_after: Duration::from_secs(2) },
            };
            let source = Box::new(Source { topic, generation: 1, ledger: ledger.clone(), batch, scanned: 0 });
            let shutdown = shutdown.clone();
            tasks.push(tokio::spawn(async move { Frames::new(topic, config).run(source, shutdown).await.unwrap() }));
        }
        Process { log, reached, readiness, shutdown, tasks }
    }
}

impl Process {
    pub fn covers(&self, model: &'static str, topic: Topic, scanned: i64) {
        self.reached.advance(model, topic, &Progress { scanned, ..Progress::default() });
    }

    pub async fn is_ready(&self) {
        wait_until("it is ready", LONG, async || self.readiness.missing().is_empty().then_some(())).await;
    }

    /// Everything up to there is in the logs.
    pub async fn stands_at(&self, topic: Topic, position: i64) {
        wait_until("the projection gets there", LONG, async || {
            let stands = self.log.stands(topic).await.ok().flatten()?;
            (stands.get(&(topic, SCAN))?.last_position >= position).then_some(())
        })
        .await;
    }
}

/// Where an entry stands, and what it says.
pub type Line = (Topic, i32, i64, String);

/// Everything in a user's log.
pub async fn lines(log: &FrameLog, user: UserId) -> Vec<Line> {
    let stored = log.after(user, &Places::default()).await.unwrap();
    stored.entries.iter().map(|entry| (entry.topic, entry.partition, entry.position, entry.text.to_string())).collect()
}

/// The events of a [`Ledger`], so many at a time.
struct Source {
    topic: Topic,
    generation: i32,
    ledger: Ledger,
    batch: usize,
    scanned: i64,
}

#[async_trait]
impl EventSource for Source {
    async fn seek(&mut self, checkpoints: &Checkpoints) -> Result<(), SourceError> {
        self.scanned = checkpoints.get(&(self.topic, SCAN)).map_or(0, |row| row.next_offset);
        Ok(())
    }

    async fn next_batch(&mut self) -> Result<SourceBatch, SourceError> {
        let events: Vec<_> = self.ledger.events().into_iter().filter(|event| event.position > self.scanned).take(self.batch).collect();
        let Some(last) = events.last() else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            return Ok(SourceBatch::default());
        };
        self.scanned = last.position;
        let origin = Origin { topic: self.topic, source: LEDGER.into(), incarnation: Uuid::nil(), generation: self.generation };
        let places = events.iter().map(|event| (event.partition(), event.position)).collect();
        Ok(SourceBatch { places, origin: Some(Arc::new(origin)), scanned: Some(self.scanned), events })
    }

    async fn ends(&mut self) -> Result<Ends, SourceError> {
        Ok(Ends::from([(SCAN, self.ledger.head())]))
    }

    fn has_passed(&self, ends: &Ends) -> bool {
        self.scanned >= ends[&SCAN]
    }

    async fn lag(&mut self) -> Result<(i64, f64), SourceError> {
        Ok((self.ledger.head() - self.scanned, 0.0))
    }
}
