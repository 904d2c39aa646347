//! The one way to Redis: short time-outs, one breaker, and a memory of having been away.

mod keeper;
mod subscription;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ::redis::aio::MultiplexedConnection;
use ::redis::{Client, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, Script, ServerErrorKind};
use tokio::sync::{Notify, mpsc};

pub use subscription::Said;

use crate::shutdown::Shutdown;

/// How long a call may take.
pub const TIME_OUT: Duration = Duration::from_millis(250);

/// A shared, multiplexed connection that reconnects by itself. Clones share it.
///
/// Every call has a time-out ([`TIME_OUT`]); after a failure the breaker is open and calls fail at once until a probe in the background succeeds (every 100 ms), so a
/// Redis that hangs costs one time-out, not one for each request. The probe writes: a Redis that loads its data, has become a replica or has no room left counts as away.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

/// Redis did not answer in time, or refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("redis is not available: {0}")]
pub struct RedisAway(pub String);

struct Inner {
    client: Client,
    /// `None`: the breaker is open.
    live: RwLock<Option<Live>>,
    /// Counts connections, so that a late failure of an old one does not break its successor.
    serial: AtomicU64,
    answered: AtomicBool,
    broken: Notify,
}

#[derive(Clone)]
struct Live {
    connection: MultiplexedConnection,
    serial: u64,
    since: Instant,
    /// What its data was good for before we came.
    before: Duration,
}

impl Redis {
    /// Begins to connect; returns at once, whether or not Redis is there. Connects again until `shutdown` has finished or the last clone is gone.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn connect(url: &str, shutdown: Shutdown) -> Result<Self, RedisAway> {
        Self::start(url, shutdown, keeper::FirstContact::CountsFromServerStart)
    }

    /// As [`Redis::connect`], to a server that this process has started for itself alone: at the first connection nobody can have left anything that its
    /// start has lost, so it is not young ([`Redis::up_for`]). Later connections count as usual.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn connect_to_own(url: &str, shutdown: Shutdown) -> Result<Self, RedisAway> {
        Self::start(url, shutdown, keeper::FirstContact::MissedNothing)
    }

    fn start(url: &str, shutdown: Shutdown, first: keeper::FirstContact) -> Result<Self, RedisAway> {
        let client = Client::open(url).map_err(|error| RedisAway(format!("its URL cannot be read ({})", error.category())))?;
        let inner = Arc::new(Inner {
            client,
            live: RwLock::new(None),
            serial: AtomicU64::new(0),
            answered: AtomicBool::new(false),
            broken: Notify::new(),
        });
        metrics::gauge!("redis_up").set(0.0);
        tokio::spawn(keeper::keep(Arc::downgrade(&inner), first, shutdown));
        Ok(Self { inner })
    }

    /// Sends a pipeline or command.
    ///
    /// # Errors
    /// [`RedisAway`]; whether it was carried out is then unknown.
    pub async fn query<T: FromRedisValue + Send>(&self, pipeline: &Pipeline) -> Result<T, RedisAway> {
        self.inner.call(|mut connection| async move { pipeline.query_async(&mut connection).await }).await
    }

    /// Runs a script by its digest (loading it when Redis does not know it).
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn script<T: FromRedisValue + Send>(&self, script: &Script, keys: &[String], args: &[String]) -> Result<T, RedisAway> {
        let mut invocation = script.prepare_invoke();
        for key in keys {
            invocation.key(key);
        }
        for arg in args {
            invocation.arg(arg);
        }
        let invocation = &invocation;
        self.inner.call(|mut connection| async move { invocation.invoke_async(&mut connection).await }).await
    }

    /// Follows a channel for as long as the receiver lives; resubscribes by itself. Messages sent while Redis was away are lost.
    #[must_use]
    pub fn subscribe(&self, channel: &'static str) -> mpsc::Receiver<Vec<u8>> {
        let (sender, receiver) = mpsc::channel(1024);
        let messages = |said| match said {
            Said::Began => None,
            Said::Message(message) => Some(message),
        };
        tokio::spawn(subscription::follow(self.inner.client.clone(), vec![channel.to_owned()], sender, messages));
        receiver
    }

    /// As [`Redis::subscribe`], several channels over one connection, for those who must know when they may have missed something.
    #[must_use]
    pub fn follow(&self, channels: Vec<String>) -> mpsc::Receiver<Said> {
        let (sender, receiver) = mpsc::channel(1024);
        tokio::spawn(subscription::follow(self.inner.client.clone(), channels, sender, Some));
        receiver
    }

    /// Whether the last call succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.inner.live().is_some()
    }

    /// Whether Redis has answered at least once.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        self.inner.answered.load(Ordering::Acquire)
    }

    /// For how long nothing can have been lost in Redis without this process noticing; `None` while it is away.
    ///
    /// Counts from when the connection came to stand; for the first connection of this process, which is no return, from the start of the server itself.
    #[must_use]
    pub fn up_for(&self) -> Option<Duration> {
        self.inner.live().map(|live| live.before.saturating_add(live.since.elapsed()))
    }
}

impl fmt::Debug for Redis {
    /// Without the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("up_for", &self.up_for()).finish_non_exhaustive()
    }
}

impl Inner {
    fn live(&self) -> Option<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn came(&self, connection: MultiplexedConnection, before: Duration) {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let live = Live { connection, serial, since: Instant::now(), before };
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = Some(live);
        self.answered.store(true, Ordering::Release);
        metrics::gauge!("redis_up").set(1.0);
    }

    fn broke(&self, serial: u64, reason: &str) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if live.as_ref().is_some_and(|live| live.serial == serial) {
            *live = None;
            drop(live);
            tracing::warn!(reason, "redis is away");
            metrics::gauge!("redis_up").set(0.0);
            self.broken.notify_one();
        }
    }

    async fn call<T, F>(&self, work: impl FnOnce(MultiplexedConnection) -> F) -> Result<T, RedisAway>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let Live { connection, serial, .. } =
            self.live().ok_or_else(|| RedisAway("it has not answered since its last failure".to_owned()))?;
        match tokio::time::timeout(TIME_OUT, work(connection)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                let reason = error.to_string();
                if means_away(error) {
                    self.broke(serial, &reason);
                }
                Err(RedisAway(reason))
            }
            Err(_) => {
                let reason = format!("no answer within {} ms", TIME_OUT.as_millis());
                self.broke(serial, &reason);
                Err(RedisAway(reason))
            }
        }
    }
}

/// Whether everybody else would fail as well; the fault of one command is its caller's alone.
fn means_away(error: RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, ClusterDown, MasterDown, ReadOnly};
    match error.kind() {
        ErrorKind::Io | ErrorKind::Parse | ErrorKind::AuthenticationFailed => true,
        ErrorKind::Server(BusyLoading | MasterDown | ClusterDown | ReadOnly) => true,
        _ => error
            .into_server_errors()
            .is_some_and(|all| all.iter().any(|(_, e)| matches!(e.code(), "OOM" | "MISCONF" | "BUSY" | "NOREPLICAS" | "NOAUTH"))),
    }
}
