//! What every source promises, asked of each of them.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use platform::log::{Checkpoints, EventSource, LedgerSource, SourceBatch, SourceError};
use schemas::Topic;

use super::support::{FromKafka, TestLedger, number};

/// A log under test: a ledger, and a way to read it.
#[async_trait]
pub(super) trait Log: Send + Sync {
    fn ledger(&self) -> &TestLedger;
    /// A new reader.
    async fn source(&self) -> Box<dyn EventSource> {
        self.named("reader").await
    }
    /// A new reader of a name.
    async fn named(&self, name: &str) -> Box<dyn EventSource>;
    /// Whether it has all partitions at once, without a group that gives them.
    fn is_scanning(&self) -> bool;
}

pub(super) struct FromLedger(pub(super) TestLedger);

#[async_trait]
impl Log for FromLedger {
    fn ledger(&self) -> &TestLedger {
        &self.0
    }
    async fn named(&self, _: &str) -> Box<dyn EventSource> {
        Box::new(LedgerSource::new(self.0.feed().await))
    }
    fn is_scanning(&self) -> bool {
        true
    }
}

#[async_trait]
impl Log for FromKafka {
    fn ledger(&self) -> &TestLedger {
        &self.ledger
    }
    async fn named(&self, name: &str) -> Box<dyn EventSource> {
        Box::new(self.reader(name).await)
    }
    fn is_scanning(&self) -> bool {
        false
    }
}

/// A reader that remembers what it was given, as a projection's schema would.
#[derive(Default, Clone)]
pub(super) struct Reader {
    pub(super) checkpoints: Checkpoints,
    pub(super) seen: Vec<(i32, i64, i64)>,
}

impl Reader {
    pub(super) fn take(&mut self, batch: &SourceBatch) {
        assert!(batch.events.len() <= 2000, "a batch of {}", batch.events.len());
        for (event, (partition, _)) in batch.events.iter().zip(&batch.places) {
            self.seen.push((*partition, event.position, number(event)));
        }
        self.checkpoints.extend(batch.checkpoints());
    }

    /// One batch, or one more time to the places where it stands.
    pub(super) async fn step(&mut self, source: &mut dyn EventSource) {
        match source.next_batch().await {
            Ok(batch) => self.take(&batch),
            Err(SourceError::Reassigned) => seek(source, &self.checkpoints).await,
            Err(other) => panic!("{other}"),
        }
    }

    /// Reads until `count` events were seen in all.
    pub(super) async fn read(&mut self, source: &mut dyn EventSource, count: usize) {
        for _ in 0..600 {
            if self.seen.len() >= count {
                return;
            }
            self.step(source).await;
        }
        panic!("{} of {count} events came", self.seen.len());
    }

    /// Every number from 0 to `count` once, in order within its partition.
    pub(super) fn has_all(&self, count: i64) {
        let mut numbers: Vec<i64> = self.seen.iter().map(|(_, _, n)| *n).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..count).collect::<Vec<_>>());
        let mut last = BTreeMap::new();
        for (partition, position, _) in &self.seen {
            let before = last.insert(*partition, *position).unwrap_or(0);
            assert!(before < *position, "partition {partition}: {position} after {before}");
        }
    }
}

