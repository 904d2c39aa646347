//! How far each projection is, and waiting for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use schemas::Topic;
use sqlx::{AssertSqlSafe, PgPool};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::announce::{self, Outbox};
use super::left;
use crate::marks::{Head, Heads, Mark};
use crate::redis::Redis;
use crate::shutdown::Shutdown;

/// How often the checkpoints are read while somebody waits for news that do not come.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How often a publisher that has not published the head yet is asked again.
const ASK_EVERY: Duration = Duration::from_millis(50);
const LOOK_TIME_OUT: Duration = Duration::from_millis(500);

/// How far each projection is. Clones share one state.
///
/// Told by the runners of this process ([`Reached::advance`]), by Redis (channel `reached`) for runners elsewhere, and read from the projection's `checkpoints`
/// as the last resort (at most every 20 ms while somebody waits).
#[derive(Clone, Debug)]
pub struct Reached {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    models: RwLock<BTreeMap<&'static str, Arc<Model>>>,
    pub(super) outbox: Outbox,
}

/// How far a projection is in one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Last position applied, per partition.
    pub partitions: BTreeMap<i32, i64>,
    /// Ledger source: everything up to this position has been seen, whatever its partition.
    pub scanned: i64,
}

impl Progress {
    fn covers(&self, mark: &Mark) -> bool {
        self.scanned >= mark.position || self.at(mark.partition) >= mark.position
    }

    fn at(&self, partition: i32) -> i64 {
        self.partitions.get(&partition).copied().unwrap_or(0)
    }

    /// Reports of one projection come from several processes, and late: only what is further counts. Whether anything was.
    pub(super) fn raise(&mut self, to: &Self) -> bool {
        let mut rose = to.scanned > self.scanned;
        self.scanned = self.scanned.max(to.scanned);
        for (partition, position) in &to.partitions {
            let known = self.partitions.entry(*partition).or_insert(0);
            rose |= position > known;
            *known = (*known).max(*position);
        }
        rose
    }
}

/// One projection.
#[derive(Debug)]
struct Model {
    name: &'static str,
    pool: Option<PgPool>,
    progress: Mutex<BTreeMap<Topic, Progress>>,
    moved: Notify,
    /// When the checkpoints were last read; held while they are.
    looked: tokio::sync::Mutex<Option<Instant>>,
}

impl Reached {
    /// `models`: name → pool of the service's database, for the last resort. Starts following and announcing over Redis.
    #[must_use]
    pub fn new(redis: Redis, models: BTreeMap<&'static str, PgPool>, shutdown: Shutdown) -> Self {
        let models = models.into_iter().map(|(name, pool)| (name, Arc::new(Model::new(name, Some(pool)))));
        let inner = Arc::new(Inner { models: RwLock::new(models.collect()), outbox: Outbox::default() });
        announce::start(&inner, redis, &shutdown);
        Self { inner }
    }

    /// A runner of this process has committed a checkpoint. Wakes whoever waits, and announces it to others (gathered, at most every 5 ms).
    pub fn advance(&self, model: &'static str, topic: Topic, progress: &Progress) {
        if self.inner.model(model).raise(topic, progress) {
            self.inner.outbox.put(model, topic, progress);
        }
    }

    /// Waits until a projection covers all marks, which must be of topics that it reads; `false` at the bound.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn covers(&self, model: &'static str, marks: &[Mark], bound: Duration) -> bool {
        if marks.is_empty() {
            return true;
        }
        let covered =
            |progress: &BTreeMap<Topic, Progress>| marks.iter().all(|mark| progress.get(&mark.topic).is_some_and(|p| p.covers(mark)));
        self.inner.model(model).until(Instant::now() + bound, covered).await
    }

    /// Waits until a projection has reached the present head of its sources; `false` at the bound or when a source does not answer.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn reaches_head(&self, model: &'static str, reads: &[Topic], heads: &Heads, bound: Duration) -> bool {
        let (model, deadline) = (self.inner.model(model), Instant::now() + bound);
        let waits = reads.iter().map(|topic| model.reaches_head(*topic, heads, deadline));
        futures::future::join_all(waits).await.into_iter().all(|reached| reached)
    }
}

impl Inner {
    fn model(&self, name: &'static str) -> Arc<Model> {
        if let Some(model) = self.known(name) {
            return model.1;
        }
        let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(models.entry(name).or_insert_with(|| Arc::new(Model::new(name, None))))
    }

    fn known(&self, name: &str) -> Option<(&'static str, Arc<Model>)> {
        let models = self.models.read().unwrap_or_else(PoisonError::into_inner);
        models.get_key_value(name).map(|(name, model)| (*name, Arc::clone(model)))
    }

