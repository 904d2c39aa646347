//! People who write to each other while things break, and a check of what they were promised.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::person::Person;
use crate::system::System;

/// What one pair was promised.
#[derive(Debug, Default)]
pub struct Promises {
    /// Messages with a 2xx: when their first attempt began and when their 2xx came.
    pub sent: Vec<(Uuid, Instant, Instant)>,
    /// Those whose acknowledgement got a 2xx.
    pub acknowledged: Vec<Uuid>,
    /// Answers that were neither 2xx nor 503, which is the only refusal that a broken dependency may cause.
    pub wrong: Vec<String>,
}

/// A running load: pairs in which one writes (each message again and again, under its id, until it gets a 2xx) and the other acknowledges about every third.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    pairs: Vec<(Person, Person, JoinHandle<Promises>)>,
}

impl Load {
    /// Registers `pairs` pairs and lets them begin.
    pub async fn begin(system: &System, pairs: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut running = Vec::new();
        for _ in 0..pairs {
            let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
            let task = tokio::spawn(write(ann.clone(), bob.clone(), stop.clone()));
            running.push((ann, bob, task));
        }
        Self { stop, pairs: running }
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

async fn write(ann: Person, bob: Person, stop: Arc<AtomicBool>) -> Promises {
    let mut promises = Promises::default();
    let mut n = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        let id = Uuid::now_v7();
        let path = if n.is_multiple_of(2) { "/api/v1/messages/send" } else { "/api/v1/relay/send" };
        let begun = Instant::now();
        insist(&ann, Method::POST, path, &Person::message(bob.id, id, &format!("message {n}")), &mut promises.wrong).await;
        promises.sent.push((id, begun, Instant::now()));
        if n % 3 == 2 {
            insist(&bob, Method::POST, "/api/v1/relay/acknowledge", &json!({"message_id": id}), &mut promises.wrong).await;
            promises.acknowledged.push(id);
        }
        n += 1;
    }
    promises
}

/// Asks until a 2xx comes; whatever is neither that nor a 503 nor a broken connection is noted as wrong.
async fn insist(who: &Person, method: Method, path: &str, body: &serde_json::Value, wrong: &mut Vec<String>) {
    loop {
        match who.ask(method.clone(), path, Some(body.clone())).await {
            Ok(answer) if answer.status.is_success() => return,
            Ok(answer) if answer.status == 503 => {}
            Ok(answer) => {
                wrong.push(format!("{method} {path}: {} {}", answer.status, answer.text));
                if wrong.len() > 20 {
                    return;
                }
            }
            Err(_) => {}
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Compares promises with what the system shows, and returns every broken one in words. Waits (bounded) for projections to catch up first.
pub async fn violations(all: &[(Person, Person, Promises)]) -> Vec<String> {
    let mut found = Vec::new();
    for (ann, bob, promises) in all {
        found.extend(promises.wrong.iter().cloned());
        let last = promises.sent.last().map(|(id, ..)| *id);
        // Missing messages may be on their way: give the projections a bounded time, then look once and for all.
        let begin = Instant::now();
        while last.is_some() && begin.elapsed() < Duration::from_secs(20) {
            let (history, pending) = (bob.conversation(ann.id).await, bob.pending().await);
            let settled =
                promises.sent.iter().all(|(id, ..)| history.contains(id) && (pending.contains(id) || promises.acknowledged.contains(id)));
            if settled {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (side, history) in [("the sender", ann.conversation(bob.id).await), ("the recipient", bob.conversation(ann.id).await)] {
            found.extend(check_history(side, &history, promises));
        }
        found.extend(check_pending(&bob.pending().await, promises));
    }
    found
}

fn check_history(side: &str, history: &[Uuid], promises: &Promises) -> Vec<String> {
    let mut found = Vec::new();
    let mut places: HashMap<Uuid, Vec<usize>> = HashMap::new();
    for (place, id) in history.iter().enumerate() {
        places.entry(*id).or_default().push(place);
    }
    for (id, ..) in &promises.sent {
        match places.get(id).map_or(0, Vec::len) {
            1 => {}
            n => found.push(format!("{id} got a 2xx and stands {n} times in the history of {side}")),
        }
    }
    // A send begun after another's 2xx comes later. One writer sends one after the other, so that the order of `sent` is the order of promises.
    let order: Vec<usize> = promises.sent.iter().filter_map(|(id, ..)| places.get(id)?.first().copied()).collect();
    if order.windows(2).any(|w| w[0] > w[1]) {
        found.push(format!("the history of {side} is not in the order of sending"));
    }
    found
}

fn check_pending(pending: &[Uuid], promises: &Promises) -> Vec<String> {
    let mut found = Vec::new();
    let mut counts: BTreeMap<Uuid, usize> = BTreeMap::new();
    for id in pending {
        *counts.entry(*id).or_default() += 1;
    }
    for (id, ..) in &promises.sent {
        let (count, acknowledged) = (counts.get(id).copied().unwrap_or(0), promises.acknowledged.contains(id));
        match (count, acknowledged) {
            (1, false) | (0, true) => {}
            (0, false) => found.push(format!("{id} got a 2xx, was not acknowledged, and does not wait")),
            (_, true) => found.push(format!("{id} was acknowledged and waits again")),
            (n, false) => found.push(format!("{id} waits {n} times")),
        }
    }
    found
}
