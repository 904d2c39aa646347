//! What a user did, or was named in, and how far a reader must therefore be.

mod heads;
mod token;
mod writer;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use schemas::{Topic, UserId};
use tokio::sync::{Notify, OnceCell, mpsc, oneshot};

pub use heads::{Head, Heads};
pub use token::ConsistencyToken;

use crate::redis::{Redis, TIME_OUT};
use crate::shutdown::Shutdown;

/// The channel on which writers say that a ledger has grown; see [`Wake`].
pub const WAKE: &str = "wake";

/// How long a mark is kept: longer than any reader of the present may be behind, and it need not be more.
const KEPT: Duration = Duration::from_secs(30);
/// How long one of an event that binds others is kept: longer than a copy may stand still.
const KEPT_FOR_LONG: Duration = Duration::from_secs(24 * 60 * 60);
/// Says that somebody could not leave a mark.
const LOST: &str = "marks:lost";
/// Stands in every Redis that has not been emptied since somebody looked for marks.
const STANDS: &str = "marks:stands";
const QUEUE: usize = 4_096;

/// A place in a topic that a reader must have reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// Topic.
    pub topic: Topic,
    /// Generation of the topic.
    pub generation: i32,
    /// Partition in that generation.
    pub partition: i32,
    /// Position of the last event that matters.
    pub position: i64,
}

impl Mark {
    /// The field of a user's hash that holds its position.
    fn field(&self) -> String {
        format!("{}/{}/{}", self.topic, self.generation, self.partition)
    }

    fn read(field: &str, position: i64) -> Option<Self> {
        let mut parts = field.split('/');
        let (topic, generation, partition) = (parts.next()?, parts.next()?, parts.next()?);
        let topic = Topic::ALL.iter().copied().find(|t| t.service() == topic)?;
        Some(Self { topic, generation: generation.parse().ok()?, partition: partition.parse().ok()?, position })
    }
}

/// A message on [`WAKE`]: a ledger holds something at this position. Text: `messages 1234`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wake {
    /// Which ledger.
    pub topic: Topic,
    /// At least up to here.
    pub position: i64,
}

impl Wake {
    /// Reads a message; `None` when it is nonsense or of a topic that this release does not know.
    #[must_use]
    pub fn read(message: &[u8]) -> Option<Self> {
        let (topic, position) = std::str::from_utf8(message).ok()?.split_once(' ')?;
        let topic = Topic::ALL.iter().copied().find(|t| t.service() == topic)?;
        Some(Self { topic, position: position.parse().ok()? })
    }
}

impl fmt::Display for Wake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.topic, self.position)
    }
}

/// Marks in Redis: per user a hash `mark:<user>` of `topic/generation/partition → position`, kept 30 s (those of what binds others a day), only ever raised. Clones share one writer.
///
/// Writes of concurrent commands are gathered into one script call, which also publishes one [`Wake`] per topic on [`WAKE`] (see [`crate::ledger::Feed`]).
/// A process that could not leave a mark sets `marks:lost` for as long as a mark is kept, before it trusts Redis again. So does whoever finds `marks:stands` missing: Redis was emptied, without anybody's connection having
/// been broken, perhaps.
#[derive(Clone, Debug)]
pub struct Marks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    redis: Redis,
    kept: Duration,
    writer: mpsc::Sender<Leave>,
    lost: Arc<Lost>,
    /// Whether a Redis of this process's own has been told that it lacks nothing.
    begun: OnceCell<()>,
}

/// What one command leaves.
#[derive(Debug)]
struct Leave {
    users: Vec<UserId>,
    marks: Vec<Mark>,
    /// How long they must stay, at least.
    kept: Duration,
    done: oneshot::Sender<bool>,
}

/// How often a mark could not be left, and how many of these times the others know of.
#[derive(Debug, Default)]
struct Lost {
    happened: AtomicU64,
    told: AtomicU64,
    news: Notify,
}

impl Lost {
    fn remember(&self) {
        metrics::counter!("marks_lost_total").increment(1);
        self.happened.fetch_add(1, Ordering::SeqCst);
        self.news.notify_one();
    }

    /// How many have happened, when others do not know of all of them.
    fn untold(&self) -> Option<u64> {
        let happened = self.happened.load(Ordering::SeqCst);
        (self.told.load(Ordering::SeqCst) < happened).then_some(happened)
    }
}

/// What Redis knows of somebody's marks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// These; possibly none.
    Marks(Vec<Mark>),
    /// Redis is away, was away or emptied within 30 s, or somebody could not leave a mark: wait for the heads of the sources instead.
    Unsure,
}

