//! One subject's bucket, as this process sees it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::{Rate, Standing};

/// How old a settlement may be, for whoever goes on asking.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// What a process may spend between two settlements: so much of what there was at the last.
const SHARE: f64 = 0.125;

/// A bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    /// Its key in Redis.
    pub(super) name: String,
    pub(super) rate: Rate,
    state: Mutex<State>,
    waits: AtomicBool,
    done: std::sync::Arc<Notify>,
}

#[derive(Debug)]
struct State {
    /// What it holds, as of `at`; below nothing when more was spent than there was.
    level: f64,
    at: Instant,
    /// Spent here and not yet settled.
    spent: u32,
    /// What may still be spent here before the next settlement.
    share: f64,
    settled_at: Option<Instant>,
    /// The last settlement.
    failed: bool,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Taken {
    /// It may go on, or not; and whether it is time to settle.
    Decided { standing: Standing, settle: bool },
    /// Only a settlement can tell.
    Ask,
}

impl Bucket {
    pub(super) fn full(rate: Rate, name: String, now: Instant) -> Self {
        let level = f64::from(rate.burst);
        let state = State { level, at: now, spent: 0, share: share(level), settled_at: None, failed: false };
        Self { name, rate, state: Mutex::new(state), waits: AtomicBool::new(false), done: std::sync::Arc::default() }
    }

    /// Takes a token. `shared`: others take from it as well, and can be asked.
    pub(super) fn take(&self, now: Instant, shared: bool) -> Taken {
        let mut state = self.state();
        state.refill(self.rate, now);
        if state.level < 1.0 {
            // What was spent here is to be known to others, who may have spent nothing; to ask them would help nobody.
            return Taken::Decided { standing: state.standing(self.rate, false), settle: state.is_due(now) };
        }
        if shared && state.share < 1.0 {
            return Taken::Ask;
        }
        state.level -= 1.0;
        state.share -= 1.0;
        state.spent = state.spent.saturating_add(1);
        Taken::Decided { standing: state.standing(self.rate, true), settle: state.is_due(now) }
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let mut state = self.state();
        state.refill(self.rate, now);
        let allowed = state.level >= 1.0;
        state.standing(self.rate, allowed)
    }

    /// As it stands, for one who gets nothing.
    pub(super) fn refused(&self, now: Instant) -> Standing {
        Standing { allowed: false, ..self.standing(now) }
    }

    /// What is to be settled now.
    pub(super) fn spent(&self) -> u32 {
        std::mem::take(&mut self.state().spent)
    }

    /// What there is, after `spent` was settled.
    pub(super) fn has(&self, level: f64, now: Instant) {
        let mut state = self.state();
        // Since then, more may have been spent here.
        let unsettled = f64::from(state.spent);
        state.level = level - unsettled;
        state.at = now;
        state.share = share(level) - unsettled;
        state.settled_at = Some(now);
        state.failed = false;
    }

    /// It could not be settled.
    pub(super) fn still_owes(&self, spent: u32) {
        let mut state = self.state();
        state.failed = true;
        // More than a whole burst is forgiven: nobody knows how long it has been.
        state.spent = state.spent.saturating_add(spent).min(self.rate.burst);
    }

    /// Whether Redis did not take the last settlement: then waiting for another helps nobody.
    pub(super) fn has_failed(&self) -> bool {
        self.state().failed
    }

    /// Whether it did not wait for a settlement before.
    pub(super) fn begin_waiting(&self) -> bool {
        !self.waits.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_waiting(&self) {
        self.waits.store(false, Ordering::Release);
        self.done.notify_waiters();
    }

    /// Done when the next settlement is.
    pub(super) fn settled(&self) -> OwnedNotified {
        self.done.clone().notified_owned()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn refill(&mut self, rate: Rate, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.level = (self.level + passed.as_secs_f64() * rate.per_second).min(f64::from(rate.burst));
        self.at = self.at.max(now);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.spent > 0 && self.settled_at.is_none_or(|at| now.saturating_duration_since(at) >= SETTLE_EVERY)
    }

    fn standing(&self, rate: Rate, allowed: bool) -> Standing {
        let until = |level: f64| Duration::from_secs_f64(((level - self.level) / rate.per_second).clamp(0.0, 86_400.0));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between nothing and the burst")]
        let remaining = self.level.max(0.0) as u32;
        Standing { allowed, limit: rate.burst, remaining, reset: until(f64::from(rate.burst)), retry_after: until(1.0) }
    }
}

/// One at least, as long as there is one.
fn share(level: f64) -> f64 {
    (level * SHARE).max(level.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, Taken};
    use crate::limits::Rate;

    fn bucket(per_second: u32, burst: u32) -> (Bucket, Instant) {
        let now = Instant::now();
        (Bucket::full(Rate::per_second(per_second, burst), String::new(), now), now)
    }

    fn allowed(bucket: &Bucket, now: Instant, shared: bool) -> Option<bool> {
        match bucket.take(now, shared) {
            Taken::Decided { standing, .. } => Some(standing.allowed),
            Taken::Ask => None,
        }
    }

    #[test]
    fn alone_it_gives_its_burst_and_then_its_rate() {
        let (bucket, now) = bucket(10, 20);
        assert_eq!((0..50).filter(|_| allowed(&bucket, now, false) == Some(true)).count(), 20);
        let later = now + Duration::from_secs(1);
        assert_eq!((0..50).filter(|_| allowed(&bucket, later, false) == Some(true)).count(), 10);
        let standing = bucket.standing(later);
        assert_eq!((standing.limit, standing.remaining, standing.reset, standing.allowed), (20, 0, Duration::from_secs(2), false));
        assert!((standing.retry_after.as_secs_f64() - 0.1).abs() < 1e-6, "{standing:?}");
    }

    #[test]
    fn shared_it_gives_an_eighth_before_it_has_to_ask() {
        let (bucket, now) = bucket(10, 80);
        assert_eq!((0..10).filter(|_| allowed(&bucket, now, true) == Some(true)).count(), 10);
        assert_eq!(allowed(&bucket, now, true), None);
        assert_eq!(bucket.spent(), 10);
        // Others have spent as much meanwhile.
        bucket.has(48.0, now);
        assert_eq!((0..6).filter(|_| allowed(&bucket, now, true) == Some(true)).count(), 6);
        assert_eq!(allowed(&bucket, now, true), None);
    }

    #[test]
    fn a_debt_is_paid_by_waiting_and_refused_without_asking() {
        let (bucket, now) = bucket(10, 100);
        bucket.has(-20.0, now);
        assert_eq!(allowed(&bucket, now + Duration::from_secs(2), true), Some(false));
        assert_eq!(allowed(&bucket, now + Duration::from_millis(2101), true), None, "others may have taken it");
        bucket.has(1.0, now + Duration::from_millis(2101));
        assert_eq!(allowed(&bucket, now + Duration::from_millis(2101), true), Some(true));
    }

    #[test]
    fn what_could_not_be_settled_is_still_owed_but_never_more_than_a_burst() {
        let (bucket, now) = bucket(10, 100);
        for _ in 0..90 {
            bucket.take(now, false);
        }
        let spent = bucket.spent();
        bucket.still_owes(spent);
        bucket.still_owes(50);
        assert_eq!(bucket.spent(), 100);
    }
}
