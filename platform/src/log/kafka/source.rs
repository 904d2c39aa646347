//! A Kafka topic as a source: the group divides the partitions, the offsets are our own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::FutureExt;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Message, Offset, TopicPartitionList};
use schemas::Topic;

use super::complaints;
use super::lookup::{away, passing};
use super::{KafkaConfig, LedgerEnds, Lookup, Tail, decode};
use crate::clock;
use crate::log::source::{Checkpoints, Ends, EventSource, Origin, SourceBatch, SourceError};

const BATCH_EVENTS: usize = 2_000;
/// One maximal event less than the bound, since an event's size is known only once it has been taken.
const BATCH_BYTES: usize = 7 << 20;
const WAIT: Duration = Duration::from_secs(1);
/// How often offsets are told to the group, for dashboards.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Reads one topic as a member of a projection's group.
pub struct KafkaSource {
    config: KafkaConfig,
    group: String,
    topic: Topic,
    ledgers: Arc<dyn LedgerEnds>,
    connected: Option<Connected>,
    /// The assignment (by number) whose places were sought.
    sought: u64,
    partitions: BTreeMap<i32, Reading>,
    /// Partitions whose stored offset led astray: found again by position.
    distrusted: BTreeSet<i32>,
    pending: SourceBatch,
    pending_bytes: usize,
    /// What came after `pending`, and is told once that has been handed out.
    failed: Option<SourceError>,
    told: Instant,
}

struct Connected {
    consumer: StreamConsumer<Group>,
    lookup: Arc<Lookup>,
    name: String,
    origin: Arc<Origin>,
}

/// Where reading stands in a partition.
#[derive(Debug, Clone, Copy)]
struct Reading {
    last: i64,
    next: i64,
    at_end: bool,
    /// When the event handed out last happened.
    time: i64,
}

/// What the group gives us. Takes nothing up by itself: whoever owns the source reads the rows again first, and assigns with their offsets.
#[derive(Default)]
struct Group {
    assigned: Mutex<Assigned>,
}

#[derive(Default, Clone)]
struct Assigned {
    number: u64,
    /// `None`: nothing was heard from the group yet, or it took everything back.
    partitions: Option<BTreeSet<i32>>,
}

