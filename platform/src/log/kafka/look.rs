//! Looking into a topic without following it: for people and commands.

use std::collections::VecDeque;

use schemas::{Recorded, Topic};

use super::KafkaConfig;
use super::lookup::{Lookup, away};
use crate::log::SourceError;

/// Events of one partition that are held at most: each has at most 900 KiB.
const HELD: usize = 20;

/// A topic read from a position on, its partitions merged in the order of positions, without a group and without a trace. Blocking: to be called where
/// that is allowed. Every question is bounded (10 s).
pub struct TopicLook {
    lookup: Lookup,
    partitions: Vec<Partition>,
}

struct Partition {
    number: i32,
    /// `None`: not sought yet.
    offset: Option<i64>,
    held: VecDeque<Recorded>,
    at_end: bool,
}

impl std::fmt::Debug for TopicLook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicLook").field("partitions", &self.partitions.len()).finish_non_exhaustive()
    }
}

impl TopicLook {
    /// `None`: there is no such topic in this cluster.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub fn open(kafka: &KafkaConfig, topic: Topic, generation: i32) -> Result<Option<Self>, SourceError> {
        let lookup = Lookup::new(kafka, topic, generation).map_err(away)?;
        let Some(count) = lookup.partitions()? else { return Ok(None) };
        let unread = |number| Partition { number, offset: None, held: VecDeque::new(), at_end: false };
        Ok(Some(Self { lookup, partitions: (0..count).map(unread).collect() }))
    }

    /// The position after which the newest `count` events stand; 0: there are not more.
    ///
    /// # Errors
    /// When the cluster does not answer, or a record is no event.
    pub fn before_newest(&self, count: usize) -> Result<i64, SourceError> {
        let mut positions = Vec::new();
        for partition in &self.partitions {
            positions.extend(self.newest(partition.number, count + 1)?);
        }
        positions.sort_unstable_by(|a, b| b.cmp(a));
        Ok(positions.get(count).copied().unwrap_or(0))
    }

    /// Positions of the newest events of a partition. Marks of transactions take offsets too: so from ever further back.
    fn newest(&self, partition: i32, count: usize) -> Result<Vec<i64>, SourceError> {
        let (low, high) = self.lookup.watermarks(partition)?;
        let mut back = i64::try_from(count).unwrap_or(i64::MAX / 64).saturating_mul(2);
        loop {
            let from = low.max(high.saturating_sub(back));
            let mut positions = VecDeque::new();
            if from < high {
                self.lookup.go(partition, from)?;
                while let Some((offset, event)) = self.lookup.next_event(partition)? {
                    positions.push_back(event.position);
                    if positions.len() > count {
                        positions.pop_front();
                    }
                    if offset + 1 >= high {
                        break;
                    }
                }
            }
            if positions.len() >= count || from == low {
                return Ok(positions.into());
            }
            back = back.saturating_mul(8);
        }
    }

    /// The next events after a position, in order; empty when the topic holds no more at the moment. To be asked with rising positions.
    ///
    /// # Errors
    /// When the cluster does not answer, or a record is no event.
    pub fn after(&mut self, position: i64) -> Result<Vec<Recorded>, SourceError> {
        for partition in &mut self.partitions {
            partition.at_end = false;
            fill(&self.lookup, partition, position)?;
        }
        let mut events = Vec::new();
        // As long as every partition shows its next event or has none, the smallest of them is the next of all.
        loop {
            let next = self.partitions.iter_mut().filter(|partition| !partition.held.is_empty()).min_by_key(|p| p.held[0].position);
            let Some(partition) = next else { return Ok(events) };
            events.extend(partition.held.pop_front());
            if partition.held.is_empty() && !partition.at_end {
                return Ok(events);
            }
        }
    }
}

/// Reads ahead in one partition.
fn fill(lookup: &Lookup, partition: &mut Partition, position: i64) -> Result<(), SourceError> {
    if !partition.held.is_empty() {
        return Ok(());
    }
    let number = partition.number;
    let from = match partition.offset {
        Some(offset) => offset,
        None => lookup.find(number, position)?,
    };
    let mut next = from;
    if lookup.watermarks(number)?.1 > from {
        lookup.go(number, from)?;
        while partition.held.len() < HELD {
            let Some((offset, event)) = lookup.next_event(number)? else { break };
            next = offset + 1;
            if event.position > position {
                partition.held.push_back(event);
            }
        }
    }
    partition.at_end = partition.held.len() < HELD;
    partition.offset = Some(next);
    Ok(())
}
