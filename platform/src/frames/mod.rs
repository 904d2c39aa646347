//! Frame logs: what each user's sockets are to be told, and who holds those sockets. In Redis.
//!
//! The `frames` projection appends, pushers (`query-api/socket`) read. Per user a capped log of references ([`Logged`]): no message rests here. Its body
//! travels once, with the word that tells open sockets of it; whoever comes later looks it up. Nothing here is the truth: that is Postgres (`relay_pending`), from which whoever finds a log missing or too short starts again.
//!
//! * [`Cursor`], [`Places`] how far somebody has seen · [`FrameLog`] the logs · [`Pusher`] who holds sockets, and is told
//! * `lua/` the scripts that keep each step whole; what is kept under which key stands at the head of `lua/common.lua`
mod cursor;
mod pusher;
mod scripts;
mod standing;
mod step;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::redis::{FromRedisValue, Script};
use schemas::{Topic, UserId};
use serde::Deserialize;
use tokio::sync::{mpsc, watch};

pub use cursor::{Cursor, NoCursor, Places};
pub use pusher::{LEASE, Pusher};
pub use step::{Append, Block, Step, Stepped};

use crate::clock;
use crate::log::Checkpoints;
use crate::redis::{Redis, RedisAway};
use standing::{Floor, Life, Standing, TOPICS};

/// An entry of a user's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// Rises by one with each entry of this user's log, as long as Redis loses nothing; never leaves the process.
    pub seq: u64,
    /// Of the event.
    pub topic: Topic,
    /// Of the event, in its topic's generation.
    pub partition: i32,
    /// Of the event.
    pub position: i64,
    /// What it means (`schemas::frames::Entry`, as JSON).
    pub text: Arc<str>,
}

/// What a user's log holds after some places.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// In the order in which they were appended (that of the events, per conversation).
    pub entries: Vec<Logged>,
    /// Whether nothing is missing between the places and the entries. If not: the log was begun later, has been cut, or is gone.
    pub whole: bool,
    /// Where the logs end: everything up to there has been appended.
    pub head: Places,
}

/// What a pusher hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An entry, right after the one before it, and its body if it has one.
    Entry(UserId, Logged, Option<Arc<str>>),
    /// Something was missed of this user: read the log ([`FrameLog::after`]) before any later entry of theirs is handed on.
    Behind(UserId),
    /// Anything may have been missed (the channel broke, Redis came back, the logs were begun anew): read the logs of all.
    Lost,
    /// A word for users that is kept nowhere (presence, typing, blocks): text as it was given; of a block [`BlockNote`].
    Note(Vec<UserId>, Arc<str>),
}

/// What a note says when somebody blocks somebody, or no longer does. It goes to whoever holds one of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BlockNote {
    /// Who blocks.
    pub by: UserId,
    /// Whom.
    pub towards: UserId,
    /// Whether the block stands.
    pub stands: bool,
}

impl BlockNote {
    /// `None`: the note is about something else.
    #[must_use]
    pub fn read(note: &str) -> Option<Self> {
        // As the script writes it: others need not be read to be told from it.
        note.starts_with(r#"{"n":"block","#).then(|| serde_json::from_str(note).ok()).flatten()
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// For how long a log can be resumed from.
    pub retention: Duration,
    /// Entries of one user's log.
    pub entries: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Self { retention: Duration::from_secs(24 * 60 * 60), entries: 1_000 }
    }
}

/// The frame logs. Clones share everything. While Redis is away every call fails at once.
#[derive(Clone)]
pub struct FrameLog {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    kept: Kept,
    /// As last seen.
    lives: Mutex<BTreeMap<Topic, Life>>,
    /// Counts questions that somebody asked in vain who is promised to hear of it when Redis is back.
    unanswered: watch::Sender<u64>,
}

impl fmt::Debug for FrameLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameLog").field("kept", &self.inner.kept).field("epoch", &self.epoch()).finish_non_exhaustive()
    }
}

/// A hash, as Redis hands it out within an answer.
type Fields = HashMap<String, String>;

impl FrameLog {
    /// In this Redis. All processes must agree on what is kept.
    #[must_use]
    pub fn new(redis: Redis, kept: Kept) -> Self {
        Self { inner: Arc::new(Inner { redis, kept, lives: Mutex::default(), unanswered: watch::Sender::new(0) }) }
    }