impl Marks {
    /// Starts the writer.
    #[must_use]
    pub fn new(redis: Redis, shutdown: &Shutdown) -> Self {
        Self::kept_for(KEPT, redis, shutdown)
    }

    /// As [`Marks::new`], with another life of marks (30 s), for tests. All processes must agree on it.
    #[must_use]
    pub fn kept_for(kept: Duration, redis: Redis, shutdown: &Shutdown) -> Self {
        let (writer, leaves) = mpsc::channel(QUEUE);
        let lost = Arc::new(Lost::default());
        tokio::spawn(writer::write(leaves, redis.clone()));
        tokio::spawn(writer::tell_losses(Arc::downgrade(&lost), redis.clone(), kept, shutdown.clone()));
        Self { inner: Arc::new(Inner { redis, kept, writer, lost, begun: OnceCell::new() }) }
    }

    /// Leaves marks for everybody named. Returns when Redis has them or has been found away (then `marks:lost` is set as soon as it is back, before this process trusts it again); never fails.
    ///
    /// # Cancel safety
    /// Dropping the future does not take the marks back, once they are queued.
    pub async fn leave(&self, users: &[UserId], marks: &[Mark]) {
        self.leave_for(self.inner.kept, users, marks).await;
    }

    /// The same, of what binds others ([`schemas::Recorded::binds_others`]): kept for a day, since a command that missed it would do what somebody was promised not to happen.
    ///
    /// # Cancel safety
    /// As [`Marks::leave`].
    pub async fn leave_for_long(&self, users: &[UserId], marks: &[Mark]) {
        self.leave_for(KEPT_FOR_LONG, users, marks).await;
    }

    async fn leave_for(&self, kept: Duration, users: &[UserId], marks: &[Mark]) {
        if users.is_empty() || marks.is_empty() {
            return;
        }
        let left = self.inner.redis.is_up() && tokio::time::timeout(TIME_OUT, self.hand_over(kept, users, marks)).await.unwrap_or(false);
        if !left {
            self.inner.lost.remember();
        }
    }

    async fn hand_over(&self, kept: Duration, users: &[UserId], marks: &[Mark]) -> bool {
        let (done, left) = oneshot::channel();
        let leave = Leave { users: users.to_vec(), marks: marks.to_vec(), kept, done };
        self.inner.writer.send(leave).await.is_ok() && left.await.unwrap_or(false)
    }

    /// What several users' next reads must contain, in one round trip.
    pub async fn of(&self, users: &[UserId]) -> Known {
        if !self.is_sure() {
            return Known::Unsure;
        }
        self.inner.begun.get_or_init(|| writer::begin(&self.inner.redis)).await;
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("MGET").arg(LOST).arg(STANDS);
        for user in users {
            pipeline.cmd("HGETALL").arg(key(*user));
        }
        let Ok(answers) = self.inner.redis.query::<Vec<::redis::Value>>(&pipeline).await else { return Known::Unsure };
        // Looked at again, since the answer may come from a connection that has replaced the one that was trusted.
        match writer::read_answers(answers) {
            // Where nothing is kept, nothing is missing.
            Some(read) if !read.stands && !self.inner.kept.is_zero() => {
                writer::tell_emptied(&self.inner.redis, self.inner.kept).await;
                Known::Unsure
            }
            Some(read) if !read.lost && self.is_sure() => Known::Marks(read.marks),
            _ => Known::Unsure,
        }
    }

    fn is_sure(&self) -> bool {
        self.inner.lost.untold().is_none() && self.inner.redis.up_for().is_some_and(|up| up >= self.inner.kept)
    }
}

fn key(user: UserId) -> String {
    format!("mark:{user}")
}

#[cfg(test)]
mod tests {
    use super::{Mark, Wake};
    use schemas::Topic;

    #[test]
    fn a_field_and_a_wake_read_as_they_were_written() {
        let mark = Mark { topic: Topic::Messages, generation: 2, partition: 11, position: 7 };
        assert_eq!(Mark::read(&mark.field(), 7), Some(mark));
        assert_eq!(Mark::read("messages/x/1", 7), None);
        let wake = Wake { topic: Topic::Auth, position: 9 };
        assert_eq!(Wake::read(wake.to_string().as_bytes()), Some(wake));
        assert_eq!(Wake::read(b"payments 9"), None);
        assert_eq!(Wake::read(b"\xff"), None);
    }
}
