//! Which sessions have ended before their tokens did.

use std::sync::Arc;
use std::time::Duration;

use schemas::{SessionId, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::revoked_set::RevokedSet;
use crate::redis::Redis;
use crate::shutdown::Shutdown;

/// Sessions per call when Redis is loaded: each fits into the time-out of a call.
const CHUNK: usize = 5_000;

/// Sessions per call when it is read.
const PAGE: usize = 20_000;

/// sid → end of its tokens, in seconds since 1970.
const SESSIONS: &str = "revoked";
/// There when the set has been loaded from the ledger; each loading has its own.
const EPOCH: &str = "revoked:epoch";
/// Counts what was announced, so that a follower notices what the channel did not bring.
const VERSION: &str = "revoked:version";
const CHANNEL: &str = "revoked";

/// How often a process compares its version with Redis': what the channel lost is known within this time.
const COMPARE: Duration = Duration::from_millis(400);
/// How long the channel may lag behind the version before everything is read again.
const CATCH_UP: Duration = Duration::from_millis(100);

/// How long it goes on following after the drain has begun: longer than any request.
const AFTER_THE_DRAIN_BEGAN: Duration = Duration::from_secs(10);

/// The revoked sessions, held in memory, told by Redis (a sorted set `revoked`: sid → end of its tokens, and a channel of the same name) and checked on every request. Clones share one state.
///
/// Dead at once in the process that revokes, within a second elsewhere. A Redis without the key `revoked:epoch` has not been loaded: the owner of the auth
/// ledger loads it again ([`Revocations::load`]). While Redis is away the process goes on with what it knows for the grace, then answers "unknown".
#[derive(Clone, Debug)]
pub struct Revocations {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    redis: Redis,
    set: RevokedSet,
    wants_loading: Notify,
}

/// The revocation is durable, but other processes may not know yet: answered as 503 `revocation_pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revocation could not be announced")]
pub struct NotYetRevoked;

/// What the set answers about one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not revoked.
    Live,
    /// Revoked.
    Revoked,
    /// Not loaded, or Redis has been away beyond the grace.
    Unknown,
}

impl Revocations {
    /// Starts following Redis. `grace`: how long this process goes on alone.
    #[must_use]
    pub fn follow(redis: Redis, grace: Duration, shutdown: Shutdown) -> Self {
        let inner = Arc::new(Inner { redis, set: RevokedSet::new(grace), wants_loading: Notify::new() });
        let follower = Follower { inner: inner.clone(), known: None, last_compared: Instant::now() };
        tokio::spawn(async move {
            tokio::select! {
                () = follower.run() => {}
                // Requests are answered during the drain, too.
                () = async { shutdown.draining().await; sleep(AFTER_THE_DRAIN_BEGAN).await } => {}
            }
        });
        Self { inner }
    }
    /// Whether a session has been revoked.
    #[must_use]
    pub fn standing(&self, session: SessionId) -> Standing {
        self.inner.set.standing(session)
    }
    /// Changes whenever this process learns of a session that has ended: for those who hold something open for sessions.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<u64> {
        self.inner.set.news()
    }
    /// Announces a revocation, after its event is durable. Known here at once, whatever Redis says. Idempotent.
    ///
    /// # Errors
    /// [`NotYetRevoked`] when Redis did not take it.
    pub async fn announce(&self, session: SessionId, tokens_end: Timestamp) -> Result<(), NotYetRevoked> {
        let end = seconds(tokens_end);
        self.inner.set.add(session, end);
        let script = ::redis::Script::new(ANNOUNCE);
        let keys = [SESSIONS.to_owned(), VERSION.to_owned()];
        let args = [session.to_string(), end.to_string(), CHANNEL.to_owned()];
        self.inner.redis.script::<i64>(&script, &keys, &args).await.map(drop).map_err(|_| NotYetRevoked)
    }
    /// Puts everything that the ledger knows into Redis and marks it as loaded (the epoch key).
    ///
    /// # Errors
    /// [`NotYetRevoked`] when Redis did not take it.
    pub async fn load(&self, revoked: &[(SessionId, Timestamp)]) -> Result<(), NotYetRevoked> {
        for chunk in revoked.chunks(CHUNK) {
            let mut add = ::redis::pipe();
            let command = add.cmd("ZADD").arg(SESSIONS);
            for (session, tokens_end) in chunk {
                self.inner.set.add(*session, seconds(*tokens_end));
                command.arg(seconds(*tokens_end)).arg(session.to_string());
            }
            command.ignore();
            self.inner.redis.query::<()>(&add).await.map_err(|_| NotYetRevoked)?;
        }
        let mut done = ::redis::pipe();
        done.atomic();
        done.cmd("ZREMRANGEBYSCORE").arg(SESSIONS).arg("-inf").arg(format!("({}", seconds(crate::clock::now()))).ignore();
        done.cmd("INCR").arg(VERSION).ignore();
        done.cmd("SET").arg(EPOCH).arg(uuid::Uuid::now_v7().to_string()).ignore();
        self.inner.redis.query::<()>(&done).await.map_err(|_| NotYetRevoked)
    }
    /// Returns when Redis has been found empty of its epoch key (at the start, or after it lost its data), or may have lost what it was told last: somebody should load it.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wants_loading(&self) {
        self.inner.wants_loading.notified().await;
    }
    /// Whether the set has been loaded once into this process.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.inner.set.is_loaded()
    }
}

