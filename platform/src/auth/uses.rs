//! When a session was last used: operational, in Redis, to within a minute, and gone when that is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::sync::Cache;
use schemas::{SessionId, Timestamp};
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::Instant;

use crate::clock;
use crate::redis::Redis;

/// One session is noted at most this often by one process.
const PAUSE: Duration = Duration::from_secs(60);
/// How many sessions a process remembers to have noted.
const REMEMBERED: usize = 65_536;
/// Sessions that wait to be noted; more are passed over, and noted with their next use.
const WAITING: usize = 4_096;
/// Sessions per call.
const TOGETHER: usize = 500;

/// Notes uses of sessions aside, so that no request waits for it. Clones share one state.
#[derive(Clone, Debug)]
pub struct SessionUses {
    redis: Redis,
    noted: Arc<Cache<SessionId, Instant>>,
    waiting: Sender<(SessionId, i64)>,
}

fn key(session: SessionId) -> String {
    format!("session:used:{session}")
}

impl SessionUses {
    /// In this Redis, for as long as a session may go unused. Ends with its last clone.
    #[must_use]
    pub fn new(redis: Redis, kept: Duration) -> Self {
        let (waiting, notes) = mpsc::channel(WAITING);
        tokio::spawn(write(redis.clone(), kept, notes));
        Self { redis, noted: Arc::new(Cache::new(REMEMBERED)), waiting }
    }

    /// It is used now.
    pub fn note(&self, session: SessionId) {
        let now = Instant::now();
        if self.noted.get(&session).is_some_and(|noted| now.duration_since(noted) < PAUSE) {
            return;
        }
        if self.waiting.try_send((session, clock::now().unix_micros())).is_ok() {
            self.noted.insert(session, now);
        }
    }

    /// When each was last used, as far as that is known: nothing while Redis is away.
    pub async fn last(&self, sessions: &[SessionId]) -> HashMap<SessionId, Timestamp> {
        if sessions.is_empty() {
            return HashMap::new();
        }
        let mut get = ::redis::pipe();
        let command = get.cmd("MGET");
        for session in sessions {
            command.arg(key(*session));
        }
        let Ok((found,)) = self.redis.query::<(Vec<Option<i64>>,)>(&get).await else { return HashMap::new() };
        let time = |micros: i64| time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).ok();
        sessions.iter().zip(found).filter_map(|(session, micros)| Some((*session, time(micros?)?.into()))).collect()
    }
}

async fn write(redis: Redis, kept: Duration, mut notes: Receiver<(SessionId, i64)>) {
    let mut together = Vec::with_capacity(TOGETHER);
    while notes.recv_many(&mut together, TOGETHER).await > 0 {
        let mut set = ::redis::pipe();
        for (session, micros) in together.drain(..) {
            set.cmd("SET").arg(key(session)).arg(micros).arg("EX").arg(kept.as_secs().max(1)).ignore();
        }
        // What is lost here is noted again in a minute.
        let _ = redis.query::<()>(&set).await;
    }
}
