//! One open socket: its client is told what it is owed, in order, and heard.
//!
//! A state machine that is polled, and not a few futures beside each other: an idle socket then holds nothing but its places. Whatever takes time (pages of what waits, the
//! log, look-ups) is a boxed future that exists only while it runs.

mod goodbye;
mod reading;
mod writing;

use std::collections::VecDeque;
use std::task::{Context, Poll};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use platform::auth::Caller;
use platform::clock;
use platform::frames::{Places, Stored};
use schemas::Topic;

pub(super) use goodbye::say_goodbye;

use super::attendance::Here;
use super::facts::Facts;
use super::hub::{Hub, Seat};
use super::outbox::{End, Taken};
use super::place::Bookmark;
use super::render::{greeting, resumed, told};
use super::talk::{Answer, Speaker};
use super::upgrade::{Wire, let_go};
use super::work::{Done, Owed, Step, TOGETHER, Work, begin, missing_before};

/// An open socket.
pub(super) struct Connection {
    wire: Wire,
    hub: Hub,
    seat: Seat,
    here: Here,
    speaker: Speaker,
    /// Everything up to there has been told, or needs not be, as far as it comes after `begun`.
    places: Places,
    begun: Places,
    /// How far an earlier cursor has been followed; told to the client until that is done.
    following: Option<Box<Places>>,
    /// How far what waited has been sent; `None`: all of it.
    queue: Option<i64>,
    /// Positions of what was sent because it waited.
    shown: VecDeque<i64>,
    plan: VecDeque<Step>,
    work: Option<Work>,
    owed: VecDeque<Owed>,
    /// Answers to what the client says: they overtake.
    answers: VecDeque<String>,
    under_way: Option<Box<FuturesUnordered<futures::future::BoxFuture<'static, Option<Answer>>>>>,
    ping: bool,
    /// Something of the outbox is on its way.
    taken: bool,
    unflushed: bool,
    gone: bool,
}

/// How a connection came to its end.
enum Over {
    /// The client has left, or cannot be reached.
    Gone,
    /// We end it.
    Ended(End),
}

impl Connection {
    /// A new one, its client knowing nothing, or what the cursor says that it came with.
    pub(super) fn new(wire: Wire, hub: Hub, seat: Seat, here: Here, caller: Caller, cursor: Option<&str>) -> Self {
        let bookmark = cursor.map(|cursor| read_bookmark(&hub, cursor));
        let mut places = seat.begins.clone();
        let mut queue = Some(0);
        let plan = match bookmark {
            None => VecDeque::from([Step::all_that_waits(&places)]),
            Some(None) => VecDeque::from([Step::Say(resumed(true)), Step::all_that_waits(&places)]),
            Some(Some(bookmark)) => {
                // Whoever leaves before all of that has come is where they were.
                (places, queue) = (bookmark.cursor.places.clone(), bookmark.queue);
                VecDeque::from([Step::Resume(Box::new(bookmark), true)])
            }
        };
        Self {
            wire,
            hub,
            seat,
            here,
            speaker: Speaker::new(caller),
            places: places.clone(),
            begun: places,
            following: None,
            queue,
            shown: VecDeque::new(),
            plan,
            work: None,
            owed: VecDeque::new(),
            answers: VecDeque::new(),
            under_way: None,
            ping: false,
            taken: false,
            unflushed: false,
            gone: false,
        }
    }

    /// Greets, and goes on until one of the two ends it.
    pub(super) async fn run(mut self, caller: Caller, online: Vec<schemas::UserId>) {
        if let Some(told) = greeting(caller.user, caller.session, &online, clock::now()) {
            self.owed.push_back(Owed::Marked(told));
        }
        drop((caller, online));
        let over = std::future::poll_fn(|cx| self.poll(cx)).await;
        let Self { wire, seat, here, answers, hub, .. } = self;
        let shutdown = hub.inner.below.shutdown.clone();
        // Nobody need wait for the last word to be read.
        drop((seat, here));
        match over {
            Over::Gone => {
                metrics::counter!("sockets_ended_total", "why" => "client").increment(1);
                let_go(wire).await;
            }
            Over::Ended(end) => say_goodbye(wire, answers, end, &shutdown).await,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.seat.outbox.register(cx.waker());
        loop {
            if let Some(end) = self.seat.outbox.ended()
                && (end != End::Restart || self.is_done(cx))
            {
                return Poll::Ready(Over::Ended(end));
            }
            self.ping |= self.seat.outbox.wants_ping();
            let mut moved = self.poll_under_way(cx);
            match self.poll_work(cx) {
                Ok(worked) => moved |= worked,
                Err(end) => return Poll::Ready(Over::Ended(end)),
            }
            match self.poll_write(cx) {
                Ok(wrote) => moved |= wrote,
                Err(()) => return Poll::Ready(Over::Gone),
            }
            match self.poll_read(cx) {
                Ok(heard) => moved |= heard,
                Err(over) => return Poll::Ready(over),
            }
            if !moved {
                return Poll::Pending;
            }
        }
    }

    /// What clients have asked for before the stop is done, and answered.
    fn is_done(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_under_way(cx);
        self.under_way.is_none()
    }

    fn poll_under_way(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(under_way) = &mut self.under_way else { return false };
        let mut moved = false;
        let mut answers = Vec::new();
        while let Poll::Ready(Some(answer)) = under_way.poll_next_unpin(cx) {
            answers.extend(answer);
            moved = true;
        }
        if under_way.is_empty() {
            self.under_way = None;
        }
        for answer in answers {
            self.answer(answer);
        }
        moved
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Frame(frame) => self.answers.push_back(frame),
            Answer::Again(entry) => {
                let told = entry.frames.iter().filter_map(|frame| told(self.seat.held.user, (entry.at, 0), frame, &Facts::default()));
                let cursor = self.cursor();
                self.answers.extend(told.map(|told| told.with_cursor(&cursor)));
            }
        }
    }

