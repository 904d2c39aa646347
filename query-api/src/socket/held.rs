//! A user whose sockets are held in this process.

mod around;

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::clock;
use platform::frames::{Logged, Places};
use schemas::{MessageId, UserId};
use tokio::time::Instant;

use around::Around;

use super::deleted::Deleted;
use super::item::Item;
use super::note::Said;
use super::outbox::{Live, Outbox};

/// Entries that are kept aside while the log is read; of more, the log is read once more.
const MOST_ASIDE: usize = 1_000;

/// How far two clocks may be apart, in µs.
const CLOCKS: i64 = 1_000_000;

/// A user with sockets here: how far those have been told, and who must not be heard by them.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) user: UserId,
    /// Held by who begins or ends to hold the user, and by who reads the log for all of their sockets. Whether the user is held.
    pub(super) turn: tokio::sync::Mutex<bool>,
    /// Held by who renders for all sockets what must be looked up.
    pub(super) rendering: tokio::sync::Mutex<()>,
    pub(super) settling: AtomicBool,
    /// Who wants it to stay, changed under the lock of the map that it stands in.
    claims: AtomicUsize,
    /// Sockets that are open, or about to be.
    seats: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sockets: Vec<Arc<Outbox>>,
    /// Up to where the sockets have been given everything.
    heard: Places,
    /// When the newest socket came (µs since 1970, and a little more, since times of events are another clock's).
    joined: i64,
    /// While the log is read, what comes meanwhile.
    aside: Option<Vec<(Logged, Option<Arc<str>>)>>,
    /// Came while the log was read, and was too much to be kept.
    missed: bool,
    /// What of it is not to be told any more.
    deleted: Deleted,
    /// Of this user and towards them: who, and whom.
    blocks: HashSet<Block>,
    /// As of when they are known.
    known_since: Option<Instant>,
    /// What was said of them while they were looked up.
    changes: Option<Vec<(Block, bool)>>,
    around: Around,
    /// Of whom a block keeps something from the user, as was told already.
    hidden: HashSet<UserId>,
}

/// Who blocks, and whom.
type Block = (UserId, UserId);

/// Whether something of a peer may be pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Push {
    Yes,
    /// One has blocked the other.
    No,
    /// Whether one has is not known at the moment.
    NotYet,
}

