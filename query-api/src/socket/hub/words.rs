//! What is said to users and kept nowhere: who types, who is here, who is apart.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt;
use platform::frames::BlockNote;
use schemas::UserId;

use super::super::held::Held;
use super::super::note::Said;
use super::super::outbox::Outbox;
use super::{Below, Hub, Inner};

/// After something was lost it takes leases so long to be where they were; then it is looked who is here.
const LEASES_AGAIN: Duration = Duration::from_secs(3);
/// Users for whom that is done at the same time: nobody waits for it.
const LOOK_TOGETHER: usize = 4;
/// How often somebody looks whom nothing can be told, and how long it rests between.
const LOOKS: u32 = 15;
const LOOK_AFTER: Duration = Duration::from_secs(2);

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
    pub(in super::super) fn hide(&self, held: &Arc<Held>, peer: UserId) {
        if held.hides(peer) {
            let (log, held) = (self.inner.below.log.clone(), held.clone());
            tokio::spawn(async move {
                if let Err(error) = log.hide(held.user, peer).await {
                    held.forget_hidden(Some(peer));
                    tracing::debug!(%error, "that a block hides something is noted with the next of it");
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
            futures::stream::iter(self.all()).for_each_concurrent(LOOK_TOGETHER, |held| self.see(held, None, loss)).await;
        }
    }

    /// A socket has opened while it could not be told who is here: it is looked again.
    pub(in super::super) fn see_later(&self, held: &Arc<Held>, newcomer: &Arc<Outbox>) {
        let (hub, held, newcomer) = (self.clone(), held.clone(), newcomer.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LOOK_AFTER).await;
            let loss = hub.inner.losses.load(Ordering::Relaxed);
            hub.see(held, Some(newcomer), loss).await;
        });
    }

    /// Looks until it can be told, unless something more is lost meanwhile: then somebody else does.
    async fn see(&self, held: Arc<Held>, newcomer: Option<Arc<Outbox>>, loss: u64) {
        for _ in 0..LOOKS {
            let is_over = newcomer.is_none() && self.inner.losses.load(Ordering::Relaxed) != loss;
            if is_over || !held.has_sockets() {
                return;
            }
            let look = held.look();
            match (self.inner.below.attendance.online_users(held.user).await, &newcomer) {
                (Some(online), None) => return look.tell(&online, None),
                (Some(online), Some(newcomer)) => return look.tell_all_to(&online, newcomer),
                (None, _) => drop(look),
            }
            tokio::time::sleep(LOOK_AFTER).await;
        }
    }
}
