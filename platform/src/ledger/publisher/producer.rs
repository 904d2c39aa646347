//! The transactional producer. Its calls block.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use schemas::{Recorded, Topic, partition};

use super::Trouble;
use super::cursor::Cursor;
use crate::crash::sabotaged;
use crate::log::kafka::{KafkaConfig, headers};
use crate::shutdown::Shutdown;

/// How long the broker may take to begin, or to end, a transaction.
const BOUND: Duration = Duration::from_secs(30);

/// A producer that has fenced every older one of its ledger and generation.
pub(super) struct Producer {
    inner: ThreadedProducer<DefaultProducerContext>,
    topic: String,
    partitions: i32,
    shutdown: Shutdown,
}

/// Asks again what may be asked again, as long as a broker that comes back is worth waiting for: 30 s, or 3 s once the drain has begun.
fn patient(shutdown: &Shutdown, call: impl Fn(Duration) -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    let (begin, mut drained) = (Instant::now(), None);
    loop {
        let error = match call(Duration::from_secs(1)) {
            Err(KafkaError::Transaction(error)) if error.is_retriable() => KafkaError::Transaction(error),
            other => return other,
        };
        if shutdown.is_draining() {
            drained.get_or_insert_with(Instant::now);
        }
        if begin.elapsed() > BOUND || drained.is_some_and(|at| at.elapsed() > Duration::from_secs(3)) {
            return Err(error);
        }
    }
}

fn again(error: KafkaError) -> Trouble {
    Trouble::Again(Box::new(error))
}

impl Producer {
    /// Connects, and tells the broker that we are the one: what an older producer has under way is aborted, and it can send no more.
    pub(super) fn fence(kafka: &KafkaConfig, topic: Topic, generation: i32, partitions: i32, shutdown: &Shutdown) -> Result<Self, Trouble> {
        let inner: ThreadedProducer<DefaultProducerContext> = kafka
            .client()
            .set("transactional.id", format!("{}postrider.{}.{generation}", kafka.prefix, topic.service()))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "zstd")
            .set("message.max.bytes", "2097152")
            .set("message.timeout.ms", "0")
            .set("linger.ms", "1")
            // A publisher that stops in the middle holds up readers no longer than this.
            .set("transaction.timeout.ms", "15000")
            .create()
            .map_err(again)?;
        patient(shutdown, |slice| inner.init_transactions(slice)).map_err(again)?;
        Ok(Self { inner, shutdown: shutdown.clone(), topic: kafka.topic(topic, generation), partitions })
    }

    /// Sends events as one transaction and moves the partition heads of `cursor`; what the topic has already is left out. Returns how many were sent, once all are acknowledged.
    pub(super) fn transaction(&self, events: &[Arc<Recorded>], cursor: &mut Cursor) -> Result<u64, Trouble> {
        let mut open = false;
        let mut count = 0;
        for event in events {
            let partition = partition(event.key_hash, self.partitions);
            let head = cursor.head(partition)?;
            if event.position <= *head {
                continue;
            }
            if event.topic == Topic::Messages && sabotaged("publisher.skip") {
                continue;
            }
            if !open {
                self.inner.begin_transaction().map_err(again)?;
                open = true;
            }
            if let Err(error) = self.send(event, partition, *head) {
                return Err(self.abort(error));
            }
            *head = event.position;
            count += 1;
        }
        if open && let Err(error) = patient(&self.shutdown, |slice| self.inner.commit_transaction(slice)) {
            return Err(self.abort(error));
        }
        Ok(count)
    }

    fn send(&self, event: &Recorded, partition: i32, prev: i64) -> Result<(), KafkaError> {
        let begin = Instant::now();
        let mut record = BaseRecord::to(&self.topic)
            .partition(partition)
            .key(event.partition_key.as_str())
            .payload(event.payload.get())
            .timestamp(event.recorded_at.unix_micros() / 1_000)
            .headers(headers(event, prev));
        loop {
            match self.inner.send(record) {
                Ok(()) => return Ok(()),
                // The queue is emptied by another thread.
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) if begin.elapsed() < BOUND => {
                    record = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err((error, _)) => return Err(error),
            }
        }
    }

    /// Whatever the cause: this producer is finished. Aborting is a courtesy to readers, who would wait for the transaction's end; the next producer's beginning aborts it too.
    fn abort(&self, error: KafkaError) -> Trouble {
        if let Err(abort) = self.inner.abort_transaction(Duration::from_secs(2)) {
            tracing::debug!(%abort, "the transaction could not be aborted");
        }
        again(error)
    }
}
