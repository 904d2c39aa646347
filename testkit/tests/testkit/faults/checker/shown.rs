//! What people are shown in the end: conversations, queues, inboxes.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::facts::{Facts, pair};
use super::{Found, Rule};
use crate::faults::history::{Event, Person, Shown};

pub(super) fn check(events: &[Event], facts: &Facts, found: &mut Found) {
    let shows: Vec<(Person, &Shown)> = events
        .iter()
        .filter_map(|event| match event {
            Event::Shows(person, shown) => Some((*person, shown)),
            _ => None,
        })
        .collect();
    for (person, shown) in &shows {
        for (with, messages) in &shown.conversations {
            conversation(*person, *with, messages, facts, found);
            let unread = messages.iter().filter(|(id, read)| !read && facts.messages.get(id).is_some_and(|m| m.to == *person)).count();
            let counted = shown.unread.iter().find(|(peer, _)| peer == with).map_or(0, |(_, count)| *count);
            if i64::try_from(unread).ok() != Some(counted) {
                found.add(
                    Rule::UnreadIsRight,
                    format!("the inbox of p{person} counts {counted} unread of p{with}; the conversation shows {unread}"),
                );
            }
        }
        queue(*person, &shown.pending, facts, found);
    }
    let people: HashSet<Person> = shows.iter().map(|(person, _)| *person).collect();
    for (id, message) in &facts.messages {
        let looked_at = people.contains(&message.from) && people.contains(&message.to);
        if looked_at && message.place.is_none() && message.sent.done.is_some() && message.deleted.asked.is_none() {
            found.add(Rule::NothingIsLost, format!("{id} was acknowledged to p{} and stands in no conversation", message.from));
        }
        if message.place.is_some() && message.deleted.done.is_some() {
            found.add(Rule::DeletedIsGone, format!("{id} was deleted, and stands in the conversation"));
        }
    }
}

fn conversation(person: Person, with: Person, messages: &[(Uuid, bool)], facts: &Facts, found: &mut Found) {
    let ids: Vec<Uuid> = messages.iter().map(|(id, _)| *id).collect();
    if facts.conversations.get(&pair(person, with)) != Some(&ids) {
        found.add(Rule::NothingIsLost, format!("p{person} and p{with} are shown different conversations"));
    }
    let mut seen = HashSet::new();
    for (id, read) in messages {
        if !seen.insert(id) {
            found.add(Rule::NothingTwice, format!("{id} stands twice in the conversation of p{person} with p{with}"));
        }
        let Some(message) = facts.messages.get(id).filter(|message| message.sent.asked.is_some()) else {
            found.add(Rule::NothingIsInvented, format!("{id} in the conversation of p{person} with p{with} was never sent, or refused"));
            continue;
        };
        if pair(message.from, message.to) != pair(person, with) {
            found.add(Rule::NothingGoesAstray, format!("{id} of p{} to p{} stands in another conversation", message.from, message.to));
        }
        if !read && message.read.done.is_some() {
            found.add(Rule::UnreadIsRight, format!("{id} was read by p{}, and is shown as unread", message.to));
        }
        if *read && message.read.asked.is_none() {
            found.add(Rule::UnreadIsRight, format!("{id} was never read by p{}, and is shown as read", message.to));
        }
    }
}

/// What waits is exactly what was sent to somebody and not taken; per conversation in its order.
fn queue(person: Person, pending: &[Uuid], facts: &Facts, found: &mut Found) {
    let mut waiting = HashSet::new();
    let mut last: HashMap<Person, usize> = HashMap::new();
    for id in pending {
        if !waiting.insert(*id) {
            found.add(Rule::NothingTwice, format!("{id} waits twice for p{person}"));
        }
        match facts.messages.get(id) {
            Some(message) if message.to != person => {
                found.add(Rule::NothingGoesAstray, format!("{id} waits for p{person}, not for p{}", message.to))
            }
            Some(message) if message.sent.asked.is_some() => {
                if message.acknowledged.done.is_some() || message.read.done.is_some() {
                    found.add(Rule::NothingIsLost, format!("{id} was taken from the queue of p{person}, and waits again"));
                }
                if let Some(place) = message.place {
                    if last.insert(message.from, place).is_some_and(|before| before > place) {
                        found.add(Rule::InOrder, format!("{id} waits for p{person} behind what came after it"));
                    }
                } else {
                    found.add(Rule::DeletedIsGone, format!("{id} waits for p{person}, and stands in no conversation"));
                }
            }
            _ => found.add(Rule::NothingIsInvented, format!("{id} waits for p{person}, and was never sent")),
        }
    }
    for (id, message) in facts.messages.iter().filter(|(_, message)| message.to == person && message.place.is_some()) {
        if !waiting.contains(id) && !message.taken_before(usize::MAX) {
            found.add(Rule::NothingIsLost, format!("{id} was never taken from the queue of p{person}, and does not wait"));
        }
    }
}