    /// Finds out what is to be told next, as long as all that was found before has been.
    fn poll_work(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        let mut moved = false;
        loop {
            if let Some(work) = &mut self.work {
                let Poll::Ready(done) = work.as_mut().poll(cx) else { return Ok(moved) };
                self.work = None;
                moved = true;
                match done {
                    Ok(done) => self.take_in(done),
                    Err(problem) => {
                        tracing::warn!(code = problem.code, "a socket is ended: what it is to be told cannot be learned");
                        return Err(End::Broken);
                    }
                }
            }
            if !self.owed.is_empty() {
                return Ok(moved);
            }
            let step = match self.plan.pop_front() {
                Some(step) => step,
                None => match self.seat.outbox.take() {
                    Taken::Nothing => return Ok(moved),
                    Taken::Skipped => Step::CatchUp,
                    Taken::Some(live) => {
                        self.taken = true;
                        Step::Render(live.into_iter().map(Owed::live).collect())
                    }
                },
            };
            moved = true;
            match begin(step, &self.hub, &self.seat.held, &self.places) {
                Ok(work) => self.work = Some(work),
                Err(owed) => self.owed = owed,
            }
        }
    }

    fn take_in(&mut self, done: Done) {
        match done {
            Done::Rendered(owed) => self.owed = owed,
            Done::Page(page) => {
                self.owed.extend(page.messages.into_iter().map(|(place, told)| Owed::Waited(place, told)));
                match page.next {
                    Some(next) => self.plan.push_front(Step::Waiting(next)),
                    None => self.owed.push_back(Owed::AllSent),
                }
            }
            Done::CaughtUp(stored) => {
                let before = missing_before(&stored);
                // The queue has only what waits: what another device has taken from it meanwhile, and what became of messages, is to be had over REST. Whoever has just asked
                // to resume is told by the answer.
                if before.is_some() && !self.plan.iter().any(|step| matches!(step, Step::Resume(..))) {
                    self.owed.extend(resumed(true).map(Owed::Marked));
                }
                self.plan_events(Owed::events(&stored.entries), Owed::UpTo(Box::new(stored.head)));
                if let Some(before) = before {
                    self.plan.push_front(Step::what_waits_between(&self.places, &before));
                }
            }
            Done::Log(bookmark, stored, true) => self.begin_after(*bookmark, stored),
            Done::Log(bookmark, stored, false) => self.follow(*bookmark, stored),
        }
    }

    /// Events next, a few at a time, and then this.
    fn plan_events(&mut self, mut events: Vec<Owed>, then: Owed) {
        events.push(then);
        while !events.is_empty() {
            let rest = events.len().saturating_sub(1) / TOGETHER * TOGETHER;
            self.plan.push_front(Step::Render(events.split_off(rest)));
        }
    }

    /// The client has come back with a cursor: what it has seen counts as told, everything else follows, then `resumed`. When that cannot be: as if it had come without.
    fn begin_after(&mut self, bookmark: Bookmark, stored: Option<Stored>) {
        let Some(stored) = stored.filter(|stored| stored.whole) else {
            self.places.clone_from(&self.seat.begins);
            self.begun.clone_from(&self.seat.begins);
            self.queue = Some(0);
            self.owed.extend(resumed(true).map(Owed::Marked));
            self.plan.push_front(Step::all_that_waits(&self.begun));
            return;
        };
        self.plan.push_front(Step::Say(resumed(false)));
        self.plan_events(Owed::events(&stored.entries), Owed::UpTo(Box::new(stored.head)));
        if let Some(behind) = bookmark.queue {
            self.plan.push_front(Step::rest_of_what_waits(&bookmark.cursor.places, behind));
        }
    }

    /// The client asks for what came after a cursor: of that, it is told what it was not told on this socket.
    fn follow(&mut self, bookmark: Bookmark, stored: Option<Stored>) {
        let Some(stored) = stored.filter(|stored| stored.whole) else {
            self.owed.extend(resumed(true).map(Owed::Marked));
            return;
        };
        let seen = bookmark.cursor.places;
        let (begun, shown) = (&self.begun, &self.shown);
        let missing = stored.entries.iter().filter(|entry| entry.position <= begun.at(entry.topic, entry.partition));
        let missing: Vec<Owed> =
            missing.filter_map(|entry| Owed::again(entry, entry.topic == Topic::Messages && shown.contains(&entry.position))).collect();
        // From now on, everything after the earlier of the two has been told here.
        self.begun = earlier(&self.begun, &seen);
        self.following = Some(Box::new(seen));
        if let Some(told) = resumed(false) {
            self.plan_events(missing, Owed::Resumed(told));
        }
    }
}

/// `None`: nobody can go on from there.
fn read_bookmark(hub: &Hub, text: &str) -> Option<Bookmark> {
    Bookmark::read(text).filter(|bookmark| hub.inner.below.log.may_resume(&bookmark.cursor))
}

/// Of each place the earlier.
fn earlier(one: &Places, other: &Places) -> Places {
    let mut earlier = Places::default();
    for topic in [Topic::Messages, Topic::Users] {
        for partition in 0..Topic::PARTITIONS {
            earlier.raise(topic, partition, one.at(topic, partition).min(other.at(topic, partition)));
        }
    }
    earlier
}
