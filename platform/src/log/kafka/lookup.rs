//! Looking into a topic at places of one's own choice. Blocking: to be called where that is allowed.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Message, Offset, TopicPartitionList};
use schemas::{Recorded, Topic};
use uuid::Uuid;

use super::complaints::Plain;
use super::{KafkaConfig, decode};
use crate::log::SourceError;

/// How long one question may take.
const BOUND: Duration = Duration::from_secs(10);
/// A search that is this close begins here: fewer records than one more question costs.
const NEAR: i64 = 200;

/// A reader without a group.
pub(crate) struct Lookup {
    consumer: BaseConsumer<Plain>,
    topic: Topic,
    name: String,
}

/// An event's place in a partition, and what it says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) offset: i64,
    pub(crate) position: i64,
    pub(crate) incarnation: Uuid,
}

impl Lookup {
    pub(crate) fn new(config: &KafkaConfig, topic: Topic, generation: i32) -> KafkaResult<Self> {
        let consumer = config
            .client()
            // Demanded of every consumer; nothing is ever committed to it.
            .set("group.id", format!("{}postrider.lookup", config.prefix))
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("queued.max.messages.kbytes", "1024")
            .set("fetch.wait.max.ms", "10")
            .create_with_context(Plain)?;
        Ok(Self { consumer, topic, name: config.topic(topic, generation) })
    }

    /// How many partitions the topic has; `None`: there is no such topic.
    pub(super) fn partitions(&self) -> Result<Option<i32>, SourceError> {
        let metadata = self.consumer.fetch_metadata(Some(&self.name), BOUND).map_err(away)?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.name && topic.error().is_none());
        Ok(topic.and_then(|topic| i32::try_from(topic.partitions().len()).ok()).filter(|count| *count > 0))
    }

    /// The cluster's id.
    pub(crate) fn cluster(&self) -> Result<String, SourceError> {
        // The id comes with the metadata.
        self.consumer.client().fetch_metadata(None, BOUND).map_err(away)?;
        self.consumer
            .client()
            .fetch_cluster_id(BOUND)
            .ok_or_else(|| SourceError::Unavailable("Kafka", "the cluster did not say its id".into()))
    }

    /// First offset, and the one after the last.
    pub(crate) fn watermarks(&self, partition: i32) -> Result<(i64, i64), SourceError> {
        self.consumer.fetch_watermarks(&self.name, partition, BOUND).map_err(away)
    }

    /// The first event at or after an offset; `None` at the end.
    fn first_at(&self, partition: i32, offset: i64) -> Result<Option<Tail>, SourceError> {
        self.go(partition, offset)?;
        self.next(partition)
    }

    pub(super) fn go(&self, partition: i32, offset: i64) -> Result<(), SourceError> {
        let mut places = TopicPartitionList::new();
        places.add_partition_offset(&self.name, partition, Offset::Offset(offset)).map_err(away)?;
        self.consumer.assign(&places).map_err(away)
    }

    fn next(&self, partition: i32) -> Result<Option<Tail>, SourceError> {
        let next = self.next_event(partition)?;
        Ok(next.map(|(offset, event)| Tail { offset, position: event.position, incarnation: event.incarnation }))
    }

    /// The next event of the partition that was gone to last, with its offset; `None` at the end.
    pub(super) fn next_event(&self, partition: i32) -> Result<Option<(i64, Recorded)>, SourceError> {
        let begin = Instant::now();
        while begin.elapsed() < BOUND {
            match self.consumer.poll(Duration::from_millis(200)) {
                // What was fetched for the place before.
                Some(Ok(message)) if message.partition() != partition => {}
                Some(Ok(message)) => {
                    let event = decode(self.topic, &message).map_err(|error| SourceError::Foreign {
                        topic: self.topic,
                        partition,
                        offset: message.offset(),
                        reason: error.to_string(),
                    })?;
                    return Ok(Some((message.offset(), event)));
                }
                Some(Err(KafkaError::PartitionEOF(at))) if at == partition => return Ok(None),
                Some(Err(KafkaError::PartitionEOF(_))) | None => {}
                Some(Err(error)) if passing(&error) => {}
                Some(Err(error)) => return Err(away(error)),
            }
        }
        Err(SourceError::Unavailable("Kafka", format!("nothing came from {} within {BOUND:?}", self.name).into()))
    }

    /// The last event of a partition; `None` when it has none. The last offsets may be marks of transactions: so from ever further back.
    pub(crate) fn tail(&self, partition: i32) -> Result<Option<Tail>, SourceError> {
        let (low, high) = self.watermarks(partition)?;
        if high == low {
            return Ok(None);
        }
        let mut back = 8;
        loop {
            let from = low.max(high - back);
            self.go(partition, from)?;
            let mut last = None;
            while let Some(tail) = self.next(partition)? {
                last = Some(tail);
                if tail.offset + 1 >= high {
                    break;
                }
            }
            if last.is_some() || from == low {
                return Ok(last);
            }
            back *= 16;
        }
    }

    /// An offset from which everything after `position` is seen, and little before it: found by halving, since positions rise with offsets.
    pub(crate) fn find(&self, partition: i32, position: i64) -> Result<i64, SourceError> {
        let (mut low, mut high) = self.watermarks(partition)?;
        if position == 0 {
            return Ok(low);
        }
        while high - low > NEAR {
            let middle = low + (high - low) / 2;
            match self.first_at(partition, middle)? {
                Some(event) if event.position <= position => low = event.offset + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

/// Failures that librdkafka mends by itself.
pub(super) fn passing(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown | RDKafkaErrorCode::OperationTimedOut)
    )
}

pub(super) fn away(error: KafkaError) -> SourceError {
    SourceError::Unavailable("Kafka", Box::new(error))
}
