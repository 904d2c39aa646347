use std::time::Duration;

use platform::frames::{Append, Block, FrameLog, Heard, Kept, Places, Step, Stepped};
use platform::log::{Checkpoint, Checkpoints, LEDGER, SCAN};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::{Topic, UserId};
use testkit::wait_until;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::own_redis::OwnRedis;

pub const LONG: Duration = Duration::from_secs(10);
/// Between two moments in which nothing is to happen.
pub const SHORT: Duration = Duration::from_millis(100);

pub fn user() -> UserId {
    UserId(Uuid::now_v7())
}

pub fn kept() -> Kept {
    Kept { retention: Duration::from_secs(60), entries: 100 }
}

pub async fn logs(server: &OwnRedis, kept: Kept) -> FrameLog {
    let redis = Redis::connect(&server.url(), Shutdown::new()).unwrap();
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
    FrameLog::new(redis, kept)
}

/// Begun at the start of both ledgers.
pub async fn begun(server: &OwnRedis, kept: Kept) -> FrameLog {
    let log = logs(server, kept).await;
    for topic in [Topic::Messages, Topic::Users] {
        log.begin(topic, &at(topic, &[], 0)).await.unwrap();
    }
    log
}

/// The checkpoint of a ledger's reader: some partitions, and what it has scanned through.
pub fn at(topic: Topic, partitions: &[(i32, i64)], scanned: i64) -> Checkpoints {
    let row = |position| Checkpoint {
        incarnation: Uuid::from_u128(7),
        generation: 1,
        last_position: position,
        source: LEDGER.to_owned(),
        next_offset: position,
    };
    let partitions = partitions.iter().map(|(partition, position)| ((topic, *partition), row(*position)));
    partitions.chain([((topic, SCAN), row(scanned))]).collect()
}

/// Something for a user at a partition and position; its text says so.
pub fn entry(user: UserId, partition: i32, position: i64) -> Append {
    Append { user, partition, position, text: format!(r#"{{"at":"{partition}/{position}"}}"#), body: None, between: None }
}

/// The projection, in small: one step moves from where it stands.
pub struct Projection {
    pub log: FrameLog,
    pub topic: Topic,
    pub stands: Checkpoints,
}

impl Projection {
    pub async fn of(log: &FrameLog, topic: Topic) -> Self {
        Self { log: log.clone(), topic, stands: log.stands(topic).await.unwrap().unwrap() }
    }

    pub fn step(&self, appends: Vec<Append>) -> Step {
        let mut to = Checkpoints::new();
        for append in &appends {
            to.extend(at(self.topic, &[(append.partition, append.position)], append.position));
        }
        Step { topic: self.topic, appends, bodies: vec![], blocks: vec![], from: self.stands.clone(), to }
    }

    pub async fn take(&mut self, step: Step) -> Stepped {
        let taken = self.log.step(&step).await.unwrap();
        if taken == Stepped::Taken {
            self.stands.extend(step.to);
        }
        taken
    }

    pub async fn append(&mut self, appends: Vec<Append>) {
        let step = self.step(appends);
        assert_eq!(self.take(step).await, Stepped::Taken);
    }

    pub async fn blocks(&mut self, blocks: Vec<Block>) {
        let mut step = self.step(vec![]);
        for block in &blocks {
            step.to.extend(at(self.topic, &[(block.partition, block.position)], block.position));
        }
        step.blocks = blocks;
        assert_eq!(self.take(step).await, Stepped::Taken);
    }
}

/// The texts after some places, and whether they are all.
pub async fn texts(log: &FrameLog, user: UserId, places: &Places) -> (Vec<String>, bool) {
    let stored = log.after(user, places).await.unwrap();
    (stored.entries.iter().map(|entry| format!("{}/{}", entry.partition, entry.position)).collect(), stored.whole)
}

pub fn places(places: &[(Topic, i32, i64)]) -> Places {
    let mut seen = Places::default();
    for (topic, partition, position) in places {
        seen.raise(*topic, *partition, *position);
    }
    seen
}

pub async fn heard(channel: &mut mpsc::Receiver<Heard>) -> Heard {
    tokio::time::timeout(LONG, channel.recv()).await.expect("something is heard").expect("the pusher lives")
}

/// What is heard next of an entry: user and position.
pub async fn next_entry(channel: &mut mpsc::Receiver<Heard>) -> (UserId, i64) {
    match heard(channel).await {
        Heard::Entry(user, logged, _) => (user, logged.position),
        other => panic!("{other:?}"),
    }
}
