//! The users whose sockets are open in this process: who hears what, and how nothing is missed.

mod words;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use futures::StreamExt;
use platform::auth::{Caller, Revocations, Standing};
use platform::clock;
use platform::frames::{FrameLog, Heard, Places, Pusher};
use platform::fresh::Freshness;
use platform::http::Problem;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::UserId;
use schemas::read_models::{Blocks, ReadModel};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::facts::Sources;
use super::held::{Held, Push};
use super::outbox::{End, Outbox};
use super::{Attendance, Talk};
use crate::database::ask;

/// Users are divided among so many maps, one of which is looked after at a time.
const SHARDS: usize = 16;
/// Every socket is looked after once in this time.
const ROUND: Duration = Duration::from_secs(1);
/// Logs that are read at the same time, after Redis was away.
const READ_TOGETHER: usize = 32;

/// Between two attempts to read a log.
const AGAIN: Duration = Duration::from_millis(100);

/// When whoever has too many sockets may try again.
const OWN_AGAIN: Duration = Duration::from_secs(5);

/// What sockets stand on.
#[derive(Debug, Clone)]
pub struct Below {
    /// Where frames come from.
    pub log: FrameLog,
    /// With the pools of `user_db` and `message_db`.
    pub freshness: Freshness,
    /// What blocks were told over.
    pub redis: Redis,
    /// Which sessions have ended.
    pub revocations: Revocations,
    /// Who hears what clients say.
    pub talk: Talk,
    /// Who is here.
    pub attendance: Attendance,
    /// When to end; waits for every socket.
    pub shutdown: Shutdown,
    /// Of all users together: what this process has descriptors for, and some to spare for everybody who only asks.
    pub most: usize,
    /// Of one user.
    pub most_of_user: usize,
}

/// The hub. Clones share everything.
#[derive(Debug, Clone)]
pub struct Hub {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) below: Below,
    pub(super) sources: Sources,
    pusher: Pusher,
    open: AtomicUsize,
    /// How often something may have been missed.
    losses: AtomicU64,
    users: [Mutex<HashMap<UserId, Arc<Held>>>; SHARDS],
}

/// A socket's place among those of its user. Given up when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    hub: Hub,
    pub(super) held: Arc<Held>,
    pub(super) outbox: Arc<Outbox>,
    /// Up to where everything had been told when it was taken.
    pub(super) begins: Places,
}

/// 503, when what is to be pushed cannot be learned.
pub(super) fn away() -> Problem {
    Problem::unavailable("realtime_unavailable", "Nothing can be told live at the moment; please try again")
}

/// 503, when there is no place for another socket here.
pub(super) fn too_many() -> Problem {
    Problem::unavailable("too_many_sockets", "Too many sockets are open here; please try again")
}

