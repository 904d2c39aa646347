//! People who write to each other while things break, and a check of what they were promised.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::person::Person;
use crate::system::System;

/// How many wrong answers one pair collects before it gives up.
const WRONG_AT_MOST: usize = 20;

/// A message with a 2xx.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Its id.
    pub id: Uuid,
    /// Who wrote it: the first of the pair, or the second.
    pub by_first: bool,
    /// Whether its recipient's acknowledgement got a 2xx.
    pub acknowledged: bool,
}

/// What one pair was promised.
#[derive(Debug, Default)]
pub struct Promises {
    /// In the order of sending: each send began after the 2xx of the one before.
    pub sent: Vec<Sent>,
    /// Answers that were neither 2xx nor 429 nor 503, which is the only refusal that a broken dependency may cause; and lists that showed what was acknowledged.
    pub wrong: Vec<String>,
}

/// What is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledging {
    /// About every third message.
    EveryThird,
    /// Nothing, so that every event is a message, and none can be missing unnoticed.
    Nothing,
}

/// A running load: pairs whose members write in turn (each message again and again, under its id, until it gets a 2xx, and every fifth once more after that) and
/// acknowledge about every third.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    promised: Arc<AtomicUsize>,
    pairs: Vec<(Person, Person, JoinHandle<Promises>)>,
}

impl Load {
    /// Registers `pairs` pairs and lets them begin.
    pub async fn begin(system: &System, pairs: usize) -> Self {
        Self::between(system, system, pairs, Acknowledging::EveryThird).await
    }

    /// The first of every pair talks to one process, the second to another.
    pub async fn between(one: &System, other: &System, pairs: usize, acknowledging: Acknowledging) -> Self {
        let (stop, promised) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut running = Vec::new();
        for _ in 0..pairs {
            let (ann, bob) = (Person::register(one, "ann").await, Person::register(other, "bob").await);
            let pair =
                Pair { first: ann.clone(), second: bob.clone(), acknowledging, promised: promised.clone(), promises: Promises::default() };
            running.push((ann, bob, tokio::spawn(pair.write(stop.clone()))));
        }
        Self { stop, promised, pairs: running }
    }

    /// How many messages got a 2xx so far.
    #[must_use]
    pub fn promised(&self) -> usize {
        self.promised.load(Ordering::Relaxed)
    }

    /// Waits until `more` messages have got their 2xx from now on.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub async fn goes_on(&self, more: usize) {
        let goal = self.promised() + more;
        crate::wait_until(("the load goes on", more), Duration::from_secs(60), async || (self.promised() >= goal).then_some(())).await;
    }

    /// Waits until so many messages stand in histories.
    ///
    /// # Panics
    /// When they do not within a minute.
    pub async fn arrives(&self, messages: usize) {
        let wanted = ("messages arrive", messages);
        crate::wait_until(wanted, Duration::from_secs(60), async || {
            let shown = join_all(self.pairs.iter().map(|(first, second, _)| first.conversation(second.id))).await;
            (shown.iter().map(Vec::len).sum::<usize>() >= messages).then_some(())
        })
        .await;
    }

    /// Ends the writing (everybody gets the 2xx they are waiting for first) and returns who was promised what.
    ///
    /// # Panics
    /// When a writer did.
    pub async fn end(self) -> Vec<(Person, Person, Promises)> {
        self.stop.store(true, Ordering::Relaxed);
        join_all(self.pairs.into_iter().map(async |(ann, bob, task)| (ann, bob, task.await.expect("a writer does not panic")))).await
    }
}

struct Pair {
    first: Person,
    second: Person,
    acknowledging: Acknowledging,
    promised: Arc<AtomicUsize>,
    promises: Promises,
}

impl Pair {
    async fn write(mut self, stop: Arc<AtomicBool>) -> Promises {
        let mut n = 0_u64;
        while !stop.load(Ordering::Relaxed) && self.promises.wrong.len() <= WRONG_AT_MOST {
            let by_first = n % 4 != 3;
            let (writer, reader) = if by_first { (&self.first, &self.second) } else { (&self.second, &self.first) };
            let id = Uuid::now_v7();
            let path = if n.is_multiple_of(2) { "/api/v1/messages/send" } else { "/api/v1/relay/send" };
            let body = Person::message(reader.id, id, &format!("message {n}"));
            let wrong = &mut self.promises.wrong;
            insist(writer, Method::POST, path, &body, wrong).await;
            self.promised.fetch_add(1, Ordering::Relaxed);
            if n % 5 == 4 {
                insist(writer, Method::POST, path, &body, wrong).await;
            }
            let acknowledged = self.acknowledging == Acknowledging::EveryThird && n % 3 == 2;
            if acknowledged {
                insist(reader, Method::POST, "/api/v1/relay/acknowledge", &json!({"message_id": id}), wrong).await;
                if waits(reader, id).await {
                    wrong.push(format!("{id} was acknowledged, and still waits right afterwards"));
                }
            }
            self.promises.sent.push(Sent { id, by_first, acknowledged });
            n += 1;
        }
        self.promises
    }
}

