//! Who is online: leases in Redis, and only ever a hint.
//!
//! Operational data, never an event and never rebuilt. Nothing may rest on it but what people are shown: a lease that was lost makes nobody miss a
//! message. While Redis is away nobody is known to be online, and nobody's last visit is known; that is no error.

mod scripts;

use std::fmt;
use std::time::Duration;

use ::redis::Script;
use schemas::users::LastSeen;
use schemas::{Timestamp, UserId};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use crate::redis::{Redis, RedisAway};
use scripts::{CHANGED, COME, GO, NEWS, NEWS_KEPT, ONLINE, SEEN, SHOWN};

/// How long a lease holds unless it is renewed.
pub const LEASE: Duration = Duration::from_secs(60);

/// Lone questions that wait at the same time are asked together.
const TOGETHER: usize = 256;
const QUEUE: usize = 4_096;

/// How many users' leases go into one script call.
const AT_ONCE: usize = 128;

/// Seconds and microseconds since 1970, by the clock of Redis.
type Time = (i64, i64);
/// Of each member that was asked for.
type Scores = Vec<Option<f64>>;

/// What is known of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Whether anything holds a lease for them.
    pub is_online: bool,
    /// When they last came, renewed a lease, or left. To whom it may be shown is their settings' business.
    pub last_seen: Option<Timestamp>,
}

/// Somebody of whom others may have to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    /// Of whom.
    pub user: UserId,
    /// `None`: they came or left. Else they have changed who may see it, and so it was before.
    pub was_shown_to: Option<LastSeen>,
}

impl News {
    fn text(self) -> String {
        match self.was_shown_to {
            None => self.user.to_string(),
            Some(was) => format!("{} {}", self.user, was.as_str()),
        }
    }

    fn read(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None => Some(Self { user: text.parse().ok()?, was_shown_to: None }),
            Some((user, was)) => Some(Self { user: user.parse().ok()?, was_shown_to: Some(LastSeen::read(was)?) }),
        }
    }
}

/// Leases for being online. A user is online while anything holds one for them: a socket, a session that said so. Clones share it.
#[derive(Clone)]
pub struct Presence {
    redis: Redis,
    lease: Duration,
    asks: mpsc::Sender<Ask>,
}

struct Ask {
    user: UserId,
    answer: oneshot::Sender<bool>,
}

