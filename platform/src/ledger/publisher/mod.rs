//! From the ledger to Kafka: every event once, in order, each naming its predecessor.
//!
//! What makes it so, in this order at every beginning: the **lock** (a session lock in the ledger's database, whose connection also carries the cursor), then the
//! **producer** (transactional, so that initialising it fences every older one at the broker), then the **cursor**, read over the connection that holds the lock, so
//! that a publisher which slept in between finds out, then what the **topic** ends with, so that what was acknowledged before a crash is not sent again.

mod cursor;
mod producer;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use tokio::time::MissedTickBehavior;

use self::cursor::{Cursor, Lane};
use self::producer::Producer;
use super::{Feed, Page};
use crate::config::StartError;
use crate::crash::crash_point;
use crate::log::SourceError;
use crate::log::kafka::{KafkaConfig, Lookup};
use crate::shutdown::Shutdown;

/// How often an idle publisher makes sure that its connection, and with it its lock, still stands.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How often lag is measured.
const LAG_EVERY: Duration = Duration::from_secs(1);

/// Copies one ledger to its topic. There may be many; one works, the others wait.
#[derive(Debug)]
pub struct Publisher {
    feed: Feed,
    pool: PgPool,
    kafka: KafkaConfig,
    /// Once it has been reached.
    cluster: OnceLock<String>,
}

/// Why a publisher's work was cut off.
#[derive(Debug)]
enum Trouble {
    /// Begin again from the cursor.
    Again(Box<dyn std::error::Error + Send + Sync>),
    /// What a retry cannot mend.
    Stop(StartError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Again(Box::new(error))
    }
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Unavailable(..) | SourceError::Reassigned => Self::Again(Box::new(error)),
            other => Self::Stop(StartError::because("the publisher stopped: topic and ledger do not fit", other)),
        }
    }
}

impl Publisher {
    /// `pool` is the ledger's: its options (URL, search_path) are used for a connection of the publisher's own.
    #[must_use]
    pub fn new(feed: Feed, pool: PgPool, kafka: KafkaConfig) -> Self {
        Self { feed, pool, kafka, cluster: OnceLock::new() }
    }

    /// Publishes until the drain; finishes the transaction it is in. Any failure drops the producer and begins again from the cursor (100 ms to 5 s later).
    ///
    /// # Errors
    /// When topic and ledger do not fit: the topic is ahead of the ledger, belongs to another, or lost records that were acknowledged.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), StartError> {
        tokio::select! {
            ended = self.work(&shutdown) => ended,
            never = self.measure() => match never {},
        }
    }

    async fn work(&self, shutdown: &Shutdown) -> Result<(), StartError> {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        let topic = self.feed.topic();
        let mut pause = SHORTEST;
        loop {
            let mut published = false;
            match self.session(shutdown, &mut published).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Stop(error)) => {
                    tracing::error!(%topic, error = %error, cause = std::error::Error::source(&error).map(tracing::field::display), "publisher stopped");
                    return Err(error);
                }
                Err(Trouble::Again(error)) => {
                    if published {
                        pause = SHORTEST;
                    }
                    tracing::warn!(%topic, %error, cause = error.source().map(tracing::field::display), pause_ms = pause.as_millis(), "publisher begins again from its cursor");
                    tokio::select! {
                        () = shutdown.draining() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    async fn session(&self, shutdown: &Shutdown, published: &mut bool) -> Result<(), Trouble> {
        let (topic, meta) = (self.feed.topic(), self.feed.meta());
        let Some(mut lane) = Lane::acquire(&self.pool, topic, shutdown).await? else { return Ok(()) };
        let (kafka, draining) = (self.kafka.clone(), shutdown.clone());
        let (producer, lookup, cluster) = blocking(move || {
            let producer = Producer::fence(&kafka, topic, meta.generation, meta.partitions, &draining)?;
            let lookup = Lookup::new(&kafka, topic, meta.generation).map_err(|e| Trouble::Again(Box::new(e)))?;
            let cluster = lookup.cluster()?;
            Ok((Arc::new(producer), lookup, cluster))
        })
        .await?;
        self.cluster.get_or_init(|| cluster.clone());
        // Only now: had somebody else taken the lock before we fenced them, this connection would be dead, and we end here.
        let mut cursor = lane.cursor(&cluster, meta).await?;
        let head = self.feed.head().await?;
        let partitions = meta.partitions;
        let tails = blocking(move || Ok((0..partitions).map(|p| lookup.tail(p)).collect::<Result<Vec<_>, _>>()?)).await?;
        cursor.reconcile(&tails, topic, &self.kafka.topic(topic, meta.generation), meta.incarnation, head)?;
        tracing::info!(%topic, position = cursor.position, head, "publishing");
        loop {
            if self.idle(&mut lane, cursor.position, shutdown).await? {
                return Ok(());
            }
            let page = self.feed.after(cursor.position).await?;
            if page.events.is_empty() {
                continue;
            }
            cursor = self.publish(&mut lane, &producer, cursor, page).await?;
            *published = true;
            if shutdown.is_draining() {
                return Ok(());
            }
        }
    }

    /// Publishes a page as one transaction, then moves the cursor.
    async fn publish(&self, lane: &mut Lane, producer: &Arc<Producer>, cursor: Cursor, page: Page) -> Result<Cursor, Trouble> {
        let (topic, name) = (self.feed.topic(), self.feed.topic().service());
        let begin = Instant::now();
        let (producer, mut next) = (producer.clone(), cursor);
        let (next, count) = blocking(move || {
            let count = producer.transaction(&page.events, &mut next)?;
            next.position = page.scanned;
            Ok((next, count))
        })
        .await?;
        crash_point("publisher.after_ack");
        let next = lane.advance(next).await?;
        metrics::counter!("publisher_published_total", "topic" => name).increment(count);
        tracing::debug!(%topic, events = count, position = next.position, took_ms = begin.elapsed().as_millis(), "published");
        Ok(next)
    }

    /// Waits for something to publish; `true` when the drain began.
    async fn idle(&self, lane: &mut Lane, position: i64, shutdown: &Shutdown) -> Result<bool, Trouble> {
        if lane.quiet_for() > HEARTBEAT {
            lane.stands().await?;
        }
        tokio::select! {
            () = shutdown.draining() => Ok(true),
            () = self.feed.changed(position) => Ok(false),
        }
    }

    /// Says how far the log is behind, in whatever state the publisher is: a broker that is away is seen by this growing.
    async fn measure(&self) -> Infallible {
        let (name, generation) = (self.feed.topic().service(), self.feed.meta().generation);
        let mut turn = tokio::time::interval(LAG_EVERY);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turn.tick().await;
            let lag =
                async { self.feed.lag(cursor::published(&self.pool, generation, self.cluster.get().map(String::as_str)).await?).await };
            match lag.await {
                Ok((events, seconds)) => {
                    #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                    metrics::gauge!("publisher_lag_events", "topic" => name).set(events as f64);
                    metrics::gauge!("publisher_lag_seconds", "topic" => name).set(seconds);
                }
                // For dashboards: who cannot measure it goes on.
                Err(error) => tracing::debug!(topic = name, %error, "lag could not be measured"),
            }
        }
    }
}

/// librdkafka's calls block.
async fn blocking<T: Send + 'static>(call: impl FnOnce() -> Result<T, Trouble> + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(call).await.map_err(|error| Trouble::Again(Box::new(error)))?
}
