//! Everything at once: events come, processes die and take over, Redis is emptied, killed, set back and deaf, and somebody listens all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use platform::frames::{FrameLog, Heard, Places, Pusher};
use platform::log::SCAN;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use schemas::{MessageId, Topic, UserId};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::following::expected;
use super::world::{LONG, Process, World};
use crate::history::{sent, user};

#[derive(Debug, Clone, Copy)]
enum Fault {
    Nothing,
    Empty,
    Save,
    KillRedis,
    Deafen,
    KillProcess,
    Reconnect,
}

/// Listens for a user as a socket does: no place is told twice, and what was not told is said to be missing.
struct Listener {
    user: UserId,
    places: Places,
    told: BTreeSet<(i32, i64)>,
    /// Up to where it had to be read from elsewhere.
    elsewhere: i64,
    /// Whether something has been missed and the log not read since.
    behind: bool,
}

impl Listener {
    fn entry(&mut self, topic: Topic, partition: i32, position: i64) {
        if self.places.raise(topic, partition, position) {
            assert!(self.told.insert((partition, position)), "{partition}/{position} is told twice");
        }
    }

    async fn read(&mut self, log: &FrameLog) {
        if let Ok(stored) = log.after(self.user, &self.places).await {
            let stands = stored.head.iter().next().is_some();
            if !stands {
                return;
            }
            if !stored.whole {
                // Everything up to the head, and nothing twice: that is what Postgres gives.
                self.elsewhere = stored.head.at(Topic::Messages, SCAN).max(self.elsewhere);
            } else {
                stored.entries.iter().for_each(|entry| self.entry(entry.topic, entry.partition, entry.position));
            }
            self.places.raise_all(&stored.head);
            self.behind = false;
        }
    }
}

async fn listen(channel: &mut mpsc::Receiver<Heard>, log: &FrameLog, listeners: &mut BTreeMap<UserId, Listener>, bound: Duration) {
    while let Ok(Some(news)) = tokio::time::timeout(bound, channel.recv()).await {
        match news {
            Heard::Entry(user, entry, _) => {
                let listener = listeners.get_mut(&user).unwrap();
                // What comes while the log cannot be read is found in it afterwards.
                if !listener.behind {
                    listener.entry(entry.topic, entry.partition, entry.position);
                }
            }
            Heard::Behind(user) => listeners.get_mut(&user).unwrap().behind = true,
            Heard::Lost => listeners.values_mut().for_each(|listener| listener.behind = true),
            Heard::Note(..) => panic!("nobody said anything"),
        }
        for listener in listeners.values_mut().filter(|listener| listener.behind) {
            listener.read(log).await;
        }
    }
}

async fn hold(pusher: &Pusher, people: u8) -> BTreeMap<UserId, Listener> {
    let mut listeners = BTreeMap::new();
    for person in 0..people {
        let places = pusher.hold(user(person)).await.unwrap();
        let elsewhere = places.at(Topic::Messages, SCAN);
        listeners.insert(user(person), Listener { user: user(person), places, told: BTreeSet::new(), elsewhere, behind: false });
    }
    listeners
}

fn faults() -> Vec<(Fault, u8, u8)> {
    let fault = prop_oneof![
        3 => Just(Fault::Nothing), 1 => Just(Fault::Empty), 1 => Just(Fault::Save), 1 => Just(Fault::KillRedis),
        1 => Just(Fault::Deafen), 1 => Just(Fault::KillProcess), 1 => Just(Fault::Reconnect),
    ];
    let strategy = prop::collection::vec((fault, 0..12_u8, 1..7_u8), 25..30);
    let mut faults = strategy.new_tree(&mut TestRunner::new(Config::default())).unwrap().current();
    // Without these it would be another test.
    faults.extend([
        (Fault::Deafen, 5, 1),
        (Fault::Nothing, 11, 1),
        (Fault::Nothing, 3, 3),
        (Fault::Save, 3, 3),
        (Fault::Empty, 5, 2),
        (Fault::KillRedis, 4, 4),
        (Fault::KillProcess, 9, 1),
    ]);
    faults
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_listens_is_told_everything_once_or_knows_that_something_is_missing_whatever_happens_to_redis() {
    const PEOPLE: u8 = 3;
    let mut world = World::new().await;
    let mut process: Process = world.process(5).await;
    process.is_ready().await;
    let log = world.log().await;
    let (pusher, mut channel) = log.pusher_leased_for(Duration::from_secs(1));
    let mut listeners = hold(&pusher, PEOPLE).await;
    let faults = faults();
    let (mut position, mut n) = (0, 0_u8);
    for (fault, events, batch) in &faults {
        for _ in 0..*events {
            position += 1 + i64::from(n % 3);
            n = n.wrapping_add(1);
            let message = sent(MessageId(Uuid::now_v7()), n % PEOPLE, (n / 3) % PEOPLE, position, Some(1_000), false);
            world.messages.append(&[message]);
        }
        world.head(Topic::Messages, 1, position).await;
        match fault {
            Fault::Nothing => {}
            Fault::Empty => world.redis.tell("FLUSHALL").await,
            Fault::Save => world.redis.tell("SAVE").await,
            Fault::KillRedis => {
                world.redis.kill();
                world.redis.start().await;
            }
            Fault::Deafen => world.redis.tell("CLIENT KILL TYPE pubsub").await,
            Fault::Reconnect => world.redis.tell("CLIENT KILL TYPE normal").await,
            Fault::KillProcess => {
                let next = world.process(usize::from(*batch)).await;
                drop(std::mem::replace(&mut process, next));
            }
        }
        listen(&mut channel, &log, &mut listeners, Duration::from_millis(u64::from(*batch) * 5)).await;
    }
    // In the end everything is known to everybody.
    everything_is_known(&world, &mut channel, &log, &mut listeners).await;
    // And then goes on as if nothing had been, without anything being looked for elsewhere.
    let (elsewhere, calm) = (listeners.values().map(|listener| listener.elsewhere).max(), position + 1);
    for _ in 0..30 {
        position += 1;
        n = n.wrapping_add(1);
        world.messages.append(&[sent(MessageId(Uuid::now_v7()), n % PEOPLE, (n / 3) % PEOPLE, position, Some(1_000), false)]);
    }
    everything_is_known(&world, &mut channel, &log, &mut listeners).await;
    assert_eq!(
        listeners.values().map(|listener| listener.elsewhere).max(),
        elsewhere,
        "nothing happened from {calm} on; before: {faults:?}"
    );
}

async fn everything_is_known(
    world: &World,
    channel: &mut mpsc::Receiver<Heard>,
    log: &FrameLog,
    listeners: &mut BTreeMap<UserId, Listener>,
) {
    let (begin, events) = (Instant::now(), world.messages.events());
    loop {
        listen(channel, log, listeners, Duration::from_millis(50)).await;
        let missing = |listener: &Listener| -> Vec<(i32, i64)> {
            let places = expected(&events, listener.user).into_iter().map(|(_, partition, position, _)| (partition, position));
            places.filter(|place| place.1 > listener.elsewhere && !listener.told.contains(place)).collect()
        };
        let missing: Vec<_> = listeners.values().map(missing).collect();
        if missing.iter().all(Vec::is_empty) && listeners.values().all(|listener| !listener.behind) {
            return;
        }
        assert!(begin.elapsed() < LONG, "missing {missing:?}");
    }
}
