//! What sockets brought: each by itself, and each that was resumed as the continuation of the one it was resumed from.
//!
//! A *line* is a socket together with what its cursor stood for. It begins where somebody connected without a cursor (or was reset, asked or unasked): what waited then, and
//! everything that was sent since, must be on it, in the order of each conversation, without a hole before anything that it brought.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::facts::{Asked, At, Facts, Message, Pair, pair};
use super::{Found, Rule};
use crate::faults::history::{Event, Frame, Person, Seen, SocketId};

/// What a socket says at most once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Thing {
    Message(Uuid),
    Sent(Uuid),
    Delivered(Uuid),
    Read(Uuid, bool),
    Deleted(Uuid),
}

#[derive(Debug)]
struct Line {
    person: Person,
    /// Since when there has been this connection.
    connected: At,
    /// Since when the line has been: asked for, and established.
    begun: At,
    established: At,
    /// What the cursor had seen.
    inherited: HashSet<Thing>,
    /// What it stood for before it was resumed, or reset, while it was open: cursors of those frames go on from there.
    earlier: Vec<Earlier>,
    /// After how many frames, what.
    brought: Vec<(usize, Thing)>,
    known: HashSet<Thing>,
    frames: usize,
    /// Said `resume`, and has no answer yet.
    asking: Option<Seen>,
    /// Was opened with a cursor, and is not told yet what becomes of it.
    opening: bool,
    /// The furthest place brought, per conversation.
    furthest: HashMap<Pair, usize>,
    /// Up to where nothing is missing, or was said to be.
    whole: HashMap<Pair, usize>,
    ended: bool,
}

/// A line up to the frame before an open socket's `resumed` or `resume_reset`.
#[derive(Debug)]
struct Earlier {
    frames: usize,
    begun: At,
    established: At,
    inherited: HashSet<Thing>,
}

pub(super) fn check(events: &[Event], facts: &Facts, found: &mut Found) {
    let mut lines: HashMap<SocketId, Line> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        match event {
            Event::Connects { socket, device, after, .. } => {
                let mut line = Line::new(device.person, at);
                line.opening = after.is_some();
                if let Some(seen) = after {
                    line.go_on_from(&lines[&seen.socket], *seen);
                }
                lines.insert(*socket, line);
            }
            Event::Resumes { socket, after } => lines.get_mut(socket).into_iter().for_each(|line| line.asking = Some(*after)),
            Event::Says(socket, Frame::Resumed) => {
                let Some(mut line) = lines.remove(socket) else { continue };
                line.frames += 1;
                line.opening = false;
                if let Some(seen) = line.asking.take() {
                    line.go_on_from(&lines[&seen.socket], seen);
                }
                lines.insert(*socket, line);
            }
            Event::Says(socket, frame) => {
                let Some(line) = lines.get_mut(socket) else { continue };
                let mut ear = Ear { facts, found, at, socket: *socket };
                match frame {
                    Frame::Reset => ear.reset(line, resumes_later(&events[at + 1..], *socket)),
                    _ => ear.hear(line, frame),
                }
            }
            Event::Ends(socket, _) => lines.get_mut(socket).into_iter().for_each(|line| line.ended = true),
            Event::Settled => {
                for (socket, line) in lines.iter_mut().filter(|(_, line)| !line.ended && line.asking.is_none() && line.frames > 0) {
                    Ear { facts, found, at, socket: *socket }.has_everything(line);
                }
            }
            _ => {}
        }
    }
}

/// Whether what a socket was asked is answered with `resumed` further on.
fn resumes_later(events: &[Event], socket: SocketId) -> bool {
    let until = events.iter().take_while(|event| !matches!(event, Event::Resumes { socket: this, .. } if *this == socket));
    until.into_iter().any(|event| matches!(event, Event::Says(this, Frame::Resumed) if *this == socket))
}

impl Line {
    fn new(person: Person, at: At) -> Self {
        Self {
            person,
            connected: at,
            begun: at,
            established: at,
            inherited: HashSet::new(),
            earlier: Vec::new(),
            brought: Vec::new(),
            known: HashSet::new(),
            frames: 0,
            asking: None,
            opening: false,
            furthest: HashMap::new(),
            whole: HashMap::new(),
            ended: false,
        }
    }

    /// What a cursor of this line stands for, and since when there has been that line.
    fn seen(&self, seen: Seen) -> (HashSet<Thing>, At, At) {
        let own = self.brought.iter().filter(|(frames, _)| *frames <= seen.frames).map(|(_, thing)| *thing);
        let earlier = self.earlier.iter().find(|earlier| seen.frames <= earlier.frames);
        let (inherited, begun, established) = earlier
            .map_or((&self.inherited, self.begun, self.established), |earlier| (&earlier.inherited, earlier.begun, earlier.established));
        (inherited.iter().copied().chain(own).collect(), begun, established)
    }