    /// Where the projection stands in a topic; `None`: nothing is known here (a new Redis, or one that was emptied).
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn stands(&self, topic: Topic) -> Result<Option<Checkpoints>, RedisAway> {
        let mut ask = ::redis::pipe();
        ask.cmd("HGETALL").arg(format!("frames:at:{topic}"));
        let (fields,): (Fields,) = self.inner.redis.query(&ask).await?;
        Ok(self.learn(topic, &fields).map(|standing| standing.checkpoints))
    }

    /// Begins logs at these checkpoints (one at least) where there were none, or those of another life of the ledger: nothing before them is in any log, of any topic.
    /// Pushers hear of it ([`Heard::Lost`]).
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn begin(&self, topic: Topic, at: &Checkpoints) -> Result<(), RedisAway> {
        self.begin_at(topic, at, false).await
    }

    /// As [`FrameLog::begin`], also where logs of this life stand: they are too old to be worth catching up with.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn begin_anew(&self, topic: Topic, at: &Checkpoints) -> Result<(), RedisAway> {
        self.begin_at(topic, at, true).await
    }

    async fn begin_at(&self, topic: Topic, at: &Checkpoints, anew: bool) -> Result<(), RedisAway> {
        let Some(first) = at.values().next() else { return Ok(()) };
        let mut args = vec![topic.to_string(), standing::life(first), u8::from(anew).to_string()];
        args.extend(topics());
        for ((_, partition), checkpoint) in at.iter().filter(|((of, _), _)| *of == topic) {
            args.extend([partition.to_string(), standing::row(checkpoint)]);
        }
        let begun: i64 = self.inner.redis.script(&scripts::BEGIN, &[], &args).await?;
        if begun == 1 {
            tracing::info!(%topic, "frame logs begin here; what was before is found in Postgres");
        }
        Ok(())
    }

    /// Takes a step, and tells the pushers that hold those it concerns. What a user's log holds already (by position) is passed over. Safe to repeat.
    ///
    /// # Errors
    /// [`RedisAway`]: whether it was taken is unknown; taking it again tells.
    pub async fn step(&self, step: &Step) -> Result<Stepped, RedisAway> {
        let Some(args) = step.args(self.inner.kept) else { return Ok(Stepped::Taken) };
        let taken: i64 = self.inner.redis.script(&scripts::STEP, &[], &args).await?;
        Ok(if taken == 1 { Stepped::Taken } else { Stepped::Moved })
    }

    /// From now on (or no longer) nothing is appended between the two; tells whoever holds either of them, unless the projection has done so already.
    ///
    /// # Errors
    /// [`RedisAway`]: the projection tells of it later.
    pub async fn blocked(&self, block: &Block) -> Result<(), RedisAway> {
        self.inner.redis.script(&scripts::BLOCKED, &[], &block.args()).await
    }

    /// A block has kept something of a peer's from a user who came to it in their log: so does what is not appended at all.
    ///
    /// # Errors
    /// [`RedisAway`]: at the end of the block they may not be told that something is missing.
    pub async fn hide(&self, user: UserId, peer: UserId) -> Result<(), RedisAway> {
        self.inner.redis.script(&scripts::HIDDEN, &[], &[user.to_string(), peer.to_string()]).await
    }

    /// Of which of these peers a block has kept something from a user, and the position of that block's end; `None` where its end has not been noted yet.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn uncovered(&self, user: UserId, peers: &[UserId]) -> Result<HashMap<UserId, Option<i64>>, RedisAway> {
        if peers.is_empty() {
            return Ok(HashMap::new());
        }
        let mut ask = ::redis::pipe();
        ask.cmd("HMGET").arg(format!("frames:hidden:{user}"));
        peers.iter().for_each(|peer| {
            ask.arg(peer.to_string());
        });
        let (found,): (Vec<Option<String>>,) = self.inner.redis.query(&ask).await?;
        Ok(peers.iter().zip(found).filter_map(|(peer, found)| Some((*peer, found?.parse().ok()))).collect())
    }

    /// What stands in a user's log after these places.
    ///
    /// # Errors
    /// [`RedisAway`]: every pusher of this process hears [`Heard::Lost`] as soon as Redis answers again.
    pub async fn after(&self, user: UserId, places: &Places) -> Result<Stored, RedisAway> {
        let mut args = vec![user.to_string(), self.inner.kept.retention.as_millis().to_string()];
        args.extend(topics());
        for (topic, partition, position) in places.iter() {
            args.extend([format!("{topic}/{partition}"), position.to_string()]);
        }
        type Answer = (Fields, i64, Vec<(u64, String)>, Vec<(Fields, HashMap<String, i64>)>);
        let (of, length, found, standings): Answer = self.ask(&scripts::AFTER, &args).await?;
        let mut stored = Stored { whole: is_complete(&of, length) && has_seen_cut(&of, places), ..Stored::default() };
        for (topic, (at, floor)) in TOPICS.into_iter().zip(&standings) {
            match self.learn(topic, at) {
                Some(standing) => standing.raise(&mut stored.head),
                None => stored.whole = false,
            }
            stored.whole &= Floor::read(floor).is_seen(topic, places);
        }
        // They were found backwards.
        stored.entries = found.into_iter().rev().filter_map(|(seq, entry)| wire::read_entry(seq, &entry)).collect();
        Ok(stored)
    }

    /// Says something to whoever holds one of these users' sockets; kept nowhere. Costs nothing for those who have none open.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn note(&self, users: &[UserId], text: &str) -> Result<(), RedisAway> {
        if users.is_empty() {
            return Ok(());
        }
        let args: Vec<String> = std::iter::once(text.to_owned()).chain(users.iter().map(ToString::to_string)).collect();
        self.inner.redis.script(&scripts::NOTE, &[], &args).await
    }

    /// How much is kept.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.inner.kept
    }

    /// The digest that cursors of the present carry ([`Cursor::epoch`]); `None` until the logs have been seen to stand.
    #[must_use]
    pub fn epoch(&self) -> Option<u32> {
        let lives = self.lives();
        TOPICS.iter().all(|topic| lives.contains_key(topic)).then(|| standing::epoch(&lives))
    }

    /// Whether a cursor can still be resumed from, before its user's log is looked at: of the present epoch, and not older than logs are kept.
    #[must_use]
    pub fn may_resume(&self, cursor: &Cursor) -> bool {
        let age = clock::now().unix_micros().saturating_sub(cursor.given.unix_micros());
        let retention = i64::try_from(self.inner.kept.retention.as_micros()).unwrap_or(i64::MAX);
        age <= retention && self.epoch() == Some(cursor.epoch)
    }

    /// Begins to hold sockets in this process, for as long as both are kept.
    #[must_use]
    pub fn pusher(&self) -> (Pusher, mpsc::Receiver<Heard>) {
        self.pusher_leased_for(LEASE)
    }

    /// As [`FrameLog::pusher`], with a lease of another length, for tests.
    #[must_use]
    pub fn pusher_leased_for(&self, lease: Duration) -> (Pusher, mpsc::Receiver<Heard>) {
        Pusher::start(self.clone(), lease)
    }

    /// For those who wait for a word when they get no answer.
    async fn ask<T: FromRedisValue + Send>(&self, script: &Script, args: &[String]) -> Result<T, RedisAway> {
        let answer = self.inner.redis.script(script, &[], args).await;
        if answer.is_err() {
            self.inner.unanswered.send_modify(|count| *count += 1);
        }
        answer
    }

    /// Remembers the life of a topic's logs.
    fn learn(&self, topic: Topic, fields: &Fields) -> Option<Standing> {
        let standing = Standing::read(topic, fields);
        let mut lives = self.lives();
        match &standing {
            Some(standing) if lives.get(&topic) == Some(&standing.life) => {}
            Some(standing) => {
                lives.insert(topic, standing.life.clone());
            }
            None => {
                lives.remove(&topic);
            }
        }
        standing
    }

    fn lives(&self) -> std::sync::MutexGuard<'_, BTreeMap<Topic, Life>> {
        self.inner.lives.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many, and which.
fn topics() -> impl Iterator<Item = String> {
    std::iter::once(TOPICS.len().to_string()).chain(TOPICS.iter().map(ToString::to_string))
}

/// Whether the list holds what the user's hash says.
fn is_complete(of: &Fields, length: i64) -> bool {
    let number = |name: &str| of.get(name).and_then(|number| number.parse::<i64>().ok());
    match (number("f"), number("n")) {
        (Some(first), Some(newest)) => newest - first + 1 == length,
        _ => length == 0,
    }
}

/// Whether what was cut off the log had been seen.
fn has_seen_cut(of: &Fields, places: &Places) -> bool {
    let cut = of.iter().filter_map(|(place, position)| {
        let (topic, partition) = place.strip_prefix('-')?.split_once('/')?;
        Some((topic.parse::<Topic>().ok()?, partition.parse::<i32>().ok()?, position.parse::<i64>().ok()?))
    });
    cut.into_iter().all(|(topic, partition, position)| places.at(topic, partition) >= position)
}