    /// A runner elsewhere has moved. Projections that nobody here waits for are none of our business.
    pub(super) fn heard(&self, model: &str, topic: Topic, progress: &Progress) {
        if let Some((_, model)) = self.known(model) {
            model.raise(topic, progress);
        }
    }
}

impl Model {
    fn new(name: &'static str, pool: Option<PgPool>) -> Self {
        Self { name, pool, progress: Mutex::default(), moved: Notify::new(), looked: tokio::sync::Mutex::new(None) }
    }

    fn raise(&self, topic: Topic, to: &Progress) -> bool {
        let rose = {
            let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let unknown = !progress.contains_key(&topic);
            progress.entry(topic).or_default().raise(to) || unknown
        };
        if rose {
            self.moved.notify_waiters();
        }
        rose
    }

    fn is(&self, condition: impl Fn(&BTreeMap<Topic, Progress>) -> bool) -> bool {
        condition(&self.progress.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the condition holds; `false` at the deadline.
    async fn until(&self, deadline: Instant, condition: impl Fn(&BTreeMap<Topic, Progress>) -> bool) -> bool {
        // News usually come within a few milliseconds; of a projection that was never heard of they may not come at all.
        let mut look_at = if self.is(BTreeMap::is_empty) { Instant::now() } else { Instant::now() + LOOK_EVERY };
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            moved.as_mut().enable();
            if self.is(&condition) {
                return true;
            }
            tokio::select! {
                () = moved => {}
                () = sleep_until(deadline) => return self.is(&condition),
                () = sleep_until(look_at) => {
                    // At the deadline the loop says what is known.
                    let _ = timeout_at(deadline, self.look()).await;
                    look_at = Instant::now() + LOOK_EVERY;
                }
            }
        }
    }

    /// Reads the checkpoints, unless somebody has just done so.
    async fn look(&self) {
        let Some(pool) = &self.pool else { return };
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        match tokio::time::timeout(LOOK_TIME_OUT, read_checkpoints(self.name, pool)).await {
            Ok(Ok(progress)) => {
                for (topic, progress) in &progress {
                    self.raise(*topic, progress);
                }
            }
            Ok(Err(error)) => tracing::debug!(projection = self.name, %error, "checkpoints could not be read"),
            Err(_) => tracing::debug!(projection = self.name, "checkpoints could not be read in time"),
        }
        *looked = Some(Instant::now());
    }

    async fn reaches_head(&self, topic: Topic, heads: &Heads, deadline: Instant) -> bool {
        let Some(wanted) = ask(heads, topic, deadline).await else { return false };
        let head = wanted.head;
        if head == 0 {
            return true;
        }
        let scanned = |progress: &BTreeMap<Topic, Progress>| progress.get(&topic).is_some_and(|p| p.scanned >= head);
        let mut published = wanted.published;
        loop {
            let next = match published {
                // No log: only the ledger source can have brought it.
                None => deadline,
                // A reader of the log has it when it stands, in every partition, where the publisher stood after the head.
                Some((position, partitions)) if position >= head => {
                    let applied = |p: &Progress| (0..).zip(&partitions).all(|(partition, position)| p.at(partition) >= *position);
                    return self.until(deadline, |progress| scanned(progress) || progress.get(&topic).is_some_and(applied)).await;
                }
                Some(_) => deadline.min(Instant::now() + ASK_EVERY),
            };
            if self.until(next, scanned).await {
                return true;
            }
            if left(deadline).is_zero() {
                return false;
            }
            match ask(heads, topic, deadline).await {
                Some(now) => published = now.published,
                None => return false,
            }
        }
    }
}

async fn ask(heads: &Heads, topic: Topic, deadline: Instant) -> Option<Head> {
    match timeout_at(deadline, heads.head(topic)).await {
        Ok(Ok(head)) => Some(head),
        Ok(Err(error)) => {
            tracing::warn!(%topic, %error, "the head of a source cannot be learned");
            None
        }
        Err(_) => None,
    }
}

/// As the runner left them: row -1 is the ledger source's own place, through which it has seen everything.
async fn read_checkpoints(model: &'static str, pool: &PgPool) -> Result<BTreeMap<Topic, Progress>, sqlx::Error> {
    let sql = format!("SELECT topic, partition, last_position, source, next_offset FROM {model}.checkpoints WHERE state = 'live'");
    let rows: Vec<(String, i32, i64, String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(pool).await?;
    let mut all: BTreeMap<Topic, Progress> = BTreeMap::new();
    for (topic, partition, last_position, source, next_offset) in rows {
        // A topic that only a newer release knows is read by nobody here.
        let Ok(topic) = topic.parse::<Topic>() else { continue };
        let progress = all.entry(topic).or_default();
        if partition >= 0 {
            progress.partitions.insert(partition, last_position);
        } else if source == "ledger" {
            progress.scanned = next_offset;
        }
    }
    Ok(all)
}
