//! Frame logs: what each user's sockets are to be told, and who holds those sockets. In Redis.
//!
//! The `frames` projection appends, pushers (`query-api/socket`) read. Per user a capped log of references ([`Logged`]), bodies once per message under their own key.
//! Nothing here is the truth: that is Postgres (`relay_pending`), from which whoever finds a log missing or too short starts again.
mod cursor;

use std::sync::Arc;

use schemas::{Topic, UserId};
use tokio::sync::mpsc;
use uuid::Uuid;

pub use cursor::{Cursor, Places};

use crate::log::Checkpoints;
use crate::redis::RedisAway;

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

/// An entry to be appended.
#[derive(Debug, Clone)]
pub struct Append {
    /// To whose log.
    pub user: UserId,
    /// Of the event.
    pub partition: i32,
    /// Of the event.
    pub position: i64,
    /// As [`Logged::text`].
    pub text: String,
    /// The body that goes with it, by its id: handed to open sockets with the entry.
    pub body: Option<Uuid>,
    /// Nothing is appended while one of these two has blocked the other.
    pub between: Option<(UserId, UserId)>,
}

/// One step of the projection: everything of it happens, or nothing.
#[derive(Debug, Clone)]
pub struct Step {
    /// Whose events.
    pub topic: Topic,
    /// In the order of their events.
    pub appends: Vec<Append>,
    /// Bodies of messages, by id.
    pub bodies: Vec<(Uuid, String)>,
    /// Bodies that go for good.
    pub gone: Vec<Uuid>,
    /// Where the projection stood before.
    pub from: Checkpoints,
    /// Where it stands afterwards.
    pub to: Checkpoints,
}

/// What became of a [`Step`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stepped {
    /// It is in the logs, and the pushers concerned have been told.
    Taken,
    /// The checkpoint is another than `from`: somebody else moved it, or Redis lost its newest writes. Nothing was done.
    Moved,
}

/// What a user's log holds after some places.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    /// In the order in which they were appended (that of the events, per conversation).
    pub entries: Vec<Logged>,
    /// Whether nothing is missing between the places and the entries. If not: the log was begun later, has been cut, or is gone.
    pub whole: bool,
    /// Where the log ends.
    pub head: Places,
}

/// What a pusher hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An entry, right after the one before it, and its body if it has one.
    Entry(UserId, Logged, Option<Arc<str>>),
    /// Something was missed of this user: read the log ([`FrameLog::after`]).
    Behind(UserId),
    /// Anything may have been missed (the channel broke, Redis came back): read the logs of all.
    Lost,
    /// A word for users that is kept nowhere (presence, typing, blocks): text as it was given.
    Note(Vec<UserId>, Arc<str>),
}

/// The frame logs. Clones share everything. While Redis is away every call fails at once.
#[derive(Debug, Clone)]
pub struct FrameLog {}

/// This process, as those who append know it: holds users' sockets by leases that are renewed as long as it lives, and is told about them on a channel of its own.
#[derive(Debug)]
pub struct Pusher {}

/// What cannot be used as a cursor: unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor")]
pub struct NoCursor;

#[expect(clippy::unused_async, clippy::todo, reason = "under construction")]
impl FrameLog {
    /// Where the projection stands in a topic; `None`: nothing is known here (a new Redis, or one that was emptied).
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn stands(&self, _topic: Topic) -> Result<Option<Checkpoints>, RedisAway> {
        todo!()
    }
    /// Begins logs at these checkpoints where there were none: nothing before them is in any log.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn begin(&self, _topic: Topic, _at: &Checkpoints) -> Result<(), RedisAway> {
        todo!()
    }
    /// Takes a step, and tells the pushers that hold those it concerns. What a user's log holds already (by position) is passed over.
    ///
    /// # Errors
    /// [`RedisAway`]: whether it was taken is unknown; taking it again tells.
    pub async fn step(&self, _step: &Step) -> Result<Stepped, RedisAway> {
        todo!()
    }
    /// From now on (or no longer) nothing is appended or pushed between the two; tells whoever holds either of them.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn blocked(&self, _blocker: UserId, _blocked: UserId, _stands: bool) -> Result<(), RedisAway> {
        todo!()
    }
    /// What stands in a user's log after these places.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn after(&self, _user: UserId, _places: &Places) -> Result<Stored, RedisAway> {
        todo!()
    }
    /// Bodies by id, in the order asked; `None` for those that are gone.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn bodies(&self, _ids: &[Uuid]) -> Result<Vec<Option<Arc<str>>>, RedisAway> {
        todo!()
    }
    /// Says something to whoever holds one of these users' sockets; kept nowhere. Costs nothing for those who have none open.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn note(&self, _users: &[UserId], _text: &str) -> Result<(), RedisAway> {
        todo!()
    }
    /// The digest that cursors of the present carry ([`Cursor::epoch`]); `None` until the projection has begun.
    #[must_use]
    pub fn epoch(&self) -> Option<u32> {
        todo!()
    }
    /// Whether a cursor can still be resumed from, before its user's log is looked at: of the present epoch, and not older than logs are kept.
    #[must_use]
    pub fn may_resume(&self, _cursor: &Cursor) -> bool {
        todo!()
    }
    /// Begins to hold sockets in this process.
    #[must_use]
    pub fn pusher(&self) -> (Pusher, mpsc::Receiver<Heard>) {
        todo!()
    }
}

#[expect(clippy::unused_async, clippy::todo, reason = "under construction")]
impl Pusher {
    /// This user has a socket here from now on: everything that is appended after the answer is heard. The answer: where the user's log ends.
    ///
    /// # Errors
    /// [`RedisAway`]: they are held all the same, as soon as Redis is back (then comes [`Heard::Lost`]).
    pub async fn hold(&self, _user: UserId) -> Result<Places, RedisAway> {
        todo!()
    }
    /// The last socket of this user here has closed.
    pub async fn release(&self, _user: UserId) {
        todo!()
    }
}
