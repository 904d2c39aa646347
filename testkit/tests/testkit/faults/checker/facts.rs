//! What a history says of each message, and of each conversation in the end.

use std::collections::HashMap;

use uuid::Uuid;

use crate::faults::history::{Call, CallId, Event, Frame, Outcome, Person};

/// When something happened: its place in the history.
pub(super) type At = usize;

/// When it was first asked for in a way that may have succeeded, and when it was first known to be done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub asked: Option<At>,
    pub done: Option<At>,
}

impl Asked {
    /// Whether it may have been done before this moment.
    pub fn may_be_before(&self, now: At) -> bool {
        self.asked.is_some_and(|asked| asked < now)
    }

    fn may(&mut self, at: At) {
        self.asked = Some(self.asked.map_or(at, |before| before.min(at)));
    }

    fn did(&mut self, at: At) {
        self.done = Some(self.done.map_or(at, |before| before.min(at)));
    }

    fn and(&mut self, other: Self) {
        other.asked.into_iter().for_each(|at| self.may(at));
        other.done.into_iter().for_each(|at| self.did(at));
    }
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    pub from: Person,
    pub to: Person,
    pub content: String,
    pub sent: Asked,
    pub acknowledged: Asked,
    /// By itself, or by a message behind it.
    pub read: Asked,
    /// By a message behind it.
    pub read_up_to: Asked,
    pub deleted: Asked,
    /// Its place in its conversation in the end, if it has one.
    pub place: Option<usize>,
}

impl Message {
    /// When it was first asked to be taken from the queue.
    pub fn taken_before(&self, now: At) -> bool {
        self.acknowledged.may_be_before(now) || self.read.may_be_before(now)
    }
}

/// Two people, the lower number first.
pub(super) type Pair = (Person, Person);

pub(super) fn pair(one: Person, other: Person) -> Pair {
    (one.min(other), one.max(other))
}

#[derive(Debug, Default)]
pub(super) struct Facts {
    pub people: HashMap<Uuid, Person>,
    pub messages: HashMap<Uuid, Message>,
    /// Of each conversation, as the first of the two is shown it in the end.
    pub conversations: HashMap<Pair, Vec<Uuid>>,
    /// When somebody was first told that a message was deleted: from then on it is in no list.
    pub told_deleted: HashMap<Uuid, At>,
    /// When Redis may have forgotten what it knew.
    pub forgot: Vec<At>,
}

impl Facts {
    pub fn of(events: &[Event]) -> Self {
        let mut facts = Self::default();
        let mut outcomes: HashMap<CallId, (At, &Outcome)> = HashMap::new();
        for (at, event) in events.iter().enumerate() {
            match event {
                Event::Is(person, id) => drop(facts.people.insert(*id, *person)),
                Event::Returns(call, outcome) => drop(outcomes.insert(*call, (at, outcome))),
                Event::Says(_, Frame::Deleted(id)) => {
                    facts.told_deleted.entry(*id).or_insert(at);
                }
                Event::Suffers { forgets: true, .. } => facts.forgot.push(at),
                Event::Shows(person, shown) => {
                    for (with, messages) in &shown.conversations {
                        let all = messages.iter().map(|(id, _)| *id).collect();
                        facts.conversations.entry(pair(*person, *with)).or_insert(all);
                    }
                }
                _ => {}
            }
        }
        let calls = events.iter().enumerate().filter_map(|(at, event)| match event {
            Event::Calls(number, device, call) => Some((at, number, device.person, call)),
            _ => None,
        });
        let mut read_up_to = Vec::new();
        for (at, number, person, call) in calls {
            let outcome = outcomes.get(number);
            let asked = match outcome {
                Some((_, Outcome::Failed(_))) => Asked::default(),
                Some((done, Outcome::Ok)) => Asked { asked: Some(at), done: Some(*done) },
                Some((_, Outcome::Unknown(_))) | None => Asked { asked: Some(at), done: None },
            };
            match call {
                Call::Send { id, to, content } => {
                    let message = facts.messages.entry(*id).or_insert_with(|| Message::new(person, *to, content));
                    message.sent.and(asked);
                }
                Call::Acknowledge(id) => facts.of_message(*id, |message| message.acknowledged.and(asked)),
                Call::Read(id) => facts.of_message(*id, |message| message.read.and(asked)),
                Call::Delete(id) => facts.of_message(*id, |message| message.deleted.and(asked)),
                Call::ReadUpTo { with, id } => {
                    facts.of_message(*id, |message| {
                        if (message.from, message.to) == (*with, person) {
                            message.read.and(asked);
                            message.read_up_to.and(asked);
                        }
                    });
                    read_up_to.push((person, *with, *id, asked));
                }
            }
        }
        for (conversation, messages) in facts.conversations.clone() {
            for (place, id) in messages.iter().enumerate() {
                facts.of_message(*id, |message| message.place = Some(place));
            }
            for (reader, with, up_to, asked) in read_up_to.iter().filter(|(reader, with, ..)| pair(*reader, *with) == conversation) {
                facts.read_up_to(&messages, *reader, *with, *up_to, *asked);
            }
        }
        facts
    }

    fn of_message(&mut self, id: Uuid, change: impl FnOnce(&mut Message)) {
        if let Some(message) = self.messages.get_mut(&id) {
            change(message);
        }
    }

    fn read_up_to(&mut self, messages: &[Uuid], reader: Person, with: Person, up_to: Uuid, asked: Asked) {
        // A message that was deleted since has no place any more: it is known that everything up to it may have been read, not what that was.
        let place = self.messages.get(&up_to).and_then(|message| message.place);
        let (behind, certain) = match place {
            Some(place) => (place + 1, asked),
            None => (messages.len(), Asked { done: None, ..asked }),
        };
        for id in &messages[..behind] {
            self.of_message(*id, |message| {
                if (message.from, message.to) == (with, reader) {
                    message.read.and(certain);
                    message.read_up_to.and(certain);
                }
            });
        }
    }

    /// Whether Redis may have forgotten something between two moments.
    pub fn forgot_between(&self, from: At, to: At) -> bool {
        self.forgot.iter().any(|at| (from..=to).contains(at))
    }
}

impl Message {
    fn new(from: Person, to: Person, content: &str) -> Self {
        Self {
            from,
            to,
            content: content.to_owned(),
            sent: Asked::default(),
            acknowledged: Asked::default(),
            read: Asked::default(),
            read_up_to: Asked::default(),
            deleted: Asked::default(),
            place: None,
        }
    }
}
