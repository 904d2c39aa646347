//! Progress, told to other processes over Redis.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use schemas::Topic;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use super::Progress;
use super::reached::Inner;
use crate::redis::Redis;
use crate::shutdown::Shutdown;

const CHANNEL: &str = "reached";
const GATHER: Duration = Duration::from_millis(5);

/// What has not been announced yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    news: Mutex<BTreeMap<(&'static str, Topic), Progress>>,
    some: Notify,
}

impl Outbox {
    pub(super) fn put(&self, model: &'static str, topic: Topic, progress: &Progress) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).entry((model, topic)).or_default().raise(progress);
        self.some.notify_one();
    }

    fn take(&self) -> BTreeMap<(&'static str, Topic), Progress> {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One projection in one topic, as it travels: model, service, scanned, position per partition.
#[derive(Serialize, Deserialize)]
struct Line(String, String, i64, BTreeMap<i32, i64>);

/// Runs until `shutdown` has finished or the last [`super::Reached`] is gone.
pub(super) fn start(inner: &Arc<Inner>, redis: Redis, shutdown: &Shutdown) {
    // Says whose news they are: Redis sends us our own as well.
    let process = Uuid::now_v7();
    let (speaker, listener) = (Arc::downgrade(inner), Arc::downgrade(inner));
    let channel = redis.subscribe(CHANNEL);
    let (end, other_end) = (shutdown.clone(), shutdown.clone());
    tokio::spawn(async move {
        tokio::select! {
            () = announce(speaker, redis, process) => {}
            () = end.finished() => {}
        }
    });
    tokio::spawn(async move {
        tokio::select! {
            () = listen(listener, channel, process) => {}
            () = other_end.finished() => {}
        }
    });
}

async fn announce(inner: Weak<Inner>, redis: Redis, process: Uuid) {
    while let Some(inner) = inner.upgrade() {
        tokio::select! {
            () = inner.outbox.some.notified() => {}
            // Whether anybody is still interested.
            () = tokio::time::sleep(Duration::from_secs(1)) => continue,
        }
        let message = write(process, inner.outbox.take());
        drop(inner);
        // Lost news cost others a look at the checkpoints.
        let _: Result<(), _> = redis.query(::redis::pipe().cmd("PUBLISH").arg(CHANNEL).arg(message).ignore()).await;
        tokio::time::sleep(GATHER).await;
    }
}

async fn listen(inner: Weak<Inner>, mut channel: mpsc::Receiver<Vec<u8>>, process: Uuid) {
    while let Some(message) = channel.recv().await {
        let Some(inner) = inner.upgrade() else { return };
        for (model, topic, progress) in read(process, &message) {
            inner.heard(&model, topic, &progress);
        }
    }
}

fn write(process: Uuid, news: BTreeMap<(&'static str, Topic), Progress>) -> Vec<u8> {
    let lines: Vec<Line> = (news.into_iter())
        .map(|((model, topic), progress)| Line(model.to_owned(), topic.service().to_owned(), progress.scanned, progress.partitions))
        .collect();
    let mut message = process.as_bytes().to_vec();
    serde_json::to_writer(&mut message, &lines).expect("texts and numbers are JSON");
    message
}

/// Nothing, when it is our own or cannot be read.
fn read(process: Uuid, message: &[u8]) -> Vec<(String, Topic, Progress)> {
    let lines: Vec<Line> = match message.split_first_chunk::<16>() {
        Some((from, lines)) if from != process.as_bytes() => serde_json::from_slice(lines).unwrap_or_default(),
        _ => Vec::new(),
    };
    let known = lines
        .into_iter()
        .filter_map(|Line(model, topic, scanned, partitions)| Some((model, topic.parse().ok()?, Progress { partitions, scanned })));
    known.collect()
}

#[cfg(test)]
mod tests {
    use super::{read, write};
    use crate::fresh::Progress;
    use schemas::Topic;
    use std::collections::BTreeMap;
    use uuid::Uuid;

    #[test]
    fn news_of_others_are_read_as_written_and_ones_own_are_skipped() {
        let (one, two) = (Uuid::now_v7(), Uuid::now_v7());
        let progress = Progress { partitions: BTreeMap::from([(0, 5), (11, i64::MAX)]), scanned: 7 };
        let message = write(one, BTreeMap::from([(("relay", Topic::Messages), progress.clone())]));
        assert_eq!(read(two, &message), vec![("relay".to_owned(), Topic::Messages, progress)]);
        assert_eq!(read(one, &message), vec![]);
        assert_eq!(read(two, b"nonsense"), vec![]);
        assert_eq!(read(two, &message[..message.len() - 1]), vec![]);
    }
}
