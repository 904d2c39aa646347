//! Telling who came and who left.

use std::convert::Infallible;

use platform::clock;
use platform::presence::Seen;
use schemas::UserId;
use tokio::time::{MissedTickBehavior, interval};

use super::{Attendance, Inner, audience, users};
use crate::socket::note::Note;

/// Of how many people at once.
const AT_ONCE: usize = 256;

impl Attendance {
    /// Tells, for ever.
    pub(super) async fn tell(&self) -> Infallible {
        // Once a second, with leases of 60 s: for those that have ended, and for news of processes that have no sockets.
        let mut tick = interval(self.inner.presence.lease() / 60);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.inner.news.notified() => {}
                _ = tick.tick() => {}
            }
            while let Ok(changed) = self.inner.presence.changed(AT_ONCE).await {
                if changed.is_empty() {
                    break;
                }
                self.tell_of(&changed).await;
            }
        }
    }

    /// What is told is what is so by now: of two who tell at once, neither tells what is over.
    async fn tell_of(&self, changed: &[UserId]) {
        let Inner { freshness, presence, log, .. } = &*self.inner;
        audience::settle(freshness, changed).await;
        let mut after = audience::BEGIN;
        loop {
            let page = match audience::of(users(freshness), changed, after).await {
                Ok(page) => page,
                Err(problem) => {
                    tracing::warn!(code = problem.code, people = changed.len(), "who came or left is told to nobody");
                    return;
                }
            };
            let (seen, at) = (presence.of(changed).await, clock::now());
            for (user, Seen { is_online, .. }) in changed.iter().copied().zip(seen) {
                let Some(holders) = page.holders.get(&user) else { continue };
                let note = if is_online { Note::Online { user, at } } else { Note::Offline { user, at } };
                for holders in holders.chunks(audience::AT_ONCE) {
                    if let Err(error) = log.note(holders, &note.text()).await {
                        tracing::debug!(%error, "who came or left is told to nobody");
                        return;
                    }
                }
            }
            match page.next {
                Some(next) => after = next,
                None => return,
            }
        }
    }
}