impl Group {
    fn assigned(&self) -> Assigned {
        self.assigned.lock().expect("no panic holds this lock").clone()
    }
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        complaints::log(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let mut assigned = self.assigned.lock().expect("no panic holds this lock");
        assigned.number += 1;
        assigned.partitions = (event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
            .then(|| partitions.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect());
        tracing::info!(partitions = ?assigned.partitions, "the group divides the partitions anew");
        let taken = if assigned.partitions.is_some() { consumer.assign(&TopicPartitionList::new()) } else { consumer.unassign() };
        if let Err(error) = taken {
            tracing::warn!(%error, "the group's assignment could not be confirmed");
        }
    }
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("group", &self.group)
            .field("topic", &self.topic)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// For a projection; connects when it is first sent somewhere.
    #[must_use]
    pub fn new(config: KafkaConfig, projection: &str, topic: Topic, ledgers: Arc<dyn LedgerEnds>) -> Self {
        Self {
            group: format!("{}postrider.{projection}", config.prefix),
            config,
            topic,
            ledgers,
            connected: None,
            sought: 0,
            partitions: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            pending: SourceBatch::default(),
            pending_bytes: 0,
            failed: None,
            told: Instant::now(),
        }
    }

    /// Joins the group, once the topic was found not to be ahead of its ledger.
    async fn connect(&mut self) -> Result<(), SourceError> {
        let end = self.ledgers.end(self.topic).await.map_err(SourceError::ledger)?;
        let (config, topic) = (self.config.clone(), self.topic);
        let (lookup, cluster, tails) = blocking(move || {
            let lookup = Lookup::new(&config, topic, end.generation).map_err(away)?;
            let cluster = lookup.cluster()?;
            let tails = (0..Topic::PARTITIONS).map(|p| lookup.tail(p)).collect::<Result<Vec<Option<Tail>>, _>>()?;
            Ok((Arc::new(lookup), cluster, tails))
        })
        .await?;
        let name = self.config.topic(topic, end.generation);
        // Asked again: what was published since was in the ledger before.
        let end = self.ledgers.end(topic).await.map_err(SourceError::ledger)?;
        for (partition, tail) in tails.iter().enumerate() {
            if let Some(tail) = tail {
                let who = format!("partition {partition} of the topic {name}");
                SourceError::refuse_ahead(&who, topic, (tail.incarnation, tail.position), end.incarnation, end.head)?;
            }
        }
        let consumer: StreamConsumer<Group> = self
            .config
            .client()
            .set("group.id", &self.group)
            .set("partition.assignment.strategy", "range")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("enable.partition.eof", "true")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("session.timeout.ms", "10000")
            .set("heartbeat.interval.ms", "1000")
            // What a reader far behind holds at most, besides its batch.
            .set("queued.max.messages.kbytes", "8192")
            .set("fetch.max.bytes", "8388608")
            .set("fetch.message.max.bytes", "2097152")
            .set("fetch.wait.max.ms", "100")
            .set("fetch.min.bytes", "1")
            .create_with_context(Group::default())
            .map_err(away)?;
        consumer.subscribe(&[&name]).map_err(away)?;
        let origin = Origin { topic, source: format!("kafka:{cluster}/{name}"), incarnation: end.incarnation, generation: end.generation };
        self.connected = Some(Connected { consumer, lookup, name, origin: Arc::new(origin) });
        Ok(())
    }

    fn connected(&self) -> Result<&Connected, SourceError> {
        self.connected.as_ref().ok_or_else(not_connected)
    }

    /// Takes what is in the queue. `Err(Reassigned)` when the places have to be sought again.
    async fn gather(&mut self) -> Result<(), SourceError> {
        let deadline = tokio::time::Instant::now() + WAIT;
        // A message in hand is put into `pending` before anything else is awaited: who drops the future loses nothing.
        loop {
            let Some(connected) = &self.connected else { return Err(not_connected()) };
            if connected.consumer.context().assigned().number != self.sought {
                return Err(SourceError::Reassigned);
            }
            if self.pending.events.len() >= BATCH_EVENTS || self.pending_bytes >= BATCH_BYTES {
                return Ok(());
            }
            let received = if self.pending.events.is_empty() {
                tokio::time::timeout_at(deadline, connected.consumer.recv()).await.ok()
            } else {
                connected.consumer.recv().now_or_never()
            };
            // A rebalance is served while receiving; what comes with it is of before.
            let number = connected.consumer.context().assigned().number;
            match received {
                _ if number != self.sought => return Err(SourceError::Reassigned),
                None => return Ok(()),
                Some(Ok(message)) => {
                    let (partitions, distrusted) = (&mut self.partitions, &mut self.distrusted);
                    match judge(self.topic, &connected.origin, partitions, distrusted, &message) {
                        Ok(None) => {}
                        Ok(Some((place, event))) => {
                            self.pending_bytes += event.weight();
                            self.pending.origin.get_or_insert_with(|| connected.origin.clone());
                            self.pending.places.push(place);
                            self.pending.events.push(Arc::new(event));
                        }
                        Err(error) => {
                            self.failed = Some(error);
                            return Ok(());
                        }
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(reading) = self.partitions.get_mut(&partition) {
                        reading.at_end = true;
                    }
                    if self.pending.events.is_empty() && self.partitions.values().all(|reading| reading.at_end) {
                        return Ok(());
                    }
                }
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange))) => {
                    self.distrusted = self.partitions.keys().copied().collect();
                    return Err(SourceError::Reassigned);
                }
                Some(Err(error)) if passing(&error) => tracing::debug!(%error, "Kafka is away; the client goes on trying"),
                Some(Err(error)) => return Err(away(error)),
            }
        }
    }

    fn drop_pending(&mut self) {
        self.pending = SourceBatch::default();
        self.pending_bytes = 0;
        self.failed = None;
    }
}

fn not_connected() -> SourceError {
    SourceError::Unavailable("Kafka", "not connected yet".into())
}

/// Whether a record is the next of its partition: then its place and event; `None` for a repeat.
fn judge(
    topic: Topic,
    origin: &Origin,
    partitions: &mut BTreeMap<i32, Reading>,
    distrusted: &mut BTreeSet<i32>,
    message: &BorrowedMessage<'_>,
) -> Result<Option<((i32, i64), schemas::Recorded)>, SourceError> {
    let (partition, offset) = (message.partition(), message.offset());
    let Some(reading) = partitions.get_mut(&partition) else { return Ok(None) };
    let event = decode(topic, message).map_err(|error| SourceError::Foreign { topic, partition, offset, reason: error.to_string() })?;
    if event.incarnation != origin.incarnation {
        let who = format!("offset {offset} of partition {partition} of the topic");
        SourceError::refuse_ahead(&who, topic, (event.incarnation, event.position), origin.incarnation, i64::MAX)?;
    }
    let claimed = event.prev_position.unwrap_or(0);
    if event.position <= reading.last {
        reading.next = offset + 1;
        return Ok(None);
    }
    if claimed != reading.last {
        if distrusted.insert(partition) {
            // The stored offset may belong to a topic of the same name that is gone: look by position, once.
            return Err(SourceError::Reassigned);
        }
        return Err(SourceError::Gap { topic, partition, last: reading.last, found: event.position, claimed });
    }
    distrusted.remove(&partition);
    *reading = Reading { last: event.position, next: offset + 1, at_end: false, time: event.recorded_at.unix_micros() };
    Ok(Some(((partition, offset + 1), event)))
}

