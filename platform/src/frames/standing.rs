//! Where the projection stands, as it is written in Redis.

use std::collections::{BTreeMap, HashMap};

use schemas::Topic;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Places;
use crate::log::{Checkpoint, Checkpoints, SCAN};

/// Of which topics there are logs.
pub(super) const TOPICS: [Topic; 2] = [Topic::Messages, Topic::Users];

/// Incarnation and generation, as text.
pub(super) type Life = String;

/// What stands under `frames:at:<topic>`.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) life: Life,
    pub(super) checkpoints: Checkpoints,
}

pub(super) fn life(checkpoint: &Checkpoint) -> Life {
    format!("{}/{}", checkpoint.incarnation, checkpoint.generation)
}

fn read_life(life: &str) -> Option<(Uuid, i32)> {
    let (incarnation, generation) = life.split_once('/')?;
    Some((incarnation.parse().ok()?, generation.parse().ok()?))
}

/// A row: position, offset, source.
pub(super) fn row(checkpoint: &Checkpoint) -> String {
    format!("{} {} {}", checkpoint.last_position, checkpoint.next_offset, checkpoint.source)
}

fn read_row(row: &str) -> Option<(i64, i64, &str)> {
    let mut parts = row.splitn(3, ' ');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?))
}

impl Standing {
    /// `None`: nothing stands there.
    pub(super) fn read(topic: Topic, fields: &HashMap<String, String>) -> Option<Self> {
        let life = fields.get("life")?.clone();
        let (incarnation, generation) = read_life(&life)?;
        let rows = fields.iter().filter_map(|(partition, row)| Some((partition.parse::<i32>().ok()?, read_row(row)?)));
        let checkpoints = rows.map(|(partition, (last_position, next_offset, source))| {
            ((topic, partition), Checkpoint { incarnation, generation, last_position, source: source.to_owned(), next_offset })
        });
        Some(Self { life, checkpoints: checkpoints.collect() })
    }

    /// Everything up to there has been appended.
    pub(super) fn raise(&self, places: &mut Places) {
        // The whole topic first, so that nothing is said twice.
        for ((topic, partition), checkpoint) in &self.checkpoints {
            places.raise(*topic, *partition, checkpoint.last_position);
        }
    }
}

/// What cursors carry.
pub(super) fn epoch(lives: &BTreeMap<Topic, Life>) -> u32 {
    let mut digest = Sha256::new();
    for (topic, life) in lives {
        digest.update(format!("{topic}={life};"));
    }
    let [a, b, c, d, ..] = <[u8; 32]>::from(digest.finalize());
    u32::from_be_bytes([a, b, c, d])
}

/// Up to where a log may lack something, per topic.
#[derive(Debug, Default)]
pub(super) struct Floor {
    whole: i64,
    partitions: BTreeMap<i32, i64>,
}

impl Floor {
    pub(super) fn read(fields: &HashMap<String, i64>) -> Self {
        let rows = fields.iter().filter_map(|(partition, position)| Some((partition.parse::<i32>().ok()?, *position)));
        let (whole, partitions): (Vec<_>, Vec<_>) = rows.partition(|(partition, _)| *partition == SCAN);
        Self { whole: whole.first().map_or(0, |(_, position)| *position), partitions: partitions.into_iter().collect() }
    }

    /// Whether everything that may be missing has been seen. A partition in which nothing was known to be is as far as the whole topic.
    pub(super) fn is_seen(&self, topic: Topic, places: &Places) -> bool {
        let known = self.partitions.iter().all(|(partition, floor)| places.at(topic, *partition) >= *floor);
        let others = (0..Topic::PARTITIONS).filter(|partition| !self.partitions.contains_key(partition));
        known && others.into_iter().all(|partition| places.at(topic, partition) >= self.whole)
    }
}
