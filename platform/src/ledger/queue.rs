//! What waits for the writer, bounded by count and by bytes.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::prepare::Prepared;
use super::{AppendError, Stored};

/// At most so many appends in one batch.
const BATCH_APPENDS: usize = 1_000;
/// At most so many bytes in one batch; a larger append goes alone.
const BATCH_BYTES: usize = 4 << 20;
/// At most so many appends waiting.
const QUEUE_APPENDS: usize = 20_000;
/// At most so many bytes waiting.
const QUEUE_BYTES: usize = 64 << 20;

/// What an append is answered with.
pub(super) type Outcome = Result<Vec<Stored>, AppendError>;

/// Whose turn it is to decide about an append: while it waits, its caller may withdraw it; once submitted, nobody can.
#[derive(Debug, Clone, Default)]
pub(super) struct Ticket(Arc<AtomicU8>);

const WAITING: u8 = 0;
const SUBMITTED: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// The caller gives up. `true`: it was not submitted, and never will be.
    pub fn withdraw(&self) -> bool {
        self.0.compare_exchange(WAITING, WITHDRAWN, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    fn submit(&self) -> bool {
        self.0.compare_exchange(WAITING, SUBMITTED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
    fn release(&self) {
        self.0.store(WAITING, Ordering::Release);
    }
}

/// An append in the queue or in a batch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub prepared: Prepared,
    ticket: Ticket,
    deadline: Instant,
    answer: oneshot::Sender<Outcome>,
}

impl Waiting {
    pub fn new(prepared: Prepared, deadline: Instant) -> (Self, Ticket, oneshot::Receiver<Outcome>) {
        let (answer, receiver) = oneshot::channel();
        let ticket = Ticket::default();
        (Self { prepared, ticket: ticket.clone(), deadline, answer }, ticket, receiver)
    }
    /// To be sent now; `None` when its time is over or its caller has withdrawn it.
    pub fn submit(self) -> Option<Self> {
        if self.deadline > Instant::now() && self.ticket.submit() {
            return Some(self);
        }
        self.answer(Err(AppendError::Unavailable));
        None
    }
    /// Rolled back for certain: it waits again.
    pub fn release(&self) {
        self.ticket.release();
    }
    /// Its caller may be gone: nobody minds.
    pub fn answer(self, outcome: Outcome) {
        let _gone = self.answer.send(outcome);
    }
    /// Whether there is still time for it.
    pub fn in_time(&self) -> bool {
        self.deadline > Instant::now()
    }
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

/// The queue of one writer.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

impl Queue {
    /// Puts an append at the end, and returns how many wait. `Err`: there is no room, or no writer any more.
    pub fn push(&self, waiting: Waiting) -> Result<usize, AppendError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let size = waiting.prepared.size;
        if state.closed || state.waiting.len() >= QUEUE_APPENDS || state.bytes + size > QUEUE_BYTES.max(size) {
            return Err(AppendError::Unavailable);
        }
        state.bytes += size;
        state.waiting.push_back(waiting);
        let length = state.waiting.len();
        drop(state);
        self.changed.notify_one();
        Ok(length)
    }

    /// Waits for the next batch, and says how many wait behind it. `None` when the queue is closed and empty.
    ///
    /// # Cancel safety
    /// Safe: what was not returned still waits.
    pub async fn next_batch(&self) -> Option<(Vec<Waiting>, usize)> {
        loop {
            {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let batch = state.take();
                if !batch.is_empty() {
                    return Some((batch, state.waiting.len()));
                }
                if state.closed {
                    return None;
                }
            }
            self.changed.notified().await;
        }
    }

    /// No more appends. What waits is still taken.
    pub fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_one();
    }

    /// No more appends, and nobody who would take those that wait.
    pub fn abandon(&self) {
        let waiting = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.closed = true;
            state.bytes = 0;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|waiting| waiting.answer(Err(AppendError::Unavailable)));
    }
}

impl State {
    fn take(&mut self) -> Vec<Waiting> {
        let (mut count, mut bytes) = (0, 0);
        for waiting in self.waiting.iter().take(BATCH_APPENDS) {
            if count > 0 && bytes + waiting.prepared.size > BATCH_BYTES {
                break;
            }
            count += 1;
            bytes += waiting.prepared.size;
        }
        self.bytes -= bytes;
        self.waiting.drain(..count).collect()
    }
}

/// Waits for an answer, at most until `deadline`; what comes after it goes to nobody.
pub(super) async fn answered(ticket: &Ticket, mut answer: oneshot::Receiver<Outcome>, deadline: Instant) -> Outcome {
    match tokio::time::timeout_at(deadline, &mut answer).await {
        Ok(Ok(outcome)) => outcome,
        // The writer is gone: what it had not submitted is certain.
        Ok(Err(_)) | Err(_) if ticket.withdraw() => Err(AppendError::Unavailable),
        // Answered in the same moment?
        _ => answer.try_recv().unwrap_or(Err(AppendError::OutcomeUnknown)),
    }
}
