//! Batch after batch, from a source into the logs.

use std::time::{Duration, Instant};

use platform::config::StartError;
use platform::frames::{FrameLog, Step, Stepped};
use platform::fresh::Reached;
use platform::http::health::Readiness;
use platform::log::{Checkpoint, Checkpoints, Ends, EventSource, LEDGER, Ownership, SCAN, SourceBatch, SourceError};
use platform::marks::{Head, Heads, Mark};
use platform::redis::RedisAway;
use platform::shutdown::Shutdown;
use schemas::Topic;
use schemas::read_models::{Contacts, Conversations, ReadModel, Relay};
use sqlx::PgPool;

use super::Fold;
use super::owner::{ByLogs, Owner};

/// Of one step: Redis does nothing else meanwhile.
const STEP_EVENTS: usize = 256;
const STEP_BYTES: usize = 1 << 20;
/// What a Redis that came back with an older state may lack and still be caught up with, in positions. Beyond, the logs begin anew, as in one that was emptied: what sockets have
/// not seen of messages is found in Postgres, and nobody waits for what they have.
const LEAP: i64 = 10_000;
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// How often a Redis that is away is tried with a step.
const TRY_EVERY: Duration = Duration::from_millis(50);
/// How often lag is measured, and where the logs stand kept.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const WAIT: Duration = Duration::from_secs(1);

/// What the projection needs besides a source.
#[derive(Debug, Clone)]
pub struct FramesConfig {
    /// Where it appends.
    pub log: FrameLog,
    /// How far the read models are that it announces.
    pub reached: Reached,
    /// Where the ledgers end.
    pub heads: Heads,
    /// Where its lock is: `message_db`.
    pub pool: PgPool,
    /// Where "caught up once" is told, under [`name`].
    pub readiness: Readiness,
    /// With whom it is run.
    pub ownership: Ownership,
}

/// How the projection is called in a topic: lock, metric label, condition of readiness.
#[must_use]
pub const fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Messages => "frames.messages",
        Topic::Users => "frames.users",
        Topic::Auth => "frames.auth",
    }
}

/// The projection of one topic.
#[derive(Debug)]
pub struct Frames {
    topic: Topic,
    config: FramesConfig,
    /// Where it last stood, for a Redis that has forgotten it.
    remembered: Option<Checkpoints>,
}

enum Ended {
    Drained,
    /// Read the checkpoint again.
    Moved,
}

/// Why a session ended early.
pub(super) enum Trouble {
    /// Something did not answer: try again.
    Away(Box<dyn std::error::Error + Send + Sync>),
    /// What a retry cannot mend.
    Stop(StartError),
}

impl From<sqlx::Error> for Trouble {
    fn from(error: sqlx::Error) -> Self {
        Self::Away(Box::new(error))
    }
}

impl From<RedisAway> for Trouble {
    fn from(error: RedisAway) -> Self {
        Self::Away(Box::new(error))
    }
}

impl Trouble {
    /// [`SourceError::Reassigned`] is the follower's own to handle.
    pub(super) fn source(topic: Topic, error: SourceError) -> Self {
        match error {
            SourceError::Unavailable(..) | SourceError::Reassigned => Self::Away(Box::new(error)),
            SourceError::Gap { .. } | SourceError::Foreign { .. } | SourceError::Ahead(_) => {
                Self::Stop(StartError::because(format!("the projection {} stopped", name(topic)), error))
            }
        }
    }
}

impl Frames {
    /// One that has not begun.
    #[must_use]
    pub fn new(topic: Topic, config: FramesConfig) -> Self {
        Self { topic, config, remembered: None }
    }