/// Asks until a 2xx comes; whatever is neither that nor a 429 nor a 503 nor a broken connection is noted as wrong.
async fn insist(who: &Person, method: Method, path: &str, body: &serde_json::Value, wrong: &mut Vec<String>) {
    loop {
        match who.ask(method.clone(), path, Some(body.clone())).await {
            Ok(answer) if answer.status.is_success() => return,
            Ok(answer) if matches!(answer.status.as_u16(), 429 | 503) => {}
            Ok(answer) => {
                wrong.push(format!("{method} {path}: {} {}", answer.status, answer.text));
                if wrong.len() > WRONG_AT_MOST {
                    return;
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Whether a list that says nothing of being behind shows the message as waiting.
async fn waits(who: &Person, id: Uuid) -> bool {
    let Ok(answer) = who.ask(Method::GET, "/api/v1/relay/pending", None).await else { return false };
    answer.status == 200 && !answer.headers.contains_key("x-projection-behind") && answer.text.contains(&id.to_string())
}

/// What both of a pair see.
struct Seen {
    histories: [Vec<Uuid>; 2],
    pending: [Vec<Uuid>; 2],
}

impl Seen {
    async fn of(first: &Person, second: &Person) -> Self {
        Self {
            histories: [first.conversation(second.id).await, second.conversation(first.id).await],
            pending: [first.pending().await, second.pending().await],
        }
    }

    fn broken(&self, promises: &Promises) -> Vec<String> {
        let mut found = Vec::new();
        for (who, of_first) in [("the first", true), ("the second", false)] {
            let at = usize::from(!of_first);
            check_history(who, &self.histories[at], promises, &mut found);
            check_pending(who, &self.pending[at], promises.sent.iter().filter(|sent| sent.by_first != of_first), &mut found);
        }
        found
    }
}

/// Compares promises with what the system shows, and returns every broken one in words. Waits (20 s at most) for projections to catch up first.
pub async fn violations(all: &[(Person, Person, Promises)]) -> Vec<String> {
    violations_within(Duration::from_secs(20), all).await
}

/// As [`violations`], for those who expect some.
pub async fn violations_within(patience: Duration, all: &[(Person, Person, Promises)]) -> Vec<String> {
    // Missing messages may be on their way: all pairs together get a bounded time, and are then looked at once and for all.
    let begin = Instant::now();
    let mut found = Vec::new();
    for (first, second, promises) in all {
        found.extend(promises.wrong.iter().cloned());
        let broken = loop {
            let broken = Seen::of(first, second).await.broken(promises);
            if broken.is_empty() || begin.elapsed() > patience {
                break broken;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        found.extend(broken);
    }
    found
}

fn check_history(who: &str, history: &[Uuid], promises: &Promises, found: &mut Vec<String>) {
    let mut places: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for (place, id) in history.iter().enumerate() {
        places.entry(*id).or_default().push(place);
    }
    for sent in &promises.sent {
        match places.get(&sent.id).map_or(0, Vec::len) {
            1 => {}
            n => found.push(format!("{} got a 2xx and stands {n} times in the history of {who}", sent.id)),
        }
    }
    let known: BTreeSet<Uuid> = promises.sent.iter().map(|sent| sent.id).collect();
    found.extend(history.iter().filter(|id| !known.contains(id)).map(|id| format!("{id} in the history of {who} was never sent")));
    // A send begun after another's 2xx comes later, whoever of the two sends.
    let order: Vec<usize> = promises.sent.iter().filter_map(|sent| places.get(&sent.id)?.first().copied()).collect();
    if order.windows(2).any(|w| w[0] > w[1]) {
        found.push(format!("the history of {who} is not in the order of sending"));
    }
}

fn check_pending<'a>(who: &str, pending: &[Uuid], sent: impl Iterator<Item = &'a Sent>, found: &mut Vec<String>) {
    let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
    for id in pending {
        *counts.entry(*id).or_default() += 1;
    }
    for Sent { id, acknowledged, .. } in sent {
        match (counts.remove(id).unwrap_or(0), acknowledged) {
            (1, false) | (0, true) => {}
            (0, false) => found.push(format!("{id} got a 2xx, was not acknowledged, and does not wait for {who}")),
            (_, true) => found.push(format!("{id} was acknowledged and waits again for {who}")),
            (n, false) => found.push(format!("{id} waits {n} times for {who}")),
        }
    }
    found.extend(counts.keys().map(|id| format!("{id} waits for {who} and was never sent to them")));
}

#[cfg(test)]
mod tests {
    use super::{Promises, Seen, Sent, Uuid};

    fn ids() -> [Uuid; 3] {
        [1, 2, 3].map(Uuid::from_u128)
    }

    fn promises() -> Promises {
        let [a, b, c] = ids();
        let sent = [(a, true, false), (b, false, false), (c, true, true)];
        Promises { sent: sent.map(|(id, by_first, acknowledged)| Sent { id, by_first, acknowledged }).into(), wrong: Vec::new() }
    }

    fn broken(histories: [&[Uuid]; 2], pending: [&[Uuid]; 2]) -> usize {
        Seen { histories: histories.map(<[Uuid]>::to_vec), pending: pending.map(<[Uuid]>::to_vec) }.broken(&promises()).len()
    }

    #[test]
    fn every_kind_of_broken_promise_is_found() {
        let [a, b, c] = ids();
        let whole: &[Uuid] = &[a, b, c];
        assert_eq!(broken([whole, whole], [&[b], &[a]]), 0);
        assert_eq!(broken([&[a, c], whole], [&[b], &[a]]), 1, "missing");
        assert_eq!(broken([whole, &[a, b, b, c]], [&[b], &[a]]), 1, "doubled");
        assert_eq!(broken([whole, &[b, a, c]], [&[b], &[a]]), 1, "out of order");
        assert_eq!(broken([whole, &[a, b, c, Uuid::nil()]], [&[b], &[a]]), 1, "never sent");
        assert_eq!(broken([whole, whole], [&[], &[a]]), 1, "not waiting");
        assert_eq!(broken([whole, whole], [&[b], &[a, a]]), 1, "waiting twice");
        assert_eq!(broken([whole, whole], [&[b], &[a, c]]), 1, "acknowledged, and back");
        assert_eq!(broken([whole, whole], [&[b, a], &[a]]), 1, "waiting for its own sender");
    }
}