#[async_trait]
impl EventSource for KafkaSource {
    async fn seek(&mut self, checkpoints: &Checkpoints) -> Result<(), SourceError> {
        self.drop_pending();
        if self.connected.is_none() {
            self.connect().await?;
        }
        let end = self.ledgers.end(self.topic).await.map_err(SourceError::ledger)?;
        let own: BTreeMap<i32, _> = checkpoints.iter().filter(|((t, _), _)| *t == self.topic).map(|((_, p), c)| (*p, c)).collect();
        for (partition, checkpoint) in &own {
            let who = format!("the checkpoint of partition {partition}");
            SourceError::refuse_ahead(&who, self.topic, (checkpoint.incarnation, checkpoint.last_position), end.incarnation, end.head)?;
        }
        let connected = self.connected()?;
        let assigned = connected.consumer.context().assigned();
        let mut wanted = Vec::new();
        for partition in assigned.partitions.iter().flatten() {
            let last = own.get(partition).map_or(0, |c| c.last_position);
            let stored = own
                .get(partition)
                .filter(|c| c.source == connected.origin.source && !self.distrusted.contains(partition))
                .map(|c| c.next_offset);
            wanted.push((*partition, last, stored));
        }
        let lookup = connected.lookup.clone();
        let found = blocking(move || {
            let place = |(partition, last, stored): (i32, i64, Option<i64>)| {
                let offset = match stored {
                    Some(offset) => offset,
                    None => lookup.find(partition, last)?,
                };
                Ok((partition, Reading { last, next: offset, at_end: false, time: 0 }))
            };
            wanted.into_iter().map(place).collect::<Result<BTreeMap<_, _>, SourceError>>()
        })
        .await?;
        let connected = self.connected()?;
        let mut places = TopicPartitionList::new();
        for (partition, reading) in &found {
            places.add_partition_offset(&connected.name, *partition, Offset::Offset(reading.next)).map_err(away)?;
        }
        if assigned.partitions.is_some() {
            connected.consumer.assign(&places).map_err(away)?;
        }
        self.partitions = found;
        self.sought = assigned.number;
        Ok(())
    }

    async fn next_batch(&mut self) -> Result<SourceBatch, SourceError> {
        let gathered = if self.failed.is_some() { Ok(()) } else { self.gather().await };
        match gathered {
            Ok(()) if self.pending.is_empty() && self.failed.is_some() => Err(self.failed.take().unwrap_or(SourceError::Reassigned)),
            Ok(()) => {
                self.pending_bytes = 0;
                Ok(std::mem::take(&mut self.pending))
            }
            Err(error) => {
                self.drop_pending();
                Err(error)
            }
        }
    }

    fn applied(&mut self, checkpoints: &Checkpoints) {
        let Some(connected) = &self.connected else { return };
        if self.told.elapsed() < TELL_EVERY {
            return;
        }
        self.told = Instant::now();
        let mut places = TopicPartitionList::new();
        for ((_, partition), checkpoint) in checkpoints {
            if self.partitions.contains_key(partition) {
                // Only a place that could not be named: nothing that a dashboard would miss.
                let _ = places.add_partition_offset(&connected.name, *partition, Offset::Offset(checkpoint.next_offset));
            }
        }
        if let Err(error) = connected.consumer.commit(&places, CommitMode::Async) {
            tracing::debug!(%error, "offsets could not be told to the group");
        }
    }

    async fn ends(&mut self) -> Result<Ends, SourceError> {
        let lookup = self.connected()?.lookup.clone();
        blocking(move || {
            (0..Topic::PARTITIONS)
                .map(|p| Ok((p, lookup.tail(p)?.map_or(0, |tail| tail.offset + 1))))
                .collect::<Result<Ends, SourceError>>()
        })
        .await
    }

    fn has_passed(&self, ends: &Ends) -> bool {
        let Ok(connected) = self.connected() else { return false };
        let assigned = connected.consumer.context().assigned();
        assigned.number == self.sought
            && assigned.partitions.is_some()
            && self.partitions.iter().all(|(partition, reading)| ends.get(partition).is_none_or(|end| reading.next >= *end))
    }

    async fn lag(&mut self) -> Result<(i64, f64), SourceError> {
        let behind: Vec<_> = self.partitions.iter().filter(|(_, r)| !r.at_end).map(|(p, r)| (*p, r.next, r.time)).collect();
        let Some(oldest) = behind.iter().map(|(.., time)| *time).min() else { return Ok((0, 0.0)) };
        let lookup = self.connected()?.lookup.clone();
        let events = blocking(move || {
            behind
                .iter()
                .try_fold(0, |sum, (partition, next, _)| Ok::<_, SourceError>(sum + (lookup.watermarks(*partition)?.1 - next).max(0)))
        })
        .await?;
        // Of the event handed out last: the oldest one not handed out is hardly younger.
        let seconds =
            if oldest == 0 || events == 0 { 0.0 } else { Duration::from_micros(clock::now().unix_micros().abs_diff(oldest)).as_secs_f64() };
        Ok((events, seconds))
    }
}

/// librdkafka's questions block.
async fn blocking<T: Send + 'static>(question: impl FnOnce() -> Result<T, SourceError> + Send + 'static) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(question).await.map_err(|error| SourceError::Unavailable("Kafka", Box::new(error)))?
}
