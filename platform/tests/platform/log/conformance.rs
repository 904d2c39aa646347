//! What every source promises, asked of each of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use platform::log::{Checkpoints, EventSource, LedgerSource, SourceBatch, SourceError};
use schemas::Topic;

use super::support::{TestLedger, number};

/// A log under test: a ledger, and a way to read it.
#[async_trait]
trait Log: Send + Sync {
    fn ledger(&self) -> &TestLedger;
    /// A new reader.
    async fn source(&self) -> Box<dyn EventSource>;
    /// How checkpoints name the source.
    fn is_scanning(&self) -> bool;
}

struct FromLedger(TestLedger);

#[async_trait]
impl Log for FromLedger {
    fn ledger(&self) -> &TestLedger {
        &self.0
    }
    async fn source(&self) -> Box<dyn EventSource> {
        Box::new(LedgerSource::new(self.0.feed().await))
    }
    fn is_scanning(&self) -> bool {
        true
    }
}

/// A reader that remembers what it was given, as a projection's schema would.
#[derive(Default, Clone)]
struct Reader {
    checkpoints: Checkpoints,
    seen: Vec<(i32, i64, i64)>,
}

impl Reader {
    fn take(&mut self, batch: &SourceBatch) {
        assert!(batch.events.len() <= 2000, "a batch of {}", batch.events.len());
        for (event, (partition, _)) in batch.events.iter().zip(&batch.places) {
            self.seen.push((*partition, event.position, number(event)));
        }
        self.checkpoints.extend(batch.checkpoints());
    }

    /// Reads until `count` events were seen in all.
    async fn read(&mut self, source: &mut dyn EventSource, count: usize) {
        for _ in 0..600 {
            if self.seen.len() >= count {
                return;
            }
            match source.next_batch().await {
                Ok(batch) => self.take(&batch),
                Err(SourceError::Reassigned) => source.seek(&self.checkpoints).await.unwrap(),
                Err(other) => panic!("{other}"),
            }
        }
        panic!("{} of {count} events came", self.seen.len());
    }

    /// Every number from 0 to `count` once, in order within its partition.
    fn has_all(&self, count: i64) {
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

async fn seek(source: &mut dyn EventSource, checkpoints: &Checkpoints) {
    source.seek(checkpoints).await.unwrap();
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
        reader.take(&source.next_batch().await.unwrap());
    }
    assert!(source.has_passed(&ends));
    // With events before it that were not handed out, it has not.
    let mut late = log.source().await;
    seek(&mut *late, &Checkpoints::new()).await;
    let ends = late.ends().await.unwrap();
    if log.is_scanning() {
        assert!(!late.has_passed(&ends));
    }
    assert_eq!(source.lag().await.unwrap().0, 0);
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

conformance!(
    ledger,
    async { super::FromLedger(super::TestLedger::new().await) },
    [
        events_come_in_order_per_partition_and_once,
        who_restarts_at_any_point_misses_nothing_and_gets_nothing_twice,
        a_checkpoint_ahead_of_the_ledger_is_refused,
        a_checkpoint_of_another_incarnation_is_refused,
        a_reader_has_passed_the_end_once_everything_was_handed_out,
        a_reader_far_behind_reads_in_bounded_batches,
    ]
);

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