impl Held {
    pub(super) fn new(user: UserId) -> Self {
        // Nothing is passed on before somebody knows from where on.
        let state = State { aside: Some(Vec::new()), ..State::default() };
        Self {
            user,
            turn: tokio::sync::Mutex::new(false),
            rendering: tokio::sync::Mutex::new(()),
            settling: AtomicBool::new(false),
            claims: AtomicUsize::new(0),
            seats: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    pub(super) fn claim(&self) {
        self.claims.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it was the last.
    pub(super) fn give_up_claim(&self) -> bool {
        self.claims.fetch_sub(1, Ordering::Relaxed) == 1
    }

    /// Takes a place for one more socket; whether there was one.
    pub(super) fn take_seat(&self, most: usize) -> bool {
        self.seats.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| (taken < most).then_some(taken + 1)).is_ok()
    }

    pub(super) fn give_back_seat(&self) {
        self.seats.fetch_sub(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry right after the one before it.
    pub(super) fn hear(&self, logged: Logged, body: Option<Arc<str>>) {
        let mut state = self.state();
        match &mut state.aside {
            Some(aside) if aside.len() < MOST_ASIDE => aside.push((logged, body)),
            Some(_) => state.missed = true,
            None => state.give(&logged, body),
        }
    }

    /// A word for everybody here.
    pub(super) fn say(&self, said: &Said) {
        let mut state = self.state();
        if state.are_apart(self.user, said.peer) == said.apart {
            if let Some(is_online) = said.is_online {
                state.around.say(said.peer, is_online);
            }
            state.sockets.iter().for_each(|socket| socket.push(Live::Said(said.clone())));
        }
    }

    /// A socket was told that somebody is here, otherwise than by a word for everybody.
    pub(super) fn is_here(&self, peer: UserId) {
        self.state().around.say(peer, true);
    }

    /// From now on what comes is kept aside: the log is to be read after these places.
    pub(super) fn set_aside(&self) -> Places {
        let mut state = self.state();
        state.aside.get_or_insert_default();
        state.missed = false;
        state.heard.clone()
    }

    /// The log was read: its entries, where it ends, and then what was kept aside. `false`: too much came meanwhile, and it is to be read again.
    ///
    /// When it is not whole, each socket is to find out by itself what it lacks.
    pub(super) fn go_on(&self, entries: Vec<Logged>, head: &Places, whole: bool) -> bool {
        let mut state = self.state();
        if whole {
            entries.iter().for_each(|entry| state.give(entry, None));
        } else {
            state.sockets.iter().for_each(|socket| socket.skip());
        }
        state.heard.raise_all(head);
        for (logged, body) in std::mem::take(state.aside.get_or_insert_default()) {
            state.give(&logged, body);
        }
        if state.missed {
            return false;
        }
        state.aside = None;
        true
    }

    /// It is held from now on, and nobody has been told anything yet: everything up to there, and what was kept aside, came before.
    pub(super) fn begin(&self, head: &Places) {
        let mut state = self.state();
        state.heard = head.clone();
        for (logged, _) in state.aside.take().unwrap_or_default() {
            state.heard.raise(logged.topic, logged.partition, logged.position);
        }
    }

    /// Whether more came than could be kept aside, so that where it begins is not known.
    pub(super) fn has_missed(&self) -> bool {
        self.state().missed
    }

    /// A new socket: from here on it is given everything.
    pub(super) fn join(&self, socket: Arc<Outbox>) -> Places {
        let mut state = self.state();
        state.joined = clock::now().unix_micros() + CLOCKS;
        state.sockets.push(socket);
        state.heard.clone()
    }

    /// Up to where everything has been passed on.
    pub(super) fn heard(&self) -> Places {
        self.state().heard.clone()
    }

    /// One less. Whether it was the last.
    pub(super) fn leave(&self, socket: &Arc<Outbox>) -> bool {
        let mut state = self.state();
        state.sockets.retain(|other| !Arc::ptr_eq(other, socket));
        state.sockets.is_empty()
    }

    pub(super) fn has_sockets(&self) -> bool {
        !self.state().sockets.is_empty()
    }

    /// For each socket.
    pub(super) fn each(&self, act: impl FnMut(&Arc<Outbox>)) {
        self.state().sockets.iter().for_each(act);
    }

    /// From now on what is said of blocks counts more than what is being looked up.
    pub(super) fn look_up_blocks(&self) {
        self.state().changes.get_or_insert_default();
    }

    /// All blocks of, and towards, this user, as of then. Answers from whom they are apart by that, and from whom no longer, if that was known before.
    pub(super) fn set_blocks(&self, blocks: HashSet<Block>, since: Instant) -> Vec<(UserId, bool)> {
        let mut state = self.state();
        let (before, were_known) = (std::mem::replace(&mut state.blocks, blocks), state.known_since.is_some());
        state.known_since = Some(since);
        for (block, stands) in state.changes.take().unwrap_or_default() {
            state.set_block(block, stands);
        }
        let peers = |blocks: &HashSet<Block>| -> BTreeSet<UserId> {
            blocks.iter().map(|(by, towards)| if *by == self.user { *towards } else { *by }).collect()
        };
        let (before, after) = (peers(&before), peers(&state.blocks));
        state.hidden.retain(|peer| after.contains(peer));
        let changed = before.symmetric_difference(&after).filter(|_| were_known).map(|peer| (*peer, after.contains(peer))).collect();
        // They waited for it, perhaps.
        state.sockets.iter().for_each(|socket| socket.hold_up(false));
        let sockets = state.sockets.clone();
        drop(state);
        sockets.iter().for_each(|socket| socket.wake());
        changed
    }

    /// Somebody has blocked the other, or has lifted that. Answers from whom they are apart by that, or no longer.
    pub(super) fn block(&self, block: Block, stands: bool) -> Option<(UserId, bool)> {
        let mut state = self.state();
        let peer = if block.0 == self.user { block.1 } else { block.0 };
        let before = state.are_apart(self.user, peer);
        if let Some(changes) = &mut state.changes {
            changes.push((block, stands));
        }
        state.set_block(block, stands);
        let after = state.are_apart(self.user, peer);
        (before != after && !state.sockets.is_empty()).then_some((peer, after))
    }

    /// Whether something of this peer's may be pushed now. `for_long`: for how long nothing that was said of blocks can have been missed. What was missed is not known until somebody has
    /// looked, and neither is whether a block still stands.
    pub(super) fn may_push(&self, peer: UserId, for_long: Option<Duration>) -> Push {
        let state = self.state();
        match state.known_since.zip(for_long) {
            Some((since, for_long)) if for_long >= since.elapsed() => {}
            _ => return Push::NotYet,
        }
        if state.are_apart(self.user, peer) { Push::No } else { Push::Yes }
    }

    /// Whether it is news that a block keeps something of this peer's from the user.
    pub(super) fn hides(&self, peer: UserId) -> bool {
        self.state().hidden.insert(peer)
    }

    /// What was said to be hidden, of one peer or of all, is not known there any more.
    pub(super) fn forget_hidden(&self, peer: Option<UserId>) {
        let hidden = &mut self.state().hidden;
        match peer {
            Some(peer) => drop(hidden.remove(&peer)),
            None => hidden.clear(),
        }
    }

    /// Whether this message was deleted since it was given to the sockets.
    pub(super) fn is_deleted(&self, message: MessageId) -> bool {
        self.state().deleted.has(message)
    }

    /// Whether the caller is to look up the blocks: nobody else does.
    pub(super) fn settles(&self) -> bool {
        !self.settling.swap(true, Ordering::AcqRel)
    }
}

impl State {
    fn give(&mut self, logged: &Logged, body: Option<Arc<str>>) {
        if !self.heard.raise(logged.topic, logged.partition, logged.position) || self.sockets.is_empty() {
            return;
        }
        let Some(item) = Item::of(logged, body) else { return };
        item.deletes().for_each(|message| self.deleted.note(message, Instant::now()));
        let item = Arc::new(item.trusted_after(self.joined));
        self.sockets.iter().for_each(|socket| socket.push(Live::Event(item.clone())));
    }

    fn set_block(&mut self, block: Block, stands: bool) {
        if stands {
            self.blocks.insert(block);
        } else {
            self.blocks.remove(&block);
            self.hidden.remove(&block.0);
            self.hidden.remove(&block.1);
        }
    }

    fn are_apart(&self, user: UserId, peer: UserId) -> bool {
        !self.blocks.is_empty() && (self.blocks.contains(&(user, peer)) || self.blocks.contains(&(peer, user)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use platform::auth::Caller;
    use platform::frames::{Logged, Places};
    use schemas::{SessionId, Topic, UserId};
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{Held, MOST_ASIDE};
    use crate::socket::outbox::{Live, Outbox, Taken};

    const BOB: UserId = UserId(Uuid::from_u128(2));
    const ANN: UserId = UserId(Uuid::from_u128(1));

    fn entry(position: i64) -> Logged {
        let text = format!(r#"{{"at":"2026-01-01T00:00:00Z","frames":[{{"k":"d","id":"{}","by":"{ANN}"}}]}}"#, Uuid::from_u128(9));
        Logged { seq: 0, topic: Topic::Messages, partition: 1, position, text: text.into() }
    }

    fn places(position: i64) -> Places {
        let mut places = Places::default();
        places.raise(Topic::Messages, 1, position);
        places
    }

    fn socket(held: &Held) -> Arc<Outbox> {
        let socket = Arc::new(Outbox::new(&Caller { user: BOB, session: SessionId(BOB.0), role: "user".into(), token_ends: i64::MAX }));
        held.join(socket.clone());
        assert!(matches!(socket.take(), Taken::Nothing));
        socket
    }

    fn told(socket: &Outbox) -> Vec<i64> {
        match socket.take() {
            Taken::Some(live) => live.iter().map(|live| if let Live::Event(item) = live { item.place.2 } else { 0 }).collect(),
            Taken::Nothing => Vec::new(),
            Taken::Skipped => vec![-1],
        }
    }

    #[test]
    fn what_is_heard_while_the_log_is_read_comes_after_it_and_nothing_twice() {
        let held = Held::new(BOB);
        held.hear(entry(4), None);
        held.begin(&places(3));
        let socket = socket(&held);
        held.hear(entry(4), None);
        held.hear(entry(5), None);
        assert_eq!(told(&socket), [5], "what came before it was held is not live");
        assert_eq!(held.set_aside(), places(5));
        held.hear(entry(9), None);
        assert_eq!(told(&socket), [0; 0], "not before what was missed");
        assert!(held.go_on(vec![entry(6), entry(7), entry(9)], &places(9), true));
        held.hear(entry(10), None);
        assert_eq!(told(&socket), [6, 7, 9, 10]);
    }

    #[test]
    fn a_message_that_was_deleted_while_it_was_on_its_way_is_known_to_be_gone() {
        let held = Held::new(BOB);
        held.begin(&places(0));
        let socket = socket(&held);
        let (kept, gone) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let about = |position, frame: String| Logged {
            text: format!(r#"{{"at":"2026-01-01T00:00:00Z","frames":[{frame}]}}"#).into(),
            ..entry(position)
        };
        for (position, id) in [(1, kept), (2, gone)] {
            held.hear(about(position, format!(r#"{{"k":"m","id":"{id}","from":"{ANN}"}}"#)), Some("{}".into()));
        }
        assert!(!held.is_deleted(gone.into()));
        held.hear(about(3, format!(r#"{{"k":"x","id":"{gone}","from":"{ANN}","to":"{BOB}"}}"#)), None);
        assert_eq!(told(&socket), [1, 2, 3], "they wait");
        assert!(held.is_deleted(gone.into()) && !held.is_deleted(kept.into()));
    }

    #[test]
    fn of_a_log_that_is_not_whole_each_socket_finds_out_what_it_lacks() {
        let held = Held::new(BOB);
        held.begin(&places(3));
        let socket = socket(&held);
        held.set_aside();
        assert!(held.go_on(vec![entry(8)], &places(9), false));
        assert_eq!(told(&socket), [-1]);
        held.hear(entry(9), None);
        held.hear(entry(10), None);
        assert_eq!(told(&socket), [10]);
    }

    #[test]
    fn when_too_much_comes_meanwhile_the_log_is_read_again() {
        let held = Held::new(BOB);
        held.begin(&places(0));
        let socket = socket(&held);
        held.set_aside();
        let many = i64::try_from(MOST_ASIDE).expect("small") + 1;
        (1..=many).for_each(|position| held.hear(entry(position), None));
        assert!(!held.go_on(Vec::new(), &places(0), true));
        assert_eq!(held.set_aside(), places(many - 1));
        assert!(held.go_on(vec![entry(many)], &places(many), true));
        let mut all = Vec::new();
        while all.len() < MOST_ASIDE {
            let some = told(&socket);
            // More than a socket keeps aside: it reads the log as well.
            if some.is_empty() || some == [-1] {
                return;
            }
            all.extend(some);
        }
        assert_eq!(told(&socket).len() + all.len(), MOST_ASIDE + 1);
    }

    #[test]
    fn what_is_said_of_blocks_counts_more_than_what_was_looked_up_before() {
        let held = Held::new(BOB);
        let blocked = |held: &Held| held.state().are_apart(BOB, ANN);
        held.look_up_blocks();
        held.block((ANN, BOB), true);
        held.set_blocks(HashSet::new(), Instant::now());
        assert!(blocked(&held), "placed while it was looked up");
        held.block((BOB, ANN), true);
        held.block((ANN, BOB), false);
        assert!(blocked(&held), "each lifts their own only");
        held.look_up_blocks();
        held.block((BOB, ANN), false);
        held.set_blocks(HashSet::from([(BOB, ANN)]), Instant::now());
        assert!(!blocked(&held), "lifted while it was looked up");
    }
}
