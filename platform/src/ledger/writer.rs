//! The group-commit writer: one task, one connection, one batch at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Histogram};
use schemas::{Recorded, Topic};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::batch::{self, Answer};
use super::connection::{Connector, Fenced, schema};
use super::prepare::Prepared;
use super::queue::{Outcome, Queue, Waiting, answered};
use super::sqlstate::{Verdict, verdict};
use super::{Append, AppendError, NotStorable, Stored};
use crate::config::StartError;
use crate::crash::crash_point;
use crate::shutdown::Shutdown;

/// Before a batch that was rolled back is submitted again, and between attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// Before a batch in doubt is submitted again after a failure that says nothing of its first submission.
const DOUBT_PAUSE: Duration = Duration::from_millis(100);

/// Who is told what was committed.
type Committed = Box<dyn Fn(Vec<Recorded>) + Send + Sync>;

/// Where appends are handed in. Clones share one writer, which ends when the last is dropped.
#[derive(Clone)]
pub struct Writer {
    inner: Arc<Inner>,
}

struct Inner {
    queue: Arc<Queue>,
    deadline: Duration,
    service: &'static str,
    /// Kept, since looking them up by their labels costs every append.
    seconds: Histogram,
    stored: Counter,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").field("service", &self.inner.service).finish_non_exhaustive()
    }
}

impl Writer {
    /// Connects, and starts the task that writes. `committed` is called after every batch that stored something with its events in the order of position, before its callers are
    /// answered; it must not block.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn start(
        url: &str,
        topic: Topic,
        incarnation: Uuid,
        deadline: Duration,
        shutdown: &Shutdown,
        committed: impl Fn(Vec<Recorded>) + Send + Sync + 'static,
    ) -> Result<Self, StartError> {
        // Longer than any caller waits, so that an answer given in doubt is still driven to its end.
        let lock_timeout = deadline * 2;
        let mut connector = Connector::new(url, topic, lock_timeout)?;
        let unreachable = |error| StartError::because(format!("the ledger `{}` cannot be reached", schema(topic)), error);
        let live = connector.connect(deadline).await.map_err(unreachable)?;
        let queue = Arc::new(Queue::default());
        let lane = Lane {
            connector,
            live: Some(live),
            silence: lock_timeout + Duration::from_secs(1),
            deadline,
            topic,
            incarnation,
            service: topic.service(),
            shutdown: shutdown.clone(),
            committed: Box::new(committed),
        };
        tokio::spawn(lane.write(Arc::clone(&queue)));
        let service = topic.service();
        let seconds = metrics::histogram!("ledger_append_seconds", "ledger" => service);
        let stored = metrics::counter!("ledger_appends_total", "ledger" => service, "outcome" => "stored");
        Ok(Self { inner: Arc::new(Inner { queue, deadline, service, seconds, stored }) })
    }

    /// See [`super::Ledger::append`].
    ///
    /// # Errors
    /// [`AppendError`]
    ///
    /// # Cancel safety
    /// Dropping the future does not take the append back.
    pub async fn append(&self, append: Append) -> Result<Vec<Stored>, AppendError> {
        let begin = Instant::now();
        let outcome = self.enqueue(append, begin + self.inner.deadline).await;
        self.inner.seconds.record(begin.elapsed());
        match &outcome {
            Ok(_) => self.inner.stored.increment(1),
            Err(error) => {
                metrics::counter!("ledger_appends_total", "ledger" => self.inner.service, "outcome" => label(error)).increment(1);
            }
        }
        outcome
    }

    async fn enqueue(&self, append: Append, deadline: Instant) -> Result<Vec<Stored>, AppendError> {
        if append.events.is_empty() && append.record.is_none() && append.effects.is_empty() {
            return Ok(Vec::new());
        }
        let (waiting, ticket, answer) = Waiting::new(Prepared::new(append)?, deadline);
        self.inner.queue.push(waiting)?;
        answered(&ticket, answer, deadline).await
    }
}

