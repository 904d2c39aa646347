//! The promises, held against a history. Knows nothing of servers: a history may be written by hand.

mod facts;
mod shown;
mod sockets;
#[cfg(test)]
mod tests;

use std::fmt;

use super::history::Event;
use facts::Facts;

/// What was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// What got a 2xx (or `message_sent`) stands in the conversation of both, and waits until it is taken.
    NothingIsLost,
    /// Nobody is shown or told what was never asked for, or was refused for good.
    NothingIsInvented,
    /// What belongs to one is shown to nobody else.
    NothingGoesAstray,
    /// Frames of a conversation arrive in its order.
    InOrder,
    /// What arrives leaves nothing out: from what waited at the first connect on, and over every resume.
    NoGaps,
    /// A socket says a thing once, and a resumed one nothing that its cursor has seen.
    NothingTwice,
    /// What is counted as unread is what was not read.
    UnreadIsRight,
    /// What was deleted is not told to who connects afterwards.
    DeletedIsGone,
    /// Receipts of what was acknowledged and read reach the author's open sockets.
    TicksArrive,
    /// Answers and ends of connections are those that the contract knows.
    Answers,
}

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// How.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.text)
    }
}

/// Every promise that a history breaks.
pub fn violations(events: &[Event]) -> Vec<Violation> {
    let mut found = Found::default();
    let facts = Facts::of(events);
    for event in events {
        if let Event::Wrong(text) = event {
            found.add(Rule::Answers, text.clone());
        }
    }
    shown::check(events, &facts, &mut found);
    sockets::check(events, &facts, &mut found);
    found.0
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: Rule, text: String) {
        self.0.push(Violation { rule, text });
    }
}
