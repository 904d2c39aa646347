//! What one socket is still to be told, and how patient we are with it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use futures::task::AtomicWaker;
use platform::auth::Caller;
use schemas::SessionId;
use tokio::time::Instant;

use super::item::Item;
use super::note::Said;

/// Live frames that a client may be behind: so much,
const MOST: usize = 1 << 20;
/// or so long.
const LONGEST: Duration = Duration::from_secs(30);
/// While what waited is still being sent, live frames gather up to this; then they are left in the log, to be read from there afterwards.
const MOST_ASIDE: usize = 64 << 10;
/// What is taken at once.
const TOGETHER: usize = 64;
const TOGETHER_BYTES: usize = 128 << 10;
/// How often the server asks whether anybody is there,
pub(super) const PING_EVERY: Duration = Duration::from_secs(25);
/// and after how long without a sign nobody is.
const SILENCE: Duration = Duration::from_secs(60);
/// Room that an empty queue keeps.
const KEPT: usize = 16;

/// Why the server ends a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The token or ticket in its address is no good, or somebody else's.
    Stranger,
    /// Its token has expired.
    Expired,
    /// Its session has ended.
    Unauthenticated,
    /// It does not read what it is told.
    Slow,
    /// Nothing was heard of it for too long.
    Silent,
    /// The process stops, or begins anew.
    Restart,
    /// What it is to be told cannot be learned.
    Broken,
    /// It does not speak the protocol.
    Protocol,
    /// What it calls text is none.
    Text,
    /// It says too much at once.
    TooBig,
}

impl End {
    /// Close code and reason (RFC 6455 §7.4; 4000 and above are the contract's).
    pub(super) const fn told(self) -> (u16, &'static str) {
        match self {
            Self::Stranger => (1008, "not authenticated"),
            Self::Expired => (4001, "the token has expired"),
            Self::Unauthenticated => (4001, "the session has ended"),
            Self::Slow => (4008, "too slow: connect again, with the last cursor"),
            Self::Silent => (1001, "nothing was heard for a minute"),
            Self::Restart => (1012, "restarting"),
            Self::Broken => (1011, "not available at the moment"),
            Self::Protocol => (1002, "protocol error"),
            Self::Text => (1007, "not UTF-8"),
            Self::TooBig => (1009, "more than 1 MiB"),
        }
    }

    /// In metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Expired => "expired",
            Self::Unauthenticated => "unauthenticated",
            Self::Slow => "slow",
            Self::Silent => "silent",
            Self::Restart => "restart",
            Self::Broken => "broken",
            Self::Protocol => "protocol",
            Self::Text => "text",
            Self::TooBig => "too_big",
        }
    }
}

/// Something live: an event, or a word that is kept nowhere.
#[derive(Debug)]
pub(super) enum Live {
    Event(Arc<Item>),
    Said(Said),
}

impl Live {
    fn bytes(&self) -> usize {
        match self {
            Self::Event(item) => item.bytes(),
            Self::Said(said) => said.frame.len(),
        }
    }
}

/// A socket, as the hub has it.
#[derive(Debug)]
pub(super) struct Outbox {
    session: SessionId,
    token_ends: i64,
    began: Instant,
    /// When something was last heard from it, in ms since it began.
    heard_ms: AtomicU64,
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Queue {
    live: VecDeque<(Live, Instant)>,
    bytes: usize,
    /// When the oldest came of those that were taken and are not written yet.
    writing_since: Option<Instant>,
    aside: Aside,
    ping: bool,
    pinged: Instant,
    end: Option<End>,
    /// Whoever reads it waits for Redis.
    held_up: bool,
}

/// Whether live frames wait behind others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aside {
    No,
    Waiting,
    /// And some were left in the log.
    Skipped,
}

/// What the queue has for its socket.
#[derive(Debug)]
pub(super) enum Taken {
    Nothing,
    Some(Vec<Live>),
    /// Some were left in the log: they are to be read there first.
    Skipped,
}

