//! What this process knows of revoked sessions, and for how long that is enough.

use std::collections::HashMap;
use std::sync::RwLock;
use std::time::Duration;

use schemas::SessionId;
use tokio::sync::watch;
use tokio::time::Instant;

use super::revocations::Standing;
use crate::clock;

/// Sessions are thrown out after their tokens' end when the set has grown by this many.
const SWEEP: usize = 1_024;

/// The set in memory. What it once knew it never forgets before the end of the session's tokens, whatever Redis says.
#[derive(Debug)]
pub(super) struct RevokedSet {
    grace: Duration,
    state: RwLock<State>,
    /// How many were ever added.
    added: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Session → end of its tokens, seconds since 1970.
    sessions: HashMap<SessionId, i64>,
    /// When it last held everything that Redis knew; `None` before it was loaded.
    complete_at: Option<Instant>,
    swept_at_len: usize,
}

impl RevokedSet {
    pub(super) fn new(grace: Duration) -> Self {
        Self { grace, state: RwLock::default(), added: watch::Sender::new(0) }
    }

    pub(super) fn standing(&self, session: SessionId) -> Standing {
        self.standing_at(session, Instant::now())
    }

    fn standing_at(&self, session: SessionId, now: Instant) -> Standing {
        let state = self.state.read().expect("no panic holds this lock");
        if state.sessions.contains_key(&session) {
            return Standing::Revoked;
        }
        match state.complete_at {
            Some(at) if now.saturating_duration_since(at) <= self.grace => Standing::Live,
            _ => Standing::Unknown,
        }
    }

    pub(super) fn add(&self, session: SessionId, end: i64) {
        let now = clock::now().into_inner().unix_timestamp();
        if end < now {
            return;
        }
        let mut state = self.state.write().expect("no panic holds this lock");
        let is_news = !state.sessions.contains_key(&session);
        let known = state.sessions.entry(session).or_insert(end);
        *known = end.max(*known);
        if state.sessions.len() > state.swept_at_len + SWEEP {
            state.sessions.retain(|_, end| *end >= now);
            state.swept_at_len = state.sessions.len();
        }
        drop(state);
        if is_news {
            self.added.send_modify(|added| *added += 1);
        }
    }

    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.added.subscribe()
    }

    /// It held, at that moment, everything that Redis knew.
    pub(super) fn confirm(&self, at: Instant) {
        self.state.write().expect("no panic holds this lock").complete_at = Some(at);
    }

    pub(super) fn is_loaded(&self) -> bool {
        self.state.read().expect("no panic holds this lock").complete_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use schemas::SessionId;
    use tokio::time::Instant;
    use uuid::Uuid;

    use super::{RevokedSet, SWEEP, Standing};
    use crate::clock;

    const GRACE: Duration = Duration::from_secs(60);

    fn session(number: u128) -> SessionId {
        SessionId(Uuid::from_u128(number))
    }

    fn soon() -> i64 {
        clock::now().into_inner().unix_timestamp() + 100
    }

    #[test]
    fn before_it_is_loaded_nobody_is_known_to_live_but_the_revoked_are_known_to_be_revoked() {
        let set = RevokedSet::new(GRACE);
        set.add(session(1), soon());
        assert_eq!((set.standing(session(1)), set.standing(session(2))), (Standing::Revoked, Standing::Unknown));
        set.confirm(Instant::now());
        assert_eq!((set.standing(session(1)), set.standing(session(2))), (Standing::Revoked, Standing::Live));
    }

    #[test]
    fn without_redis_it_goes_on_for_the_grace_and_then_does_not_know() {
        let set = RevokedSet::new(GRACE);
        let begin = Instant::now();
        set.confirm(begin);
        let after = begin + GRACE + Duration::from_millis(1);
        assert_eq!(set.standing_at(session(1), begin + GRACE), Standing::Live);
        assert_eq!(set.standing_at(session(1), after), Standing::Unknown);
        assert!(set.is_loaded(), "what was loaded once stays loaded");
        set.confirm(after);
        assert_eq!(set.standing_at(session(1), after), Standing::Live);
    }

    #[test]
    fn what_has_ended_by_itself_is_forgotten_and_the_rest_is_not() {
        let set = RevokedSet::new(GRACE);
        set.add(session(0), soon() - 101);
        assert_eq!(set.standing(session(0)), Standing::Unknown, "its tokens ended before");
        for number in 1..=SWEEP as u128 + 10 {
            set.add(session(number), soon());
        }
        assert_eq!(set.standing(session(1)), Standing::Revoked);
    }
}
