//! One open socket: its client is told what it is owed, in order, and heard.
//!
//! A state machine that is polled, and not a few futures beside each other: an idle socket then holds nothing but its places. Whatever takes time (pages of what waits, the
//! log, look-ups) is a boxed future that exists only while it runs.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Sink, SinkExt, Stream, StreamExt};
use platform::auth::{Caller, Refused, Standing};
use platform::clock;
use platform::crash::sabotaged;
use platform::frames::{Cursor, Places, Stored};
use platform::http::Problem;
use platform::shutdown::Shutdown;
use schemas::Topic;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WireError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::attendance::Here;
use super::facts::Facts;
use super::held::Push;
use super::hub::{Hub, Seat};
use super::outbox::{End, Taken};
use super::place::Bookmark;
use super::render::{greeting, resumed, told};
use super::talk::{Answer, Reply, Speaker, UNDER_WAY};
use super::upgrade::{Wire, let_go};
use super::work::{Done, Owed, Step, TOGETHER, Work, begin, missing_before};

/// Answers that a client has not read: then it is heard no further.
const UNREAD: usize = 64;
/// Of the positions of what was waiting, so many are remembered: as many as a log holds, from which they could come again.
const SHOWN: usize = 1_000;
/// How long the last word may take to be read,
const LAST_WORD: Duration = Duration::from_secs(2);
/// and how much longer by a client that is slow, unless the process stops: nothing but its connection is kept for it.
const LAST_WORD_TO_SLOW: Duration = Duration::from_secs(60);

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

/// What the next thing to be written is.
enum Next {
    Text(String),
    /// It may not be written yet.
    HeldUp,
    Nothing,
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
                let told = entry.frames.iter().filter_map(|frame| told(self.seat.held.user, entry.at, frame, &Facts::default()));
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

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, ()> {
        let mut wrote = false;
        loop {
            match Pin::new(&mut self.wire).poll_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(wrote),
            }
            let message = if std::mem::take(&mut self.ping) {
                Message::Ping(Bytes::new())
            } else {
                match self.next() {
                    Next::Text(text) => Message::text(text),
                    Next::HeldUp | Next::Nothing => break,
                }
            };
            self.wire.start_send_unpin(message).map_err(drop)?;
            (wrote, self.unflushed) = (true, true);
        }
        if self.unflushed {
            match Pin::new(&mut self.wire).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.unflushed = false,
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(wrote),
            }
        }
        // Also when nothing of it had to be written.
        if self.taken && self.owed.is_empty() && self.work.is_none() {
            self.taken = false;
            self.seat.outbox.written();
        }
        if wrote && self.owed.is_empty() {
            // What was needed for a moment is not kept.
            self.owed.shrink_to(0);
            self.plan.shrink_to(0);
            self.answers.shrink_to(0);
        }
        Ok(wrote)
    }

    /// The next frame that may be written. What must not be told is passed over here, at the last moment.
    fn next(&mut self) -> Next {
        if let Some(answer) = self.answers.pop_front() {
            return Next::Text(answer);
        }
        loop {
            let Some(owed) = self.owed.front_mut() else { return Next::Nothing };
            match owed {
                Owed::UpTo(head) => {
                    self.places.raise_all(head);
                    self.owed.pop_front();
                }
                Owed::AllSent => {
                    self.queue = None;
                    self.owed.pop_front();
                }
                Owed::Said(said) => {
                    let may = self.seat.held.may_push(said.peer, &self.hub.inner.below.redis);
                    let text = (may == Push::Yes).then(|| said.frame.to_string());
                    self.owed.pop_front();
                    if let Some(text) = text {
                        return Next::Text(text);
                    }
                }
                Owed::Marked(told) => {
                    let told = std::mem::replace(told, super::render::Told::nothing());
                    self.owed.pop_front();
                    return Next::Text(told.with_cursor(&self.cursor()));
                }
                Owed::Resumed(told) => {
                    let told = std::mem::replace(told, super::render::Told::nothing());
                    self.owed.pop_front();
                    self.following = None;
                    return Next::Text(told.with_cursor(&self.cursor()));
                }
                Owed::Waited(..) => {
                    if let Some(next) = self.next_waited() {
                        return next;
                    }
                }
                Owed::Event { .. } => {
                    if let Some(next) = self.next_of_event() {
                        return next;
                    }
                }
            }
        }
    }

    fn next_waited(&mut self) -> Option<Next> {
        let Some(Owed::Waited(place, told)) = self.owed.front() else { return None };
        let (topic, partition, position) = *place;
        let may = told.peer.map_or(Push::Yes, |peer| self.seat.held.may_push(peer, &self.hub.inner.below.redis));
        if may == Push::NotYet {
            return Some(self.hold_up());
        }
        let waited_before = position <= self.places.at(topic, partition);
        if waited_before {
            self.queue = Some(position);
            if self.shown.len() == SHOWN {
                self.shown.pop_front();
            }
            self.shown.push_back(position);
        } else {
            self.places.raise(topic, partition, position);
        }
        let cursor = self.cursor();
        let Some(Owed::Waited(_, told)) = self.owed.pop_front() else { return None };
        (may == Push::Yes).then(|| Next::Text(told.with_cursor(&cursor)))
    }

    fn next_of_event(&mut self) -> Option<Next> {
        let Some(Owed::Event { item, next, again }) = self.owed.front_mut() else { return None };
        let (item, at, again) = (item.clone(), *next, *again);
        let told = item.told().and_then(|told| told.get(at));
        let peer = told.and_then(|told| told.peer);
        let may = peer.map_or(Push::Yes, |peer| self.seat.held.may_push(peer, &self.hub.inner.below.redis));
        if may == Push::NotYet {
            // Before it counts as told.
            return Some(self.hold_up());
        }
        *next += 1;
        let (topic, partition, position) = item.place;
        if at == 0 {
            let rises = match &mut self.following {
                Some(following) if again => {
                    following.raise(topic, partition, position);
                    true
                }
                _ => self.places.raise(topic, partition, position),
            };
            if !rises {
                self.owed.pop_front();
                return None;
            }
        }
        let Some(told) = told else {
            self.owed.pop_front();
            return None;
        };
        if may == Push::No {
            return None;
        }
        if let Some(said) = &told.then {
            self.answers.push_front(said.frame.to_string());
        }
        if sabotaged("socket.skip") {
            return None;
        }
        metrics::counter!("socket_events_sent_total").increment(1);
        let text = told.with_cursor(&self.cursor());
        if sabotaged("socket.twice") {
            self.answers.push_front(text.clone());
        }
        Some(Next::Text(text))
    }

    /// Whether somebody is blocked is not known: Redis is away, or was.
    fn hold_up(&mut self) -> Next {
        self.seat.outbox.hold_up(true);
        self.hub.ask_for_blocks(&self.seat.held);
        Next::HeldUp
    }

    /// What the client has seen, once it has read what is being written.
    fn cursor(&self) -> String {
        let places = self.following.as_deref().unwrap_or(&self.places).clone();
        let epoch = self.hub.inner.below.log.epoch().unwrap_or(0);
        Bookmark { cursor: Cursor { epoch, given: clock::now(), places }, queue: self.queue }.write()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        let mut heard = false;
        // Who is about to be sent away is heard no more.
        let ends = self.seat.outbox.ended().is_some();
        while !ends && self.answers.len() < UNREAD && self.under_way.as_ref().is_none_or(|under_way| under_way.len() < UNDER_WAY) {
            let Poll::Ready(said) = Pin::new(&mut self.wire).poll_next(cx) else { break };
            heard = true;
            self.seat.outbox.heard();
            let reply = match said {
                Some(Ok(Message::Text(text))) => match self.refused()? {
                    Some(refusal) => refusal,
                    None => self.hub.inner.below.talk.hear(&mut self.speaker, &text),
                },
                Some(Ok(Message::Binary(_))) => match self.refused()? {
                    Some(refusal) => refusal,
                    None => self.hub.inner.below.talk.unreadable(&mut self.speaker),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Reply::Nothing,
                // What it says after that is nothing; the answer to it goes out with the next look.
                Some(Ok(Message::Close(_))) => {
                    self.gone = true;
                    Reply::Nothing
                }
                Some(Err(error)) if !self.gone => return Err(why(&error).map_or(Over::Gone, Over::Ended)),
                Some(Err(_)) | None => return Err(Over::Gone),
            };
            match reply {
                Reply::Nothing => {}
                Reply::Frame(frame) => self.answers.push_back(frame),
                Reply::Later(later) => self.under_way.get_or_insert_default().push(later),
                Reply::Resume(cursor) => self.resume(&cursor),
            }
        }
        Ok(heard)
    }

    /// Looked at with each frame, so that nothing is done for a session that has ended, however busy this process is.
    fn refused(&self) -> Result<Option<Reply>, Over> {
        match self.hub.inner.below.revocations.standing(self.seat.outbox.session()) {
            Standing::Revoked => Err(Over::Ended(End::Unauthenticated)),
            Standing::Live => Ok(None),
            Standing::Unknown => Ok(Some(Reply::Frame(cannot_check()))),
        }
    }

    fn resume(&mut self, cursor: &str) {
        let bookmark = read_bookmark(&self.hub, cursor);
        self.seat.outbox.set_aside();
        self.plan.push_back(match bookmark {
            Some(bookmark) => Step::Resume(Box::new(bookmark), false),
            None => Step::Say(resumed(true)),
        });
    }
}

