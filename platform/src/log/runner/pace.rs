//! When the next batch may begin.
//!
//! A transaction costs about as much as the rows of thirty events, so many small ones would take the time of those who write. Single events go through as they come while there are few of them.

use std::time::{Duration, Instant};

/// A batch of so many events is load: the next one begins no sooner than [`LOADED`] after it began, and so gathers more.
const LOAD: usize = 16;

/// What a reader who waits for the next batch waits longer under load, at most.
const LOADED: Duration = Duration::from_millis(15);

/// Smaller batches may begin once in so long on average …
const SMALL: Duration = Duration::from_millis(4);

/// … and so many of them at once (the generic cell rate algorithm, ITU-T I.371): 100 messages a second and their 100 receipts, however they bunch, wait for nothing.
const BURST: u32 = 16;

/// The pace of one runner.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the allowance of small batches is whole again.
    due: Option<Instant>,
}

impl Pace {
    /// The earliest beginning of the batch after one of `events` that began at `began`.
    pub(super) fn after(&mut self, began: Instant, events: usize) -> Instant {
        if events >= LOAD {
            return began + LOADED;
        }
        let due = self.due.unwrap_or(began).max(began) + SMALL;
        self.due = Some(due);
        due.checked_sub(SMALL * BURST).unwrap_or(began).max(began)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_hundred_single_events_a_second_wait_for_nothing() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        for n in 0..2_000 {
            // In bunches of ten.
            let at = begin + Duration::from_millis(n / 10 * 50);
            assert_eq!(pace.after(at, 1), at, "event {n}");
        }
    }

    #[test]
    fn a_stream_of_single_events_is_gathered() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        let (mut now, mut batches) = (begin, 0);
        while now < begin + Duration::from_secs(1) {
            now = pace.after(now, 1).max(now + Duration::from_micros(500));
            batches += 1;
        }
        assert!((250..=270).contains(&batches), "{batches} batches in a second");
    }

    #[test]
    fn a_large_batch_is_followed_by_one_a_period_later_and_uses_up_no_allowance() {
        let (mut pace, begin) = (Pace::default(), Instant::now());
        for n in 0..100 {
            let at = begin + LOADED * n;
            assert_eq!(pace.after(at, LOAD), at + LOADED);
        }
        assert_eq!(pace.after(begin, 1), begin);
    }
}