fn label(error: &AppendError) -> &'static str {
    match error {
        AppendError::Duplicate { .. } => "duplicate",
        AppendError::Conflict { .. } => "conflict",
        AppendError::Reserved { .. } => "reserved",
        AppendError::Rejected(_) => "rejected",
        AppendError::Unavailable => "unavailable",
        AppendError::OutcomeUnknown => "unknown",
    }
}

/// A batch, or what is left of it.
struct Part {
    appends: Vec<Waiting>,
    /// It was submitted and no answer came: it must be submitted again as it is, until one comes.
    in_doubt: bool,
}

/// The writer's side.
struct Lane {
    connector: Connector,
    live: Option<Fenced>,
    /// A connection that says nothing for so long is taken for lost.
    silence: Duration,
    deadline: Duration,
    topic: Topic,
    incarnation: Uuid,
    service: &'static str,
    shutdown: Shutdown,
    committed: Committed,
}

/// Answers those who wait even if the task comes to an untimely end.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Lane {
    async fn write(mut self, queue: Arc<Queue>) {
        let queue = Abandon(queue);
        loop {
            let (appends, behind) = tokio::select! {
                biased;
                next = queue.0.next_batch() => match next {
                    Some(next) => next,
                    None => break,
                },
                () = self.shutdown.finished() => break,
            };
            metrics::gauge!("ledger_queue_length", "ledger" => self.service).set(f64::from(u32::try_from(behind).unwrap_or(u32::MAX)));
            // The end of the process waits for what has been taken on.
            let (done, working) = oneshot::channel::<()>();
            self.shutdown.spawn(working);
            self.settle(appends).await;
            drop(done);
        }
        if let Some(live) = self.live.take() {
            live.close().await;
        }
    }

    /// Drives a batch until every append of it has an outcome.
    async fn settle(&mut self, appends: Vec<Waiting>) {
        let mut parts = vec![Part { appends, in_doubt: false }];
        while let Some(mut part) = parts.pop() {
            if !self.reach(&mut part).await {
                continue;
            }
            if !part.in_doubt {
                part.appends = part.appends.into_iter().filter_map(Waiting::submit).collect();
            }
            if part.appends.is_empty() {
                continue;
            }
            let batch: Vec<&Prepared> = part.appends.iter().map(|waiting| &waiting.prepared).collect();
            match self.submit(&batch).await {
                Ok(answer) => {
                    let outcomes = answer.outcomes(&batch);
                    if outcomes.iter().any(Result::is_ok) {
                        crash_point("ledger.after_commit");
                    }
                    self.tell(&mut part.appends, &outcomes);
                    part.appends.into_iter().zip(outcomes).for_each(|(waiting, outcome)| waiting.answer(outcome));
                }
                Err(verdict) => self.undone(verdict, part, &mut parts).await,
            }
        }
    }

    /// Hands on what was stored. Nobody else needs the events any more.
    fn tell(&self, appends: &mut [Waiting], outcomes: &[Outcome]) {
        let mut stored = Vec::new();
        for (waiting, outcome) in appends.iter_mut().zip(outcomes) {
            let Ok(places) = outcome else { continue };
            let Prepared { append, hashes, .. } = &mut waiting.prepared;
            let events = std::mem::take(&mut append.events).into_iter().zip(hashes.drain(..)).zip(places);
            stored.extend(events.map(|((event, key_hash), place)| event.recorded(self.topic, self.incarnation, key_hash, *place)));
        }
        if !stored.is_empty() {
            stored.sort_unstable_by_key(|event: &Recorded| event.position);
            (self.committed)(stored);
        }
    }

    /// What becomes of a batch whose call failed.
    async fn undone(&mut self, verdict: Verdict, part: Part, parts: &mut Vec<Part>) {
        match verdict {
            Verdict::Culprit(state) if part.appends.len() == 1 => {
                part.appends
                    .into_iter()
                    .for_each(|waiting| waiting.answer(Err(AppendError::Rejected(NotStorable::Refused(state.clone())))));
            }
            Verdict::Culprit(_) => {
                let Part { mut appends, in_doubt } = part;
                let second = appends.split_off(appends.len() / 2);
                // The first half is taken from the end, and so keeps its turn.
                for half in [second, appends] {
                    if !in_doubt {
                        half.iter().for_each(Waiting::release);
                    }
                    parts.push(Part { appends: half, in_doubt });
                }
            }
            // What was said of this submission says nothing of an earlier one that stayed without an answer.
            Verdict::InDoubt | Verdict::Again | Verdict::Unavailable if part.in_doubt => {
                sleep(DOUBT_PAUSE).await;
                parts.push(part);
            }
            Verdict::InDoubt => parts.push(Part { in_doubt: true, ..part }),
            Verdict::Again => {
                part.appends.iter().for_each(Waiting::release);
                sleep(PAUSE).await;
                parts.push(part);
            }
            Verdict::Unavailable => part.appends.into_iter().for_each(|waiting| waiting.answer(Err(AppendError::Unavailable))),
            Verdict::Unreadable => part.appends.into_iter().for_each(|waiting| waiting.answer(Err(AppendError::OutcomeUnknown))),
        }
    }

    /// Sees to it that there is a connection. `false`: there is none, and everything in the part has its outcome.
    async fn reach(&mut self, part: &mut Part) -> bool {
        let give_up = Instant::now() + self.deadline;
        while self.live.is_none() {
            match self.connector.connect(self.deadline).await {
                Ok(live) => {
                    tracing::info!(ledger = self.service, "the ledger's writer is connected again");
                    self.live = Some(live);
                }
                Err(error) => {
                    tracing::warn!(
                        ledger = self.service,
                        in_doubt = part.in_doubt,
                        error = &error as &dyn std::error::Error,
                        "the ledger cannot be reached"
                    );
                    if part.in_doubt {
                        if self.shutdown.is_draining() && Instant::now() > give_up {
                            part.appends.drain(..).for_each(|waiting| waiting.answer(Err(AppendError::OutcomeUnknown)));
                            return false;
                        }
                    } else {
                        let (alive, late): (Vec<_>, Vec<_>) = part.appends.drain(..).partition(Waiting::in_time);
                        late.into_iter().for_each(|waiting| waiting.answer(Err(AppendError::Unavailable)));
                        part.appends = alive;
                        if part.appends.is_empty() {
                            return false;
                        }
                    }
                    sleep(PAUSE).await;
                }
            }
        }
        true
    }

    /// One call. Afterwards the connection is either good or given up.
    async fn submit(&mut self, batch: &[&Prepared]) -> Result<Answer, Verdict> {
        let Some(live) = self.live.as_mut() else { return Err(Verdict::InDoubt) };
        let events: usize = batch.iter().map(|prepared| prepared.append.events.len()).sum();
        metrics::histogram!("ledger_append_batch_size", "ledger" => self.service)
            .record(f64::from(u32::try_from(batch.len()).unwrap_or(u32::MAX)));
        let answer = timeout(self.silence, batch::submit(&mut live.connection, self.connector.lane, batch)).await;
        let (verdict, error) = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => (verdict(&error), error),
            Err(_) => (Verdict::InDoubt, sqlx::Error::PoolTimedOut),
        };
        tracing::warn!(
            ledger = self.service,
            appends = batch.len(),
            events,
            ?verdict,
            error = &error as &dyn std::error::Error,
            "a batch was not stored"
        );
        // A server that turned read-only may have a successor at the same address.
        if matches!(verdict, Verdict::InDoubt | Verdict::Unavailable | Verdict::Unreadable) {
            self.live = None;
        }
        Err(verdict)
    }
}
