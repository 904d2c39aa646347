//! Messages that were deleted while they may still be on their way to a socket.

use std::collections::VecDeque;
use std::time::Duration;

use schemas::MessageId;
use tokio::time::Instant;

/// Longer than anything is owed to a client that reads.
const KEPT: Duration = Duration::from_secs(10 * 60);
const MOST: usize = 1_024;

/// The newest of them, as one user's sockets have heard of them.
#[derive(Debug, Default)]
pub(super) struct Deleted(VecDeque<(MessageId, Instant)>);

impl Deleted {
    pub(super) fn note(&mut self, id: MessageId, now: Instant) {
        while self.0.len() >= MOST || self.0.front().is_some_and(|(_, since)| now.duration_since(*since) > KEPT) {
            self.0.pop_front();
        }
        self.0.push_back((id, now));
    }

    pub(super) fn has(&self, id: MessageId) -> bool {
        self.0.iter().any(|(deleted, _)| *deleted == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_was_deleted_is_known_for_a_while_and_only_so_much_of_it() {
        let (mut deleted, begin) = (Deleted::default(), Instant::now());
        let id = |n: usize| MessageId(Uuid::from_u128(n as u128));
        assert!(!deleted.has(id(0)));
        (0..=MOST).for_each(|n| deleted.note(id(n), begin));
        assert!(!deleted.has(id(0)) && deleted.has(id(1)) && deleted.has(id(MOST)));
        deleted.note(id(0), begin + KEPT * 2);
        assert_eq!(deleted.0.len(), 1);
        assert!(deleted.has(id(0)));
    }
}
