//! What is said to users and kept nowhere: who types, who is here, who is apart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use platform::frames::BlockNote;
use schemas::UserId;

use super::super::held::Held;
use super::super::note::Said;
use super::{Below, Hub, Inner};

/// After something was lost it takes leases so long to be where they were; then it is looked who is here.
const LEASES_AGAIN: Duration = Duration::from_secs(3);
/// Users for whom that is done at the same time: nobody waits for it.
const LOOK_TOGETHER: usize = 4;

impl Hub {
    pub(super) fn note(&self, users: &[UserId], text: &str) {
        if let Some(BlockNote { by, towards, stands }) = BlockNote::read(text) {
            for user in [by, towards] {
                if let Some(held) = self.held(user)
                    && let Some(change) = held.block((by, towards), stands)
                {
                    self.tell_apart(&held, vec![change]);
                }
            }
        } else if let Some(said) = Said::read(text) {
            users.iter().filter_map(|user| self.held(*user)).for_each(|held| held.say(&said));
        }
    }

    /// A block keeps something of a peer's from a user who came to it: to be known when it ends.
    pub(in super::super) fn hide(&self, held: &Held, peer: UserId) {
        if held.hides(peer) {
            let (log, user) = (self.inner.below.log.clone(), held.user);
            tokio::spawn(async move {
                if let Err(error) = log.hide(user, peer).await {
                    tracing::debug!(%error, "what a block hides is not known when it ends");
                }
            });
        }
    }

    /// Who is kept away is gone, as far as a user's sockets see, and is here again when that is over.
    pub(super) fn tell_apart(&self, held: &Arc<Held>, changes: Vec<(UserId, bool)>) {
        if changes.is_empty() {
            return;
        }
        let (attendance, held) = (self.inner.below.attendance.clone(), held.clone());
        tokio::spawn(async move {
            for (peer, apart) in changes {
                if let Some(said) = attendance.told_apart(held.user, peer, apart).await {
                    held.say(&said);
                }
            }
        });
    }

    /// Who came and left while nothing was heard has been told to nobody here: it is looked who is here, and what has changed is told.
    pub(super) async fn look_again(&self) {
        let Inner { below: Below { attendance, redis, .. }, losses, .. } = &*self.inner;
        let loss = losses.fetch_add(1, Ordering::Relaxed) + 1;
        attendance.renew_all();
        tokio::time::sleep(LEASES_AGAIN).await;
        // Else whoever came later looks.
        if losses.load(Ordering::Relaxed) == loss && redis.is_up() {
            futures::stream::iter(self.all()).for_each_concurrent(LOOK_TOGETHER, |held| self.see(held)).await;
        }
    }

    async fn see(&self, held: Arc<Held>) {
        if held.has_sockets() {
            let look = held.look();
            if let Some(online) = self.inner.below.attendance.online_users(held.user).await {
                look.tell(&online, None);
            }
        }
    }
}