/// `error`, for whoever says something while nobody knows whether their session stands.
fn cannot_check() -> String {
    let Problem { code, detail, .. } = Refused::Unknown.into();
    serde_json::json!({"type": "error", "code": code, "detail": detail}).to_string()
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

/// With which word a broken protocol is ended; none when nobody is there to read it.
fn why(error: &WireError) -> Option<End> {
    match error {
        WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake) | WireError::Io(_) | WireError::ConnectionClosed => None,
        WireError::Capacity(CapacityError::MessageTooLong { .. }) => Some(End::TooBig),
        WireError::Utf8(_) => Some(End::Text),
        _ => Some(End::Protocol),
    }
}

/// Ends a socket with a word, and does not wait long for it to be read.
pub(super) async fn say_goodbye(mut wire: Wire, answers: VecDeque<String>, end: End, shutdown: &Shutdown) {
    let (code, reason) = end.told();
    metrics::counter!("sockets_ended_total", "why" => end.name()).increment(1);
    let frame = CloseFrame { code: code.into(), reason: reason.into() };
    let word = async {
        for answer in answers {
            wire.feed(Message::text(answer)).await?;
        }
        wire.send(Message::Close(Some(frame))).await?;
        while let Some(Ok(_)) = wire.next().await {}
        Ok::<_, WireError>(())
    };
    let patience = async {
        if end == End::Slow {
            let _ = timeout(LAST_WORD_TO_SLOW, shutdown.draining()).await;
        }
        sleep(LAST_WORD).await;
    };
    tokio::select! {
        _ = word => {}
        () = patience => {}
    }
    let_go(wire).await;
}