impl Outbox {
    /// Of a new socket, with much to be told before anything live.
    pub(super) fn new(caller: &Caller) -> Self {
        let now = Instant::now();
        Self {
            session: caller.session,
            token_ends: caller.token_ends,
            began: now,
            heard_ms: AtomicU64::new(0),
            queue: Mutex::new(Queue {
                live: VecDeque::new(),
                bytes: 0,
                writing_since: None,
                aside: Aside::Waiting,
                ping: false,
                pinged: now,
                end: None,
                held_up: false,
            }),
            waker: AtomicWaker::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn session(&self) -> SessionId {
        self.session
    }

    pub(super) fn has_expired(&self, now: i64) -> bool {
        self.token_ends <= now
    }

    /// Something live, in its order.
    pub(super) fn push(&self, live: Live) {
        let mut queue = self.queue();
        if queue.end.is_some() || queue.aside == Aside::Skipped {
            return;
        }
        queue.bytes += live.bytes();
        queue.live.push_back((live, Instant::now()));
        match queue.aside {
            Aside::Waiting if queue.bytes > MOST_ASIDE => queue.skip(),
            Aside::No if queue.bytes > MOST => queue.end(End::Slow),
            _ => {}
        }
        drop(queue);
        self.waker.wake();
    }

    /// What comes next stands in the log, or in the queue of what waits, and is to be read there.
    pub(super) fn skip(&self) {
        let mut queue = self.queue();
        if queue.end.is_none() {
            queue.skip();
        }
        drop(queue);
        self.waker.wake();
    }

    /// What is to be told next, now that everything before it was; from now on it counts how far the client is behind.
    pub(super) fn take(&self) -> Taken {
        let mut queue = self.queue();
        if queue.aside == Aside::Skipped {
            // What comes from now on is queued again, behind what is read.
            queue.aside = Aside::Waiting;
            return Taken::Skipped;
        }
        if queue.aside == Aside::Waiting {
            queue.aside = Aside::No;
            let now = Instant::now();
            queue.live.iter_mut().for_each(|(_, at)| *at = now);
        }
        let Some((_, oldest)) = queue.live.front() else { return Taken::Nothing };
        queue.writing_since = Some(*oldest);
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < TOGETHER && bytes < TOGETHER_BYTES {
            let Some((live, _)) = queue.live.pop_front() else { break };
            bytes += live.bytes();
            taken.push(live);
        }
        queue.bytes -= bytes;
        if queue.live.is_empty() && queue.live.capacity() > KEPT {
            queue.live = VecDeque::new();
        }
        Taken::Some(taken)
    }

    /// Something that was not there when it connected is to be told before what is live.
    pub(super) fn set_aside(&self) {
        let mut queue = self.queue();
        if queue.aside == Aside::No {
            queue.aside = Aside::Waiting;
        }
    }

    /// All that was taken is on its way.
    pub(super) fn written(&self) {
        self.queue().writing_since = None;
    }

    /// Whether it is held up by us, and not by its client.
    pub(super) fn hold_up(&self, held_up: bool) {
        let mut queue = self.queue();
        queue.held_up = held_up;
        if !held_up && queue.writing_since.is_some() {
            queue.writing_since = Some(Instant::now());
        }
    }

    /// Ends it, whatever is still in it. The first reason stands.
    pub(super) fn end(&self, end: End) {
        self.queue().end(end);
        self.waker.wake();
    }

    pub(super) fn ended(&self) -> Option<End> {
        self.queue().end
    }

    /// Whether the client is to be asked whether it is there.
    pub(super) fn wants_ping(&self) -> bool {
        std::mem::take(&mut self.queue().ping)
    }

    /// Something came from the client.
    pub(super) fn heard(&self) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(since, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    pub(super) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Looks after it, about once a second: asks whether anybody is there, gives up on those who are not, or who do not read.
    pub(super) fn look(&self, now: Instant) {
        let heard = self.began + Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        let mut queue = self.queue();
        let oldest = queue.writing_since.or_else(|| queue.live.front().map(|(_, at)| *at));
        let behind = oldest.filter(|_| queue.aside == Aside::No && !queue.held_up);
        if now.duration_since(heard) >= SILENCE {
            queue.end(End::Silent);
        } else if behind.is_some_and(|oldest| now.duration_since(oldest) >= LONGEST) {
            queue.end(End::Slow);
        } else if now.duration_since(queue.pinged) >= PING_EVERY {
            (queue.ping, queue.pinged) = (true, now);
        } else if !queue.held_up {
            return;
        }
        drop(queue);
        self.waker.wake();
    }
}

impl Queue {
    fn skip(&mut self) {
        self.live = VecDeque::new();
        (self.bytes, self.aside) = (0, Aside::Skipped);
    }

    fn end(&mut self, end: End) {
        if self.end.is_none() {
            self.end = Some(end);
            self.live = VecDeque::new();
            self.bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use platform::auth::Caller;
    use schemas::{SessionId, UserId};
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{End, LONGEST, Live, MOST, MOST_ASIDE, Outbox, PING_EVERY, SILENCE, Taken};
    use crate::socket::Said;

    fn outbox() -> Outbox {
        let id = Uuid::from_u128(1);
        Outbox::new(&Caller { user: UserId(id), session: SessionId(id), role: "user".into(), token_ends: 100 })
    }

    fn word(bytes: usize) -> Live {
        Live::Said(Said { frame: "x".repeat(bytes).into(), peer: UserId(Uuid::from_u128(2)), is_online: None, apart: false })
    }

    fn taken(outbox: &Outbox) -> usize {
        match outbox.take() {
            Taken::Some(live) => live.len(),
            Taken::Nothing => 0,
            Taken::Skipped => usize::MAX,
        }
    }

    fn after(outbox: &Outbox, time: Duration) -> Option<End> {
        outbox.look(Instant::now() + time);
        outbox.ended()
    }

    const MOMENT: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_that_is_too_far_behind_is_ended_and_one_that_reads_is_not() {
        let (quick, slow) = (outbox(), outbox());
        for outbox in [&quick, &slow] {
            assert_eq!(taken(outbox), 0);
        }
        for _ in 0..100 {
            quick.push(word(MOST / 50));
            slow.push(word(MOST / 50));
            assert_eq!(taken(&quick), 1);
            quick.written();
        }
        assert_eq!((quick.ended(), slow.ended()), (None, Some(End::Slow)));
    }

    #[test]
    fn a_client_that_takes_nothing_for_too_long_is_ended_whatever_there_is_for_it() {
        let outbox = outbox();
        assert_eq!(taken(&outbox), 0);
        outbox.push(word(1));
        assert_eq!(after(&outbox, LONGEST - MOMENT), None);
        assert_eq!(taken(&outbox), 1);
        assert_eq!(after(&outbox, LONGEST - MOMENT), None, "on its way");
        assert_eq!(after(&outbox, LONGEST + MOMENT), Some(End::Slow), "and still not read");
    }

    #[test]
    fn what_has_been_read_or_is_held_up_by_us_counts_against_nobody() {
        let (read, held_up) = (outbox(), outbox());
        for outbox in [&read, &held_up] {
            assert_eq!(taken(outbox), 0);
            outbox.push(word(1));
            assert_eq!(taken(outbox), 1);
        }
        read.written();
        held_up.hold_up(true);
        assert_eq!((after(&read, LONGEST + MOMENT), after(&held_up, LONGEST + MOMENT)), (None, None));
    }

    #[test]
    fn while_what_waited_is_sent_live_frames_are_left_in_the_log_rather_than_counted() {
        let outbox = outbox();
        for _ in 0..10 {
            outbox.push(word(MOST_ASIDE / 5));
        }
        assert_eq!(after(&outbox, LONGEST + MOMENT), None, "it reads what was there before");
        assert_eq!(taken(&outbox), usize::MAX, "some are to be read in the log");
        outbox.push(word(1));
        assert_eq!(taken(&outbox), 1, "then it goes on");
    }

    #[test]
    fn silence_is_asked_about_and_then_believed() {
        let outbox = outbox();
        assert!(!outbox.wants_ping());
        assert_eq!(after(&outbox, PING_EVERY + MOMENT), None);
        assert!(outbox.wants_ping());
        assert!(!outbox.wants_ping(), "once");
        assert_eq!(after(&outbox, SILENCE - MOMENT), None);
        assert_eq!(after(&outbox, SILENCE + MOMENT), Some(End::Silent));
        outbox.end(End::Slow);
        assert_eq!(outbox.ended(), Some(End::Silent), "the first reason stands");
    }

    #[test]
    fn whoever_is_shared_by_two_threads_loses_nothing() {
        let outbox = Arc::new(outbox());
        assert_eq!(taken(&outbox), 0);
        let writer = std::thread::spawn({
            let outbox = outbox.clone();
            move || (0..1_000).for_each(|_| outbox.push(word(1)))
        });
        let mut count = 0;
        while count < 1_000 {
            count += taken(&outbox);
        }
        writer.join().expect("no panic");
        assert_eq!(taken(&outbox), 0);
    }
}
