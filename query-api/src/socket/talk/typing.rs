//! How often somebody is shown to be typing.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use schemas::UserId;

/// `typing: true` is told to a peer once in this time.
const EVERY: Duration = Duration::from_secs(1);
/// To how many peers within that time.
const PEERS: usize = 32;
/// With fewer people, nobody looks for those who have stopped.
const FEW: usize = 1_024;

/// Who has been shown to whom as typing, lately, by any socket of this process. Each process counts for itself: somebody with sockets at several is shown once a second by each of them.
#[derive(Debug, Default)]
pub(super) struct Typing {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    typists: HashMap<UserId, Vec<(UserId, Instant)>>,
    /// So many were left the last time that somebody looked.
    left: usize,
}

impl Typing {
    /// Whether `peer` is to be shown now that `user` is typing. If so, not again for a while.
    pub(super) fn shows(&self, user: UserId, peer: UserId, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < EVERY;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Twice as many as were left: so what is kept is bounded by what was typed in a second, and looking costs each typist next to nothing.
        if state.typists.len() >= FEW.max(2 * state.left) {
            state.typists.retain(|_, peers| peers.iter().any(|(_, at)| is_recent(*at)));
            state.typists.shrink_to(FEW);
            state.left = state.typists.len();
        }
        let peers = state.typists.entry(user).or_default();
        peers.retain(|(_, at)| is_recent(*at));
        let shows = peers.len() < PEERS && peers.iter().all(|(known, _)| *known != peer);
        if shows {
            peers.push((peer, now));
        }
        shows
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{FEW, PEERS, Typing};
    use schemas::UserId;
    use uuid::Uuid;

    fn user(n: usize) -> UserId {
        UserId(Uuid::from_u128(n as u128))
    }

    #[test]
    fn typing_is_shown_once_a_second_to_each_peer_of_each_user() {
        let (typing, now) = (Typing::default(), Instant::now());
        let ann = user(0);
        assert!(typing.shows(ann, user(1), now) && typing.shows(ann, user(2), now) && typing.shows(user(3), user(1), now));
        assert!(!typing.shows(ann, user(1), now + Duration::from_millis(999)));
        assert!(typing.shows(ann, user(1), now + Duration::from_millis(1_000)));
        let later = now + Duration::from_secs(5);
        assert_eq!((1..1_000).filter(|n| typing.shows(ann, user(*n), later)).count(), PEERS);
    }

    #[test]
    fn whoever_has_stopped_is_forgotten_and_nobody_else() {
        let (typing, mut now) = (Typing::default(), Instant::now());
        for round in 0..20 {
            now += Duration::from_secs(1);
            assert!((0..5_000).all(|n| typing.shows(user(round * 5_000 + n), user(1), now)));
            assert!((0..5_000).all(|n| !typing.shows(user(round * 5_000 + n), user(1), now)));
        }
        let kept = typing.state.lock().expect("no test panicked").typists.len();
        assert!(kept <= 2 * 5_000 + FEW, "{kept}");
    }
}