fn seconds(at: Timestamp) -> i64 {
    // Rounded up: a session must be known as ended for as long as one of its tokens counts.
    at.into_inner().unix_timestamp() + 1
}

/// Adds, counts and tells in one step, so that whoever has heard every number has heard everything.
const ANNOUNCE: &str = "
redis.call('ZADD', KEYS[1], 'GT', ARGV[2], ARGV[1])
local version = redis.call('INCR', KEYS[2])
redis.call('PUBLISH', ARGV[3], version .. ' ' .. ARGV[1] .. ' ' .. ARGV[2])
return version";

/// Which Redis state this process has seen in whole: its epoch, and the last number heard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    epoch: String,
    version: i64,
}

/// What is told on the channel.
#[derive(Debug, PartialEq, Eq)]
struct Told {
    version: i64,
    session: SessionId,
    end: i64,
}

impl Told {
    fn parse(message: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(message).ok()?.split(' ');
        Some(Self { version: words.next()?.parse().ok()?, session: words.next()?.parse().ok()?, end: words.next()?.parse().ok()? })
    }
}

struct Follower {
    inner: Arc<Inner>,
    known: Option<Known>,
    last_compared: Instant,
}

impl Follower {
    async fn run(mut self) {
        let mut channel = self.inner.redis.subscribe(CHANNEL);
        let mut tick = interval(COMPARE);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(message) = channel.recv() => self.hear(&message),
                _ = tick.tick() => self.compare(&mut channel).await,
            }
        }
    }

    /// What is told counts at once; the number only when none before it is missing.
    fn hear(&mut self, message: &[u8]) {
        let Some(told) = Told::parse(message) else { return };
        self.inner.set.add(told.session, told.end);
        if let Some(known) = &mut self.known
            && told.version == known.version + 1
        {
            known.version = told.version;
        }
    }

    async fn compare(&mut self, channel: &mut mpsc::Receiver<Vec<u8>>) {
        let asked = Instant::now();
        let mut get = ::redis::pipe();
        get.cmd("MGET").arg(EPOCH).arg(VERSION);
        let Ok(((epoch, version),)) = self.inner.redis.query::<((Option<String>, Option<i64>),)>(&get).await else { return };
        let reconnected = self.inner.redis.up_for().is_none_or(|up| up < self.last_compared.elapsed());
        self.last_compared = asked;
        // Without an epoch Redis knows nothing: no better than away.
        let Some(epoch) = epoch else {
            self.known = None;
            self.inner.wants_loading.notify_one();
            return;
        };
        let version = version.unwrap_or(0);
        let _ = timeout(CATCH_UP, async {
            while self.known.as_ref().is_some_and(|known| known.epoch == epoch && known.version < version) {
                let Some(message) = channel.recv().await else { return };
                self.hear(&message);
            }
        })
        .await;
        // A Redis that was away may have lost its last second, and one whose count went back has: the ledger knows better.
        let lost = self.known.as_ref().is_some_and(|known| reconnected || (known.epoch == epoch && known.version > version));
        if lost {
            self.inner.wants_loading.notify_one();
        }
        if !lost && self.known == Some(Known { epoch, version }) {
            self.inner.set.confirm(asked);
        } else {
            self.read_all(asked).await;
        }
    }

    /// Reads what is known now; what is announced meanwhile has a later number, and is heard or compared afterwards.
    async fn read_all(&mut self, asked: Instant) {
        let mut get = ::redis::pipe();
        get.cmd("MGET").arg(EPOCH).arg(VERSION);
        let Ok(((Some(epoch), version),)) = self.inner.redis.query::<((Option<String>, Option<i64>),)>(&get).await else { return };
        let mut from = seconds(crate::clock::now()) - 1;
        loop {
            let mut read = ::redis::pipe();
            read.cmd("ZRANGEBYSCORE").arg(SESSIONS).arg(from).arg("+inf").arg("WITHSCORES").arg("LIMIT").arg(0).arg(PAGE);
            let Ok((page,)) = self.inner.redis.query::<(Vec<(String, f64)>,)>(&read).await else { return };
            let full = page.len() == PAGE;
            let mut last = from;
            for (session, end) in page {
                #[expect(clippy::cast_possible_truncation, reason = "seconds since 1970, written by us as an integer")]
                let end = end as i64;
                last = end;
                if let Ok(session) = session.parse() {
                    self.inner.set.add(session, end);
                }
            }
            if !full {
                break;
            }
            // A page begins with the second in which the one before ended; no second holds a whole page but by malice, and then the next one begins after it.
            from = if last > from { last } else { from + 1 };
        }
        self.known = Some(Known { epoch, version: version.unwrap_or(0) });
        self.inner.set.confirm(asked);
    }
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn what_cannot_be_read_on_the_channel_is_nothing() {
        assert_eq!(Told::parse(b"7 0190a5e0-0000-7000-8000-000000000001 99").map(|told| (told.version, told.end)), Some((7, 99)));
        for odd in [&b""[..], b"7", b"7 x 9", b"x 0190a5e0-0000-7000-8000-000000000001 9", b"\xff"] {
            assert_eq!(Told::parse(odd), None);
        }
    }
}