impl Presence {
    /// On this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self::leased_for(LEASE, redis)
    }

    /// As [`Presence::new`], with leases of another length, for tests.
    #[must_use]
    pub fn leased_for(lease: Duration, redis: Redis) -> Self {
        let (asks, asked) = mpsc::channel(QUEUE);
        tokio::spawn(answer(asked, redis.clone()));
        Self { redis, lease, asks }
    }

    /// How long a lease holds unless it is renewed.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// For so long after a lease was given up it holds still: who comes back within it has not been away. 5 s, with leases of 60 s.
    #[must_use]
    pub fn grace(&self) -> Duration {
        self.lease / 12
    }

    /// Takes or renews a lease: `holder` is unique among those of the user (a process with sockets, a session).
    pub async fn online(&self, user: UserId, holder: &str) {
        note(self.come(&[user], holder, false).await);
    }

    /// Gives a lease up: it ends after [`Presence::grace`], unless it is taken again. Others of the same user stand.
    pub async fn offline(&self, user: UserId, holder: &str) {
        note(self.go(&[user], holder, self.grace()).await);
    }

    /// Somebody has changed who may see whether they are here: if they are, or were just now, it is among what [`Presence::changed`] answers next. Call it when the change can be waited for.
    pub async fn shown_otherwise(&self, user: UserId, was_shown_to: LastSeen) {
        let keys = [ONLINE, SEEN, NEWS].map(str::to_owned);
        let text = News { user, was_shown_to: Some(was_shown_to) }.text();
        let args = [user.to_string(), self.lease.as_millis().to_string(), NEWS_KEPT.to_string(), text];
        note(self.redis.script::<u64>(&SHOWN, &keys, &args).await);
    }

    /// Takes leases for many, or renews them. How many of them became online by that: they are among what [`Presence::changed`] answers next.
    ///
    /// # Errors
    /// [`RedisAway`]: some may have been taken.
    pub async fn come(&self, users: &[UserId], holder: &str, renewal: bool) -> Result<u64, RedisAway> {
        let lease = self.lease.as_millis().to_string();
        self.of_each(&COME, users, &[holder, &lease, if renewal { "1" } else { "0" }]).await
    }

    /// Lets many leases of a holder end after a while, if not renewed before. How many are offline by that already.
    ///
    /// # Errors
    /// [`RedisAway`]: some may have been changed; the others end as they would have.
    pub async fn go(&self, users: &[UserId], holder: &str, after: Duration) -> Result<u64, RedisAway> {
        self.of_each(&GO, users, &[holder, &after.as_millis().to_string()]).await
    }

    async fn of_each(&self, script: &Script, users: &[UserId], what: &[&str]) -> Result<u64, RedisAway> {
        let mut changed = 0;
        for users in users.chunks(AT_ONCE) {
            let holders = users.iter().map(|user| format!("presence:of:{user}"));
            let keys: Vec<String> = [ONLINE, SEEN, NEWS].map(str::to_owned).into_iter().chain(holders).collect();
            let what = what.iter().map(|word| (*word).to_owned()).chain([NEWS_KEPT.to_string()]);
            let args: Vec<String> = what.chain(users.iter().map(ToString::to_string)).collect();
            changed += self.redis.script::<u64>(script, &keys, &args).await?;
        }
        Ok(changed)
    }

    /// Who came, left, or changed who may see it since somebody asked last, at most `most` of those who did something and as many of those whose lease has ended. Each change is answered to one asker, whichever process
    /// brought it about: it tells whoever is to know, or nobody does. What they are by now is [`Presence::of`]'s to say.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn changed(&self, most: usize) -> Result<Vec<News>, RedisAway> {
        let keys = [ONLINE.to_owned(), NEWS.to_owned()];
        let news: Vec<String> = self.redis.script(&CHANGED, &keys, &[most.to_string()]).await?;
        let mut news: Vec<News> = news.iter().filter_map(|news| News::read(news)).collect();
        news.sort_unstable_by_key(|news| (news.user, news.was_shown_to.map(LastSeen::as_str)));
        news.dedup();
        Ok(news)
    }

    /// What is known of each of them, in their order, in one round trip. Nothing, while Redis is away.
    pub async fn of(&self, users: &[UserId]) -> Vec<Seen> {
        self.known(users).await.unwrap_or_else(|_| vec![Seen::default(); users.len()])
    }

    /// Whether one of them is online. Questions of many callers at the same time share a round trip.
    pub async fn is_online(&self, user: UserId) -> bool {
        let (answer, answered) = oneshot::channel();
        self.redis.is_up() && self.asks.send(Ask { user, answer }).await.is_ok() && answered.await.unwrap_or(false)
    }

    /// How many people are online.
    pub async fn count(&self) -> u64 {
        match self.now().await {
            Ok(now) => {
                let mut count = ::redis::pipe();
                count.cmd("ZCOUNT").arg(ONLINE).arg(format!("({now}")).arg("+inf");
                self.redis.query::<(u64,)>(&count).await.map_or(0, |(count,)| count)
            }
            Err(_) => 0,
        }
    }

    async fn now(&self) -> Result<i64, RedisAway> {
        let mut time = ::redis::pipe();
        time.cmd("TIME");
        Ok(millis(self.redis.query::<(Time,)>(&time).await?.0))
    }

    /// What is known of each of them, in their order, in one round trip.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn known(&self, users: &[UserId]) -> Result<Vec<Seen>, RedisAway> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let members: Vec<String> = users.iter().map(ToString::to_string).collect();
        let mut ask = ::redis::pipe();
        ask.cmd("TIME").cmd("ZMSCORE").arg(ONLINE).arg(&members).cmd("ZMSCORE").arg(SEEN).arg(&members);
        let (time, ends, seen): (Time, Scores, Scores) = self.redis.query(&ask).await?;
        let now = millis(time);
        let known = ends.into_iter().zip(seen);
        Ok(known.map(|(ends, seen)| Seen { is_online: holds(ends, now), last_seen: seen.and_then(timestamp) }).collect())
    }
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").field("lease", &self.lease).finish_non_exhaustive()
    }
}

/// Answers lone questions, those that wait at the same time in one round trip. Runs until the last [`Presence`] is gone.
async fn answer(mut asked: mpsc::Receiver<Ask>, redis: Redis) {
    let mut asks = Vec::with_capacity(TOGETHER);
    while asked.recv_many(&mut asks, TOGETHER).await > 0 {
        let mut ask = ::redis::pipe();
        ask.cmd("TIME").cmd("ZMSCORE").arg(ONLINE);
        asks.iter().for_each(|one| {
            ask.arg(one.user.to_string());
        });
        let (now, ends) = match redis.query::<(Time, Scores)>(&ask).await {
            Ok((time, ends)) => (millis(time), ends),
            Err(_) => (0, vec![None; asks.len()]),
        };
        for (one, ends) in asks.drain(..).zip(ends) {
            // Who has gone meanwhile does not want to know.
            let _ = one.answer.send(holds(ends, now));
        }
    }
}

fn note<T>(told: Result<T, RedisAway>) {
    if let Err(error) = told {
        tracing::debug!(%error, "who is here could not be noted");
    }
}

fn millis((seconds, micros): Time) -> i64 {
    seconds * 1_000 + micros / 1_000
}

/// Whether a lease that ends then holds now.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn holds(ends: Option<f64>, now: i64) -> bool {
    ends.is_some_and(|ends| ends > now as f64)
}

#[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are far below 2^53")]
fn timestamp(millis: f64) -> Option<Timestamp> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(millis as i64) * 1_000_000).ok().map(Timestamp::from)
}