/// 429, for who has as many open as one may have. They may close one at any moment; a client that is gone for good is found out within a minute.
pub(super) fn too_many_own() -> Problem {
    let detail = "You have too many sockets open; please close one";
    Problem { retry_after: Some(OWN_AGAIN), ..Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_own_sockets", detail) }
}

impl Hub {
    /// Begins to hear. `run` in a task of its own keeps it going.
    #[must_use]
    pub fn new(below: Below) -> (Self, mpsc::Receiver<Heard>) {
        let (pusher, heard) = below.log.pusher();
        let sources = Sources::new(below.freshness.clone(), below.attendance.clone(), below.log.clone());
        let inner = Inner {
            below,
            sources,
            pusher,
            open: AtomicUsize::new(0),
            losses: AtomicU64::new(0),
            users: std::array::from_fn(|_| Mutex::default()),
        };
        (Self { inner: Arc::new(inner) }, heard)
    }

    /// Passes on what is heard, and looks after sockets. Runs until the drain has ended every socket.
    ///
    /// # Cancel safety
    /// None: what was heard is lost. It is not to be cancelled.
    pub async fn run(self, mut heard: mpsc::Receiver<Heard>) {
        let mut tick = interval(ROUND / 16);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut revoked = self.inner.below.revocations.news();
        let (mut shard, mut epoch, shutdown) = (0, None, self.inner.below.shutdown.clone());
        let mut draining = std::pin::pin!(shutdown.draining());
        let mut drains = false;
        loop {
            tokio::select! {
                Some(heard) = heard.recv() => self.hear(heard),
                _ = tick.tick() => {
                    self.look_after(shard, &mut epoch);
                    shard = (shard + 1) % SHARDS;
                    if drains {
                        // Those, too, that were on their way in.
                        self.end_all(End::Restart);
                        if self.is_empty() {
                            return;
                        }
                    }
                }
                Ok(()) = revoked.changed() => self.end_revoked(),
                () = &mut draining, if !drains => {
                    drains = true;
                    self.end_all(End::Restart);
                }
            }
        }
    }

    fn shard(&self, user: UserId) -> MutexGuard<'_, HashMap<UserId, Arc<Held>>> {
        // Of a UUIDv7 the end is random.
        let at = usize::from(user.0.as_bytes()[15]) % SHARDS;
        self.inner.users[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, user: UserId) -> Option<Arc<Held>> {
        self.shard(user).get(&user).cloned()
    }

    fn is_empty(&self) -> bool {
        self.inner.users.iter().all(|users| users.lock().unwrap_or_else(PoisonError::into_inner).is_empty())
    }

    fn each(&self, mut act: impl FnMut(&Arc<Held>)) {
        for users in &self.inner.users {
            users.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(&mut act);
        }
    }

    fn all(&self) -> Vec<Arc<Held>> {
        let mut all = Vec::new();
        self.each(|held| all.push(held.clone()));
        all
    }

    fn hear(&self, heard: Heard) {
        match heard {
            Heard::Entry(user, logged, body) => {
                if let Some(held) = self.held(user) {
                    held.hear(logged, body);
                }
            }
            Heard::Behind(user) => {
                if let Some(held) = self.held(user) {
                    held.set_aside();
                    let hub = self.clone();
                    tokio::spawn(async move { hub.catch_up(held).await });
                }
            }
            Heard::Lost => {
                let all = self.all();
                for held in &all {
                    held.set_aside();
                    held.forget_hidden(None);
                }
                let hub = self.clone();
                tokio::spawn(async move {
                    futures::stream::iter(all).for_each_concurrent(READ_TOGETHER, |held| hub.catch_up(held)).await;
                });
                let hub = self.clone();
                tokio::spawn(async move { hub.look_again().await });
            }
            Heard::Note(users, text) => self.note(&users, &text),
        }
    }

    /// Reads what was missed of a user, for all of their sockets; while Redis does not answer, again and again.
    async fn catch_up(&self, held: Arc<Held>) {
        while !self.caught_up(&held).await {
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn caught_up(&self, held: &Held) -> bool {
        let is_held = held.turn.lock().await;
        if !*is_held {
            return true;
        }
        let places = held.set_aside();
        match self.inner.below.log.after(held.user, &places).await {
            Ok(stored) => held.go_on(stored.entries, &stored.head, stored.whole),
            Err(_) => false,
        }
    }

    /// Takes a place for a new socket of this caller. Everything that is told from now on reaches it.
    ///
    /// # Errors
    /// 429 when the caller has as many as one may have; 503 when this process has, when Redis is away, or when it cannot be learned in time who must not be heard.
    pub(super) async fn join(&self, caller: &Caller) -> Result<Seat, Problem> {
        let user = caller.user;
        if self.inner.open.load(Ordering::Relaxed) >= self.inner.below.most {
            return Err(too_many());
        }
        let held = {
            let mut users = self.shard(user);
            let held = users.entry(user).or_insert_with(|| Arc::new(Held::new(user)));
            if !held.take_seat(self.inner.below.most_of_user) {
                return Err(too_many_own());
            }
            held.claim();
            held.clone()
        };
        self.inner.open.fetch_add(1, Ordering::Relaxed);
        metrics::gauge!("sockets_open").increment(1.0);
        // From here on, whoever drops it leaves.
        let mut seat = Seat { hub: self.clone(), held: held.clone(), outbox: Arc::new(Outbox::new(caller)), begins: Places::default() };
        let mut is_held = held.turn.lock().await;
        if !*is_held {
            held.look_up_blocks();
            held.set_aside();
            let head = self.inner.pusher.hold(user).await.ok().filter(|_| !held.has_missed());
            let Some(head) = head else {
                self.inner.pusher.release(user).await;
                return Err(away());
            };
            *is_held = true;
            held.begin(&head);
            self.settle(&held).await?;
        }
        seat.begins = held.join(seat.outbox.clone());
        Ok(seat)
    }

    /// Learns who has blocked, or is blocked by, a user.
    async fn settle(&self, held: &Arc<Held>) -> Result<(), Problem> {
        held.look_up_blocks();
        let (user, since, freshness) = (held.user, Instant::now(), &self.inner.below.freshness);
        if !freshness.settle::<Blocks>(&[user]).await {
            return Err(Problem::unavailable("projection_behind", "Who may write to you is not known yet; please try again in a moment"));
        }
        let blocks = ask(&freshness.pools[Blocks::SERVICE], move |db| {
            Box::pin(async move {
                sqlx::query!(
                    r#"SELECT blocker AS "by!", blocked AS "towards!" FROM blocks.blocks WHERE blocker = $1
                       UNION ALL SELECT blocker, blocked FROM blocks.blocks WHERE blocked = $1 AND blocker <> $1"#,
                    user.0
                )
                .fetch_all(db)
                .await
            })
        })
        .await?;
        let blocks: HashSet<_> = blocks.into_iter().map(|block| (UserId(block.by), UserId(block.towards))).collect();
        self.tell_apart(held, held.set_blocks(blocks, since));
        Ok(())
    }

    /// Somebody must know whom a user has blocked, and does not: it is looked up, once for all who ask, as soon as Redis is there.
    pub(super) fn ask_for_blocks(&self, held: &Arc<Held>) {
        if self.inner.below.redis.is_up() && self.inner.pusher.told_for().is_some() && held.settles() {
            let (hub, held) = (self.clone(), held.clone());
            tokio::spawn(async move {
                let settled = hub.settle(&held).await;
                held.settling.store(false, Ordering::Release);
                if let Err(problem) = settled {
                    tracing::debug!(code = problem.code, "blocks cannot be learned; asked again in a second");
                }
            });
        }
    }

    /// Whether something of a peer's may be pushed to a user now. What was not told, while Redis was away or this process stood still, is not known until somebody has looked.
    pub(super) fn may_push(&self, held: &Held, peer: UserId) -> Push {
        let both = self.inner.below.redis.up_for().zip(self.inner.pusher.told_for());
        held.may_push(peer, both.map(|(redis, channel)| redis.min(channel)))
    }

    /// A part of the round: pings, silence, slowness, tokens that have expired.
    fn look_after(&self, shard: usize, epoch: &mut Option<u32>) {
        let (now, time) = (Instant::now(), clock::now().into_inner().unix_timestamp());
        let current = self.inner.below.log.epoch();
        let another = epoch.is_some() && current.is_some() && *epoch != current;
        *epoch = current.or(*epoch);
        if another {
            // Positions have begun anew: what a socket has seen says nothing any more, nor what was passed on.
            self.end_all(End::Restart);
            self.each(|held| {
                let (hub, held) = (self.clone(), held.clone());
                tokio::spawn(async move { hub.let_go(&held).await });
            });
        }
        let revocations = &self.inner.below.revocations;
        for held in self.inner.users[shard].lock().unwrap_or_else(PoisonError::into_inner).values() {
            held.each(|socket| {
                // Whoever was let in while their session ended is found here.
                if revocations.standing(socket.session()) == Standing::Revoked {
                    socket.end(End::Unauthenticated);
                } else if socket.has_expired(time) {
                    socket.end(End::Expired);
                } else {
                    socket.look(now);
                }
            });
        }
    }

    fn end_all(&self, end: End) {
        self.each(|held| held.each(|socket| socket.end(end)));
    }

    fn end_revoked(&self) {
        let revocations = &self.inner.below.revocations;
        self.each(|held| {
            held.each(|socket| {
                if revocations.standing(socket.session()) == Standing::Revoked {
                    socket.end(End::Unauthenticated);
                }
            });
        });
    }

    /// Whoever joins next begins anew.
    async fn let_go(&self, held: &Held) {
        let mut is_held = held.turn.lock().await;
        if std::mem::take(&mut *is_held) {
            self.inner.pusher.release(held.user).await;
        }
    }

    async fn leave(&self, held: &Arc<Held>, outbox: &Arc<Outbox>) {
        if held.leave(outbox) {
            let mut is_held = held.turn.lock().await;
            if !held.has_sockets() && std::mem::take(&mut *is_held) {
                self.inner.pusher.release(held.user).await;
            }
        }
        let mut users = self.shard(held.user);
        if held.give_up_claim() {
            users.remove(&held.user);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.held.give_back_seat();
        self.hub.inner.open.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("sockets_open").decrement(1.0);
        let (hub, held, outbox) = (self.hub.clone(), self.held.clone(), self.outbox.clone());
        tokio::spawn(async move { hub.leave(&held, &outbox).await });
    }
}