pub(super) async fn seek(source: &mut dyn EventSource, checkpoints: &Checkpoints) {
    // A topic that was made a moment ago may not have its leaders yet: as for a runner, what is not available is tried again.
    let begin = std::time::Instant::now();
    loop {
        match source.seek(checkpoints).await {
            Err(SourceError::Unavailable(..)) if begin.elapsed() < Duration::from_secs(20) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

async fn events_come_in_order_per_partition_and_once(log: &dyn Log) {
    log.ledger().fill(0, 300, 17).await;
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    reader.read(&mut *source, 300).await;
    log.ledger().fill(300, 200, 17).await;
    reader.read(&mut *source, 500).await;
    reader.has_all(500);
    let partitions: std::collections::BTreeSet<_> = reader.seen.iter().map(|(p, ..)| *p).collect();
    assert!(partitions.len() > 4, "{partitions:?}");
}

async fn who_restarts_at_any_point_misses_nothing_and_gets_nothing_twice(log: &dyn Log) {
    log.ledger().fill(0, 120, 11).await;
    let mut source = log.source().await;
    seek(&mut *source, &Checkpoints::new()).await;
    // The whole in one reader, with the batches in hand.
    let mut batches = Vec::new();
    let mut whole = Reader::default();
    while whole.seen.len() < 120 {
        match source.next_batch().await {
            Ok(batch) => {
                whole.take(&batch);
                batches.push(batch);
            }
            Err(SourceError::Reassigned) => seek(&mut *source, &whole.checkpoints).await,
            Err(other) => panic!("{other}"),
        }
    }
    // From every seventh event on: what was applied stands, the rest is delivered again, in the middle of a batch or not.
    for cut in (0..120).step_by(7) {
        let mut reader = Reader::default();
        let mut left = cut;
        for batch in &batches {
            let part = batch.part(0..left.min(batch.events.len()));
            left -= part.events.len();
            reader.take(&part);
            if left == 0 {
                break;
            }
        }
        seek(&mut *source, &reader.checkpoints).await;
        reader.read(&mut *source, 120).await;
        reader.has_all(120);
    }
}

async fn a_checkpoint_ahead_of_the_ledger_is_refused(log: &dyn Log) {
    log.ledger().fill(0, 10, 1).await;
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    reader.read(&mut *source, 10).await;
    sqlx::query("DELETE FROM events WHERE position > (SELECT min(position) + 5 FROM events)").execute(&log.ledger().pool).await.unwrap();
    let refused = log.source().await.seek(&reader.checkpoints).await;
    assert!(matches!(&refused, Err(SourceError::Ahead(text)) if text.contains("restored")), "{refused:?}");
}

async fn a_checkpoint_of_another_incarnation_is_refused(log: &dyn Log) {
    log.ledger().fill(0, 10, 1).await;
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    reader.read(&mut *source, 10).await;
    sqlx::query("UPDATE ledger_meta SET incarnation = gen_random_uuid()").execute(&log.ledger().pool).await.unwrap();
    let refused = log.source().await.seek(&reader.checkpoints).await;
    assert!(matches!(&refused, Err(SourceError::Ahead(text)) if text.contains("incarnation")), "{refused:?}");
}

async fn a_reader_has_passed_the_end_once_everything_was_handed_out(log: &dyn Log) {
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    log.ledger().fill(0, 50, 5).await;
    reader.read(&mut *source, 50).await;
    let ends = source.ends().await.unwrap();
    for _ in 0..20 {
        if source.has_passed(&ends) {
            break;
        }
        reader.step(&mut *source).await;
    }
    assert!(source.has_passed(&ends));
    // With events before it that were not handed out, it has not.
    let mut late = log.source().await;
    seek(&mut *late, &Checkpoints::new()).await;
    let ends = late.ends().await.unwrap();
    if log.is_scanning() {
        assert!(!late.has_passed(&ends));
    }
    let mut lag = (1, 1.0);
    for _ in 0..20 {
        reader.step(&mut *source).await;
        lag = source.lag().await.unwrap();
        if lag == (0, 0.0) {
            break;
        }
    }
    assert_eq!(lag, (0, 0.0));
}

async fn readers_of_different_names_each_get_everything(log: &dyn Log) {
    log.ledger().fill(0, 200, 20).await;
    for name in ["one", "two"] {
        let (mut source, mut reader) = (log.named(name).await, Reader::default());
        seek(&mut *source, &Checkpoints::new()).await;
        reader.read(&mut *source, 200).await;
        reader.has_all(200);
    }
}

async fn a_reader_that_is_cut_off_while_it_waits_loses_nothing(log: &dyn Log) {
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    for from in (0..300).step_by(10) {
        log.ledger().fill(from, 10, 5).await;
        match tokio::time::timeout(Duration::from_millis(u64::try_from(from).unwrap() % 23), source.next_batch()).await {
            Ok(Ok(batch)) => reader.take(&batch),
            Ok(Err(SourceError::Reassigned)) => seek(&mut *source, &reader.checkpoints).await,
            Ok(Err(other)) => panic!("{other}"),
            Err(_) => {}
        }
    }
    reader.read(&mut *source, 300).await;
    reader.has_all(300);
}

async fn a_reader_far_behind_reads_in_bounded_batches(log: &dyn Log) {
    let count = 30_000;
    let filler = "x".repeat(500);
    for from in (0..count).step_by(1000) {
        let events: Vec<_> =
            (from..from + 1000).map(|n| (format!("key-{}", n % 50), format!(r#"{{"n":{n},"filler":"{filler}"}}"#))).collect();
        log.ledger().append(&events).await;
    }
    let (mut source, mut reader) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    reader.read(&mut *source, count).await;
    reader.has_all(i64::try_from(count).unwrap());
}

macro_rules! conformance {
    ($source:ident, $log:expr, [$($rule:ident),+ $(,)?]) => {
        mod $source {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let log = $log.await;
                super::$rule(&log).await;
            })+
        }
    };
}

macro_rules! conformance_of_all {
    ($source:ident, $log:expr) => {
        conformance!(
            $source,
            $log,
            [
                events_come_in_order_per_partition_and_once,
                who_restarts_at_any_point_misses_nothing_and_gets_nothing_twice,
                a_checkpoint_ahead_of_the_ledger_is_refused,
                a_checkpoint_of_another_incarnation_is_refused,
                a_reader_has_passed_the_end_once_everything_was_handed_out,
                a_reader_far_behind_reads_in_bounded_batches,
                readers_of_different_names_each_get_everything,
                a_reader_that_is_cut_off_while_it_waits_loses_nothing,
            ]
        );
    };
}

conformance_of_all!(ledger, async { super::FromLedger(super::TestLedger::new().await) });
conformance_of_all!(kafka, super::FromKafka::new());

#[tokio::test]
async fn the_ledger_goes_on_where_another_source_stopped() {
    let log = FromLedger(TestLedger::new().await);
    log.0.fill(0, 100, 13).await;
    let (mut source, mut whole) = (log.source().await, Reader::default());
    seek(&mut *source, &Checkpoints::new()).await;
    whole.read(&mut *source, 100).await;
    // As Kafka would leave it: some partitions further than others, no scan.
    let mut reader = Reader::default();
    let mut checkpoints = Checkpoints::new();
    for (index, seen) in whole.seen.iter().enumerate().filter(|(i, (p, ..))| *i < 60 || p % 2 == 0) {
        reader.seen.push(*seen);
        let mut checkpoint = whole.checkpoints[&(Topic::Messages, seen.0)].clone();
        checkpoint.last_position = seen.1;
        checkpoint.source = "kafka:x/messages.events".into();
        checkpoint.next_offset = i64::try_from(index).unwrap();
        checkpoints.insert((Topic::Messages, seen.0), checkpoint);
    }
    reader.checkpoints = checkpoints;
    let mut source = log.source().await;
    seek(&mut *source, &reader.checkpoints).await;
    reader.read(&mut *source, 100).await;
    reader.has_all(100);
}
