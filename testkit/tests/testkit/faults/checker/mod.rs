//! The promises, held against a history. Knows nothing of servers: a history may be written by hand.

mod facts;
mod shown;
mod sockets;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;

use super::history::{Call, Event, Outcome};
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
    answers(events, &facts, &mut found);
    shown::check(events, &facts, &mut found);
    sockets::check(events, &facts, &mut found);
    found.0
}

/// What clients found wrong themselves, and refusals that have no reason.
fn answers(events: &[Event], facts: &Facts, found: &mut Found) {
    let mut calls = HashMap::new();
    for event in events {
        match event {
            Event::Wrong(text) => found.add(Rule::Answers, text.clone()),
            Event::Calls(number, _, call) => drop(calls.insert(*number, call)),
            Event::Returns(number, Outcome::Failed(why)) if why.starts_with("404") => {
                let Some(Call::Acknowledge(id) | Call::Read(id) | Call::ReadUpTo { id, .. } | Call::Delete(id)) = calls.get(number) else {
                    found.add(Rule::Answers, format!("c{number}: 404 for a person"));
                    continue;
                };
                if facts.messages.get(id).is_none_or(|message| message.deleted.asked.is_none()) {
                    found.add(Rule::Answers, format!("c{number}: 404 for {id}, which nobody deleted"));
                }
            }
            _ => {}
        }
    }
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, rule: Rule, text: String) {
        self.0.push(Violation { rule, text });
    }
}
