//! What leaves an open socket, frame by frame.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::{Sink, SinkExt};
use platform::clock;
use platform::crash::sabotaged;
use platform::frames::Cursor;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::super::held::Push;
use super::super::place::Bookmark;
use super::super::render::Told;
use super::super::work::Owed;
use super::Connection;

/// What the next thing to be written is.
enum Next {
    Text(String),
    /// It may not be written yet.
    HeldUp,
    Nothing,
}

impl Connection {
    /// Writes what is owed, as far as the connection takes it. Whether something has changed by that: more may be taken from the outbox as soon as nothing is owed, also when what was left of
    /// it needed no frame.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<bool, ()> {
        let owed = self.owed.len();
        let wrote = self.poll_frames(cx)?;
        Ok(wrote || self.owed.len() != owed)
    }

    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Result<bool, ()> {
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
                    let may = self.hub.may_push(&self.seat.held, said.peer);
                    if may == Push::NotYet {
                        return self.hold_up();
                    }
                    let text = ((may == Push::Yes) != said.apart).then(|| said.frame.to_string());
                    self.owed.pop_front();
                    if let Some(text) = text {
                        return Next::Text(text);
                    }
                }
                Owed::Marked(told) => {
                    let told = std::mem::replace(told, Told::nothing());
                    self.owed.pop_front();
                    return Next::Text(told.with_cursor(&self.cursor()));
                }
                Owed::Resumed(told) => {
                    let told = std::mem::replace(told, Told::nothing());
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
        let may = told.peer.map_or(Push::Yes, |peer| self.hub.may_push(&self.seat.held, peer));
        if may == Push::NotYet {
            return Some(self.hold_up());
        }
        let waited_before = position <= self.places.at(topic, partition);
        if waited_before {
            self.queue = Some(position);
            // As many as a log holds, from which they could come again.
            if self.shown.len() >= self.hub.inner.below.log.kept().entries {
                self.shown.pop_front();
            }
            self.shown.push_back(position);
        } else {
            self.places.raise(topic, partition, position);
        }
        let cursor = self.cursor();
        let Some(Owed::Waited(_, told)) = self.owed.pop_front() else { return None };
        if let (Push::No, Some(peer)) = (may, told.peer) {
            self.hub.hide(&self.seat.held, peer);
        }
        (may == Push::Yes && !self.is_deleted(&told)).then(|| Next::Text(told.with_cursor(&cursor)))
    }

    fn next_of_event(&mut self) -> Option<Next> {
        let Some(Owed::Event { item, next, again }) = self.owed.front_mut() else { return None };
        let (item, at, again) = (item.clone(), *next, *again);
        let told = item.told().and_then(|told| told.get(at));
        let peer = told.and_then(|told| told.peer);
        let may = peer.map_or(Push::Yes, |peer| self.hub.may_push(&self.seat.held, peer));
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
        if let (Push::No, Some(peer)) = (may, told.peer) {
            self.hub.hide(&self.seat.held, peer);
            return None;
        }
        if self.is_deleted(told) {
            return None;
        }
        if let Some(said) = &told.then {
            self.seat.held.is_here(said.peer);
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

    /// Whether its message is gone: what was read of it before must not leave.
    fn is_deleted(&self, told: &Told) -> bool {
        told.message.is_some_and(|message| self.seat.held.is_deleted(message))
    }

    /// Whether somebody is blocked is not known: Redis is away, or was.
    fn hold_up(&mut self) -> Next {
        self.seat.outbox.hold_up(true);
        self.hub.ask_for_blocks(&self.seat.held);
        Next::HeldUp
    }

    /// What the client has seen, once it has read what is being written.
    pub(super) fn cursor(&self) -> String {
        let places = self.following.as_deref().unwrap_or(&self.places).clone();
        let epoch = self.hub.inner.below.log.epoch().unwrap_or(0);
        Bookmark { cursor: Cursor { epoch, given: clock::now(), places }, queue: self.queue }.write()
    }
}
