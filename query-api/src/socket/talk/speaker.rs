//! What is remembered of one socket's talk.

use std::sync::Arc;
use std::time::Instant;

use platform::auth::Caller;
use platform::limits::Rate;
use schemas::MessageId;
use tokio::sync::oneshot;

/// Receipts of a socket that may be under way at once.
const RECEIPTS: usize = 8;

/// Who speaks on one socket, and what must be remembered of it: small as long as nothing was said.
#[derive(Debug)]
pub struct Speaker {
    caller: Arc<Caller>,
    /// Tokens as of `at`: at first as many as there may be.
    level: f64,
    at: Instant,
    /// Of each lane, the end of what was said last.
    lanes: Option<Box<[Option<oneshot::Receiver<()>>; 1 + RECEIPTS]>>,
}

/// What keeps its order: what is said in one lane is carried out one after the other, lanes beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Messages and typing.
    Talk,
    /// Receipts for one message.
    Of(MessageId),
}

/// One's turn in a lane. The next one's comes when this is dropped.
#[derive(Debug)]
pub struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _after: oneshot::Sender<()>,
}

impl Turn {
    /// Returns when everything before it in its lane is done.
    pub async fn comes(&mut self) {
        if let Some(before) = self.before.take() {
            // However it ended.
            let _ = before.await;
        }
    }
}

impl Speaker {
    /// A new socket of this caller.
    #[must_use]
    pub fn new(caller: Caller) -> Self {
        Self { caller: Arc::new(caller), level: f64::INFINITY, at: Instant::now(), lanes: None }
    }

    pub(super) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Takes so many tokens of what a socket may say; whether there were as many.
    pub(super) fn takes(&mut self, tokens: f64, rate: Rate, now: Instant) -> bool {
        let most = f64::from(rate.burst);
        let tokens = tokens.min(most);
        self.level = (self.level + now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second).min(most);
        self.at = now;
        let enough = self.level >= tokens;
        if enough {
            self.level -= tokens;
        }
        enough
    }

    /// The next turn in a lane.
    pub(super) fn turn(&mut self, lane: Lane) -> Turn {
        let lane = match lane {
            Lane::Talk => 0,
            Lane::Of(message) => 1 + usize::from(message.0.as_bytes()[15]) % RECEIPTS,
        };
        let (after, done) = oneshot::channel();
        Turn { before: self.lanes.get_or_insert_default()[lane].replace(done), _after: after }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Lane, Speaker};
    use futures::FutureExt;
    use platform::auth::Caller;
    use platform::limits::Rate;
    use schemas::{MessageId, SessionId, UserId};
    use uuid::Uuid;

    fn speaker() -> Speaker {
        let user = UserId(Uuid::from_u128(1));
        Speaker::new(Caller { user, session: SessionId(Uuid::from_u128(2)), role: "user".into(), token_ends: 0 })
    }

    #[test]
    fn a_socket_may_say_so_much_at_once_and_then_so_much_a_second() {
        let (mut speaker, now, rate) = (speaker(), Instant::now(), Rate::per_second(200, 1_000));
        let heard = |speaker: &mut Speaker, now| (0..2_000).filter(|_| speaker.takes(1.0, rate, now)).count();
        assert_eq!(heard(&mut speaker, now), 1_000);
        assert_eq!(heard(&mut speaker, now + Duration::from_secs(1)), 200);
        assert!(!speaker.takes(20.0, rate, now + Duration::from_secs(1)));
        assert_eq!(heard(&mut speaker, now + Duration::from_millis(1_500)), 100, "what was refused has cost nothing");
        let small = Rate::per_second(1, 5);
        assert!(speaker.takes(20.0, small, now + Duration::from_secs(60)), "what costs more than there can be takes all there is");
        assert!(!speaker.takes(1.0, small, now + Duration::from_secs(60)));
    }

    #[tokio::test]
    async fn turns_of_a_lane_come_one_after_the_other_and_those_of_others_beside_them() {
        let mut speaker = speaker();
        let of = |n: u128| Lane::Of(MessageId(Uuid::from_u128(n)));
        let (mut first, mut second, mut other) = (speaker.turn(of(1)), speaker.turn(of(1)), speaker.turn(of(2)));
        first.comes().await;
        other.comes().await;
        assert!(second.comes().now_or_never().is_none());
        speaker.turn(Lane::Talk).comes().await;
    }

    #[tokio::test]
    async fn a_turn_comes_when_the_one_before_it_is_gone_even_untaken() {
        let mut speaker = speaker();
        let (first, second, mut third) = (speaker.turn(Lane::Talk), speaker.turn(Lane::Talk), speaker.turn(Lane::Talk));
        drop(first);
        drop(second);
        third.comes().await;
    }
}
