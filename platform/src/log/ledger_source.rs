//! A ledger as a source: what runs on one machine without a broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use schemas::partition;

use super::source::{Checkpoint, Checkpoints, Ends, EventSource, Origin, SCAN, SourceBatch, SourceError};
use crate::ledger::Feed;

/// How its checkpoints name it.
pub const LEDGER: &str = "ledger";

/// Reads all partitions of a topic from its ledger, in the order of position. Its own place is the position scanned through, kept under [`SCAN`].
#[derive(Debug)]
pub struct LedgerSource {
    feed: Feed,
    origin: Arc<Origin>,
    scanned: i64,
    /// Last position applied where that lies beyond `scanned`: another source had gone further there.
    beyond: BTreeMap<i32, i64>,
}

impl LedgerSource {
    /// Stands at the start until it is sent elsewhere.
    #[must_use]
    pub fn new(feed: Feed) -> Self {
        let origin = Origin {
            topic: feed.topic(),
            source: LEDGER.to_owned(),
            incarnation: feed.meta().incarnation,
            generation: feed.meta().generation,
        };
        Self { feed, origin: Arc::new(origin), scanned: 0, beyond: BTreeMap::new() }
    }
}

/// From where everything that may not have been applied is seen: a scan saw all partitions; else the partition that is furthest behind decides.
fn start(checkpoints: &[(i32, &Checkpoint)], partitions: i32) -> i64 {
    let scanned = checkpoints.iter().find(|(p, c)| *p == SCAN && c.source == LEDGER).map_or(0, |(_, c)| c.next_offset);
    let applied = |p: i32| checkpoints.iter().find(|(q, _)| *q == p).map_or(0, |(_, c)| c.last_position);
    scanned.max((0..partitions).map(applied).min().unwrap_or(0))
}

#[async_trait]
impl EventSource for LedgerSource {
    async fn seek(&mut self, checkpoints: &Checkpoints) -> Result<(), SourceError> {
        let (topic, meta) = (self.origin.topic, self.feed.meta());
        let own: Vec<_> = checkpoints.iter().filter(|((t, _), _)| *t == topic).map(|((_, p), c)| (*p, c)).collect();
        let head = self.feed.head().await.map_err(SourceError::ledger)?;
        for (partition, checkpoint) in &own {
            let who = if *partition == SCAN { "the checkpoint".to_owned() } else { format!("the checkpoint of partition {partition}") };
            SourceError::refuse_ahead(&who, topic, (checkpoint.incarnation, checkpoint.last_position), meta.incarnation, head)?;
        }
        self.scanned = start(&own, meta.partitions);
        self.beyond =
            own.iter().filter(|(p, c)| *p != SCAN && c.last_position > self.scanned).map(|(p, c)| (*p, c.last_position)).collect();
        Ok(())
    }

    async fn next_batch(&mut self) -> Result<SourceBatch, SourceError> {
        // The feed looks at its own pace; this bound is only for the reader's sake.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.feed.changed(self.scanned)).await;
        let page = self.feed.after(self.scanned).await.map_err(SourceError::ledger)?;
        if page.events.is_empty() {
            return Ok(SourceBatch::default());
        }
        let count = self.feed.meta().partitions;
        let mut batch = SourceBatch { origin: Some(self.origin.clone()), scanned: Some(page.scanned), ..SourceBatch::default() };
        for event in page.events {
            let partition = partition(event.key_hash, count);
            if self.beyond.get(&partition).is_some_and(|applied| event.position <= *applied) {
                continue;
            }
            batch.places.push((partition, event.position));
            batch.events.push(event);
        }
        self.scanned = page.scanned;
        self.beyond.retain(|_, applied| *applied > page.scanned);
        Ok(batch)
    }

    async fn ends(&mut self) -> Result<Ends, SourceError> {
        Ok(Ends::from([(SCAN, self.feed.head().await.map_err(SourceError::ledger)?)]))
    }

    fn has_passed(&self, ends: &Ends) -> bool {
        ends.get(&SCAN).is_none_or(|end| self.scanned >= *end)
    }

    async fn lag(&mut self) -> Result<(i64, f64), SourceError> {
        self.feed.lag(self.scanned).await.map_err(SourceError::ledger)
    }
}