    fn go_on_from(&mut self, from: &Self, seen: Seen) {
        self.turns();
        (self.inherited, self.begun, self.established) = from.seen(seen);
        self.whole.clear();
    }

    /// From the frame that has just come on, it stands for something else.
    fn turns(&mut self) {
        if let Some(frames) = self.frames.checked_sub(1) {
            let (begun, established, inherited) = (self.begun, self.established, self.inherited.clone());
            self.earlier.push(Earlier { frames, begun, established, inherited });
        }
    }

    fn has(&self, thing: Thing) -> bool {
        self.known.contains(&thing) || self.inherited.contains(&thing)
    }
}

/// Hears a frame at a moment.
struct Ear<'a> {
    facts: &'a Facts,
    found: &'a mut Found,
    at: At,
    socket: SocketId,
}

impl Ear<'_> {
    fn hear(&mut self, line: &mut Line, frame: &Frame) {
        line.frames += 1;
        match frame {
            // Of a line of its own: what is sent from now on has to come. One that goes on has begun before.
            Frame::Established if line.begun == line.connected => line.established = self.at,
            Frame::Message { id, from, to, content } => {
                let is_theirs = self.message(line, *id, [*from, *to], content);
                if is_theirs {
                    self.once(line, Thing::Message(*id));
                    self.in_order(line, *id);
                }
            }
            Frame::Sent(id) => {
                let is_theirs = self.of(line, *id, |message, person| message.from == person, |message| message.sent);
                if is_theirs {
                    self.once(line, Thing::Sent(*id));
                    self.in_order(line, *id);
                }
            }
            Frame::Delivered { id, by } => {
                self.receipt(line, *id, *by, Thing::Delivered(*id), |message| {
                    if message.acknowledged.asked.is_some() { message.acknowledged } else { message.read }
                });
            }
            Frame::Read { id, by, up_to } => self.receipt(line, *id, *by, Thing::Read(*id, *up_to), |message| message.read),
            Frame::Deleted(id) => {
                let is_theirs =
                    self.of(line, *id, |message, person| [message.from, message.to].contains(&person), |message| message.deleted);
                if is_theirs {
                    self.once(line, Thing::Deleted(*id));
                }
            }
            _ => {}
        }
    }

    /// The client has what was before from lists. What still waits has to come, unless it came; what comes later as well. Unasked, it answers nothing.
    fn reset(&mut self, line: &mut Line, unasked: bool) {
        line.frames += 1;
        line.turns();
        if std::mem::take(&mut line.opening) {
            line.inherited.clear();
            line.begun = line.connected;
        } else {
            line.asking.take_if(|_| !unasked);
            line.begun = self.at;
        }
        line.established = self.at;
        line.whole.clear();
    }

    fn says(&mut self, rule: Rule, text: &str) {
        self.found.add(rule, format!("event {}: s{} {text}", self.at + 1, self.socket));
    }

    /// Whether it is somebody's message in the way that it should be, and was asked for before.
    fn of(&mut self, line: &Line, id: Uuid, concerns: impl Fn(&Message, Person) -> bool, asked: impl Fn(&Message) -> Asked) -> bool {
        let Some(message) = self.facts.messages.get(&id) else {
            self.says(Rule::NothingIsInvented, &format!("speaks of {id}, which nobody sent"));
            return false;
        };
        if !concerns(message, line.person) {
            self.says(Rule::NothingGoesAstray, &format!("of p{} speaks of {id} of p{} to p{}", line.person, message.from, message.to));
            return false;
        }
        if !asked(message).may_be_before(self.at) {
            self.says(Rule::NothingIsInvented, &format!("tells of {id} what was not asked for yet, or refused"));
            return false;
        }
        true
    }

    fn message(&mut self, line: &Line, id: Uuid, [from, to]: [Uuid; 2], content: &str) -> bool {
        if !self.of(line, id, |message, person| message.to == person, |message| message.sent) {
            return false;
        }
        let message = &self.facts.messages[&id];
        if [from, to].map(|id| self.facts.people.get(&id).copied()) != [Some(message.from), Some(message.to)] || content != message.content
        {
            self.says(Rule::NothingIsInvented, &format!("brings {id} otherwise than it was sent: from {from} to {to}, {content:?}"));
        }
        if self.facts.told_deleted.get(&id).is_some_and(|told| *told < line.connected) {
            self.says(Rule::DeletedIsGone, &format!("brings {id}, which was told to be deleted before it connected"));
        }
        true
    }

    fn receipt(&mut self, line: &mut Line, id: Uuid, by: Uuid, thing: Thing, asked: impl Fn(&Message) -> Asked) {
        if self.of(line, id, |message, person| message.from == person, asked) {
            if self.facts.people.get(&by) != Some(&self.facts.messages[&id].to) {
                self.says(Rule::NothingIsInvented, &format!("brings a receipt of {id} by somebody else"));
            }
            self.once(line, thing);
        }
    }

    fn once(&mut self, line: &mut Line, thing: Thing) {
        let id = match thing {
            Thing::Message(id) | Thing::Sent(id) | Thing::Delivered(id) | Thing::Read(id, _) | Thing::Deleted(id) => id,
        };
        let live = self.facts.messages[&id].sent.asked.is_some_and(|asked| asked > line.established);
        if !line.known.insert(thing) {
            self.says(Rule::NothingTwice, &format!("says {thing:?} twice"));
        } else if live && line.inherited.contains(&thing) {
            self.says(Rule::NothingTwice, &format!("says {thing:?}, which its cursor had seen"));
        }
        line.brought.push((line.frames, thing));
    }

    /// It is behind everything that came of its conversation, and everything before it has come.
    fn in_order(&mut self, line: &mut Line, id: Uuid) {
        let message = &self.facts.messages[&id];
        let conversation = pair(message.from, message.to);
        let Some(place) = message.place else {
            if message.deleted.asked.is_none() && self.facts.conversations.contains_key(&conversation) {
                self.says(Rule::NothingIsLost, &format!("brings {id}, which stands in no conversation"));
            }
            return;
        };
        let before = line.furthest.get(&conversation).copied();
        line.furthest.insert(conversation, before.map_or(place, |before| before.max(place)));
        if line.asking.is_some() {
            return;
        }
        if before.is_some_and(|before| before > place) {
            self.says(Rule::InOrder, &format!("brings {id} behind what comes after it"));
        } else {
            self.nothing_is_missing(line, conversation, place);
        }
    }

    fn nothing_is_missing(&mut self, line: &mut Line, conversation: Pair, until: usize) {
        let begin = line.whole.insert(conversation, until).unwrap_or(0);
        let all = &self.facts.conversations[&conversation];
        for id in all.get(begin..until).unwrap_or_default() {
            let message = &self.facts.messages[id];
            if message.to != line.person || line.has(Thing::Message(*id)) || self.may_be_left_out(line, message) {
                continue;
            }
            let next = all.get(until).map_or_else(|| "the end".to_owned(), Uuid::to_string);
            self.says(Rule::NoGaps, &format!("of p{} leaves {id} out, and goes on to {next}", line.person));
        }
    }

    /// Somebody has taken it from the queue, and it was no news: it was sent before the line began, or Redis forgot it and could only be told of what waits.
    fn may_be_left_out(&self, line: &Line, message: &Message) -> bool {
        let news = message.sent.asked.is_some_and(|asked| asked > line.established);
        message.taken_before(self.at) && (!news || self.facts.forgot_between(line.begun, self.at))
    }

    fn has_everything(&mut self, line: &mut Line) {
        let person = line.person;
        for (conversation, messages) in self.facts.conversations.iter().filter(|(of, _)| of.0 == person || of.1 == person) {
            self.nothing_is_missing(line, *conversation, messages.len());
        }
        // Receipts stand in the log alone: nothing can tell them again when Redis has forgotten them.
        if self.facts.forgot_between(line.begun, self.at) {
            return;
        }
        for (id, message) in self.facts.messages.iter().filter(|(_, message)| message.from == line.person && message.place.is_some()) {
            let since =
                |asked: Asked| asked.done.is_some_and(|done| done < self.at) && asked.asked.is_some_and(|asked| asked > line.established);
            let delivered = since(message.acknowledged) && message.read.asked.is_none();
            let read = since(message.read) && message.read_up_to.asked.is_none();
            let missing = [(since(message.sent), Thing::Sent(*id)), (delivered, Thing::Delivered(*id)), (read, Thing::Read(*id, false))];
            for (_, thing) in missing.into_iter().filter(|(due, thing)| *due && !line.has(*thing)) {
                self.found
                    .add(Rule::TicksArrive, format!("by event {}: s{} of p{} never says {thing:?}", self.at + 1, self.socket, line.person));
            }
        }
    }
}