    /// Follows the source until the drain. What does not answer is tried again (100 ms to 5 s); events that cannot be read are passed over, since the read models park them.
    ///
    /// # Errors
    /// What a retry cannot mend: a gap in the topic, a log that is ahead of its ledger.
    ///
    /// # Cancel safety
    /// Safe: a step that was cut off is taken or not, and looked for at the next start.
    pub async fn run(mut self, mut source: Box<dyn EventSource>, shutdown: Shutdown) -> Result<(), StartError> {
        let mut pause = SHORTEST;
        loop {
            let began = Instant::now();
            match self.session(&mut *source, &shutdown).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Stop(error)) => return Err(error),
                Err(Trouble::Away(error)) => {
                    if began.elapsed() > LONGEST {
                        pause = SHORTEST;
                    }
                    let cause = error.source().map(ToString::to_string);
                    tracing::warn!(projection = self.name(), %error, cause, pause_ms = pause.as_millis(), "frames will try again");
                    tokio::select! {
                        () = shutdown.draining() => return Ok(()),
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST);
                }
            }
        }
    }

    fn name(&self) -> &'static str {
        name(self.topic)
    }

    /// From taking the lock to losing it; returns at the drain.
    async fn session(&mut self, source: &mut dyn EventSource, shutdown: &Shutdown) -> Result<(), Trouble> {
        let mut owner = Owner::connect(&self.config.pool, self.name()).await?;
        let FramesConfig { log, readiness, ownership, .. } = &self.config;
        let successor = ByLogs { topic: self.topic, log: log.clone() };
        if !owner.lock.acquire(*ownership, &successor, source, readiness, shutdown).await? {
            return Ok(());
        }
        let mut ends = None;
        loop {
            let stands = self.stands(&mut owner).await?;
            match owner.lock.alive_while(source.seek(&stands)).await? {
                Err(SourceError::Reassigned) => continue,
                other => other.map_err(|error| Trouble::source(self.topic, error))?,
            }
            self.remembered = Some(stands);
            match self.follow(&mut owner, source, &mut ends, shutdown).await? {
                Ended::Drained => return Ok(()),
                Ended::Moved => {}
            }
        }
    }

    /// Says that it is ready once everything is handed out that stood in the source when this was first asked. Whether it is.
    async fn tell_when_passed(&self, source: &mut dyn EventSource, ends: &mut Option<Ends>) -> Result<bool, Trouble> {
        let ends = match ends {
            Some(ends) => ends,
            None => ends.insert(source.ends().await.map_err(|error| Trouble::source(self.topic, error))?),
        };
        let passed = source.has_passed(ends);
        if passed {
            self.config.readiness.set(self.name(), true);
        }
        Ok(passed)
    }

    /// The checkpoint in Redis. Where there is none of this life of the ledger, or one that is worth nothing, the logs begin where they last stood; else at the head.
    async fn stands(&self, owner: &mut Owner) -> Result<Checkpoints, Trouble> {
        let head = self.config.heads.head(self.topic).await?;
        let stood = owner.stood(self.topic).await?;
        let lives = |at: &Checkpoints| {
            !at.is_empty() && at.values().all(|row| (row.incarnation, row.generation) == (head.incarnation, head.generation))
        };
        // Others may have got further in other partitions.
        let mut begin = self.remembered.clone().filter(lives).unwrap_or_default();
        for (place, row) in Some(stood).filter(lives).unwrap_or_default() {
            if begin.get(&place).is_none_or(|known| known.last_position < row.last_position) {
                begin.insert(place, row);
            }
        }
        if begin.is_empty() {
            begin = self.at(&head);
        }
        loop {
            match self.config.log.stands(self.topic).await?.filter(lives) {
                // Each partition has its own reader there, and none knows how far the others are.
                Some(stands) if !self.config.ownership.is_alone() || furthest(&begin) - furthest(&stands) <= LEAP => return Ok(stands),
                Some(stands) => {
                    let (projection, behind) = (self.name(), furthest(&begin) - furthest(&stands));
                    tracing::warn!(projection, behind, "Redis came back with old frame logs, which begin anew");
                    self.config.log.begin_anew(self.topic, &begin).await?;
                }
                None => self.config.log.begin(self.topic, &begin).await?,
            }
        }
    }

    /// The end of the ledger, or of what is published of it, as a place to begin.
    fn at(&self, head: &Head) -> Checkpoints {
        let row = |last_position, source: &str, next_offset| Checkpoint {
            incarnation: head.incarnation,
            generation: head.generation,
            last_position,
            source: source.to_owned(),
            next_offset,
        };
        if self.config.ownership.is_alone() {
            return Checkpoints::from([((self.topic, SCAN), row(head.head, LEDGER, head.head))]);
        }
        let published = head.published.as_ref().map(|(_, heads)| heads.as_slice()).unwrap_or_default();
        let places = (0..Topic::PARTITIONS).zip(published.iter().copied().chain(std::iter::repeat(0)));
        // Of no source: it is found by its position.
        places.map(|(partition, position)| ((self.topic, partition), row(position, "", 0))).collect()
    }

    async fn follow(
        &mut self,
        owner: &mut Owner,
        source: &mut dyn EventSource,
        ends: &mut Option<Ends>,
        shutdown: &Shutdown,
    ) -> Result<Ended, Trouble> {
        let (mut passed, mut looked, mut kept) = (false, None::<Instant>, None);
        loop {
            passed = passed || owner.lock.alive_while(self.tell_when_passed(source, ends)).await??;
            if looked.is_none_or(|at| at.elapsed() > LOOK_EVERY) {
                looked = Some(Instant::now());
                if kept != self.remembered {
                    kept = self.remembered.clone();
                    owner.keep(kept.as_ref().unwrap_or(&Checkpoints::new())).await?;
                }
                owner.lock.alive_while(self.measure(source)).await?;
            }
            let batch = tokio::select! {
                biased;
                () = shutdown.draining() => return Ok(Ended::Drained),
                batch = owner.lock.alive_while(source.next_batch()) => match batch? {
                    Err(SourceError::Reassigned) => return Ok(Ended::Moved),
                    other => other.map_err(|error| Trouble::source(self.topic, error))?,
                },
            };
            if batch.is_empty() {
                // A Redis that has lost something while nothing happens is to be told at once, not with the next event.
                if self.config.log.stands(self.topic).await.is_ok_and(|stands| self.is_behind(stands.as_ref())) {
                    return Ok(Ended::Moved);
                }
                continue;
            }
            let mut begin = 0;
            while begin < batch.events.len().max(1) {
                let end = end_of_step(&batch, begin);
                let part = batch.part(begin..end);
                if let Some(ended) = owner.lock.alive_while(self.take(&part, shutdown)).await?? {
                    return Ok(ended);
                }
                begin = end.max(begin + 1);
            }
            source.applied(&batch.checkpoints());
            metrics::counter!("projection_applied_total", "projection" => self.name()).increment(batch.events.len() as u64);
        }
    }

    /// Whether Redis knows less than this process has told it.
    fn is_behind(&self, stands: Option<&Checkpoints>) -> bool {
        let behind = |(place, row): (_, &Checkpoint)| {
            stands.and_then(|stands| stands.get(place)).is_none_or(|at| at.last_position < row.last_position)
        };
        self.remembered.as_ref().is_some_and(|remembered| remembered.iter().any(behind))
    }

    /// Appends a part of a batch, once what it announces can be read. `None`: done.
    async fn take(&mut self, part: &SourceBatch, shutdown: &Shutdown) -> Result<Option<Ended>, Trouble> {
        let name = self.name();
        let events = part.events.iter().zip(part.places.iter().map(|(partition, _)| *partition));
        let fold = Fold::of(events, |error| {
            metrics::counter!("frames_unreadable_total").increment(1);
            tracing::warn!(projection = name, %error, "an event cannot be told to sockets");
        });
        let to = part.checkpoints();
        if !fold.appends.is_empty() && !self.announceable(&to, shutdown).await {
            return Ok(Some(Ended::Drained));
        }
        let Fold { appends, bodies, blocks } = fold;
        let from = self.remembered.clone().unwrap_or_default();
        let step = Step { topic: self.topic, appends, bodies, blocks, from, to };
        let mut said = false;
        loop {
            match self.config.log.step(&step).await {
                Ok(Stepped::Taken) => {
                    self.remembered.get_or_insert_default().extend(step.to);
                    return Ok(None);
                }
                Ok(Stepped::Moved) => {
                    tracing::info!(projection = name, "the checkpoint in Redis is another; reading on from there");
                    return Ok(Some(Ended::Moved));
                }
                Err(error) => {
                    if !std::mem::replace(&mut said, true) {
                        tracing::warn!(projection = name, %error, "frames wait for Redis");
                    }
                    tokio::select! {
                        () = shutdown.draining() => return Ok(Some(Ended::Drained)),
                        () = tokio::time::sleep(TRY_EVERY) => {}
                    }
                }
            }
        }
    }

    /// Waits until the read models contain everything up to there; `false` when the drain comes first.
    async fn announceable(&self, to: &Checkpoints, shutdown: &Shutdown) -> bool {
        let models: &[&'static str] = if self.topic == Topic::Users { &[Contacts::NAME] } else { &[Conversations::NAME, Relay::NAME] };
        let places = to.iter().filter(|((_, partition), _)| *partition != SCAN);
        let marks: Vec<Mark> = places
            .map(|((topic, partition), row)| Mark {
                topic: *topic,
                generation: row.generation,
                partition: *partition,
                position: row.last_position,
            })
            .collect();
        for model in models {
            let covered = async { while !self.config.reached.covers(model, &marks, WAIT).await {} };
            tokio::select! {
                () = shutdown.draining() => return false,
                () = covered => {}
            }
        }
        true
    }

    /// Lag is for dashboards: who cannot measure it goes on.
    async fn measure(&self, source: &mut dyn EventSource) {
        match source.lag().await {
            Ok((events, seconds)) => {
                #[expect(clippy::cast_precision_loss, reason = "a gauge")]
                metrics::gauge!("projection_lag_events", "projection" => self.name()).set(events as f64);
                metrics::gauge!("projection_lag_seconds", "projection" => self.name()).set(seconds);
            }
            Err(error) => tracing::debug!(projection = self.name(), %error, "lag could not be measured"),
        }
    }
}

fn furthest(at: &Checkpoints) -> i64 {
    at.values().map(|row| row.last_position).max().unwrap_or(0)
}

/// As many events from `begin` on as make a step.
fn end_of_step(batch: &SourceBatch, begin: usize) -> usize {
    let mut bytes = 0;
    let fits = batch.events[begin..].iter().take(STEP_EVENTS).take_while(|event| {
        bytes += event.weight();
        bytes <= STEP_BYTES
    });
    let count = fits.count().max(1);
    (begin + count).min(batch.events.len())
}
