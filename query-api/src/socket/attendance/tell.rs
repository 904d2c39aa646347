//! Telling who came, who left, and who lets it be seen otherwise.

use std::collections::BTreeMap;
use std::convert::Infallible;

use platform::clock;
use platform::http::Problem;
use platform::presence::News;
use schemas::UserId;
use schemas::users::LastSeen;
use tokio::time::{MissedTickBehavior, interval};

use super::{Attendance, Inner, audience, users};
use crate::sight::{self, Sight};
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
    async fn tell_of(&self, news: &[News]) {
        let Inner { freshness, presence, log, .. } = &*self.inner;
        let mut changes = BTreeMap::<UserId, Change>::new();
        for News { user, was_shown_to } in news {
            let change = changes.entry(*user).or_default();
            match was_shown_to {
                None => change.came_or_left = true,
                Some(was) => change.was_shown_to.push(*was),
            }
        }
        let changed: Vec<UserId> = changes.keys().copied().collect();
        audience::settle(freshness, &changed).await;
        let mut after = audience::BEGIN;
        loop {
            let page = async {
                let page = audience::of(users(freshness), &changed, after).await?;
                let sights = sight::between(users(freshness), &page.pairs).await?;
                Ok::<_, Problem>((page, sights))
            };
            let (page, sights) = match page.await {
                Ok(found) => found,
                Err(problem) => {
                    tracing::warn!(code = problem.code, people = changed.len(), "who came or left is told to nobody");
                    return;
                }
            };
            let here = presence.of(&changed).await.into_iter().map(|seen| seen.is_online);
            let (here, at): (BTreeMap<UserId, bool>, _) = (changed.iter().copied().zip(here).collect(), clock::now());
            let mut told = BTreeMap::<(UserId, bool), Vec<UserId>>::new();
            for ((holder, user), sight) in page.pairs.iter().zip(sights) {
                if let Some(online) = changes[user].shows(sight, here[user]) {
                    told.entry((*user, online)).or_default().push(*holder);
                }
            }
            for ((user, online), holders) in told {
                let note = if online { Note::Online { user, at } } else { Note::Offline { user, at } };
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

/// What is new of somebody.
#[derive(Debug, Default)]
struct Change {
    came_or_left: bool,
    /// To whom they were shown, before each change of that.
    was_shown_to: Vec<LastSeen>,
}

impl Change {
    /// What one of those who have them in their list is to be told: that they are here, that they are not (any more, as far as that one sees), or nothing.
    fn shows(&self, sight: Sight, is_online: bool) -> Option<bool> {
        let was = |open: bool| self.was_shown_to.iter().any(|was| sight.was_open(*was) == open);
        if sight.is_open() {
            (self.came_or_left || (is_online && was(false))).then_some(is_online)
        } else {
            // Also of whom is not here by now: they may have left before anybody could tell.
            was(true).then_some(false)
        }
    }
}
