//! Who is here, and who is told so: presence, as sockets have it.
//!
//! A process holds one lease for each of its users, however many sockets they have; it renews them, and lets one end 5 s after the user's last socket has closed. So
//! a reconnect, on whichever process, is no change, and what a process held that died ends by itself. Who came or left is news in Redis, which every process takes from
//! there as it takes leases that have ended: each is told once, by one of them, as notes ([`super::Said`]).

mod audience;
mod leases;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use platform::frames::FrameLog;
use platform::fresh::Freshness;
use platform::presence::Presence;
use platform::shutdown::Shutdown;
use schemas::UserId;
use schemas::read_models::{Contacts, ReadModel};
use tokio::sync::Notify;

pub use leases::Here;
use leases::Leases;

use super::note::Said;
use crate::sight;

/// Takes leases for this process's users, tells those who may know who came and who left, and says who is here. Clones share everything.
///
/// A hint, never an error: without Redis nobody is here, and without Postgres nobody is told.
#[derive(Debug, Clone)]
pub struct Attendance {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    presence: Presence,
    freshness: Freshness,
    log: FrameLog,
    leases: Arc<Leases>,
    /// Somebody came or left: whoever tells need not wait for the next look.
    news: Notify,
}

impl Attendance {
    /// `freshness` must hold the pools of `user_db` and `message_db`.
    #[must_use]
    pub fn new(presence: Presence, freshness: Freshness, log: FrameLog) -> Self {
        let inner = Inner { presence, freshness, log, leases: Arc::default(), news: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// A socket of this user has opened; they are here until the answer is dropped. Returns at once: the lease is taken in the background, together with those of others.
    pub fn opened(&self, user: UserId) -> Here {
        self.inner.leases.opened(user)
    }

    /// Those of a user's contacts who are here, as far as they let the user see it: `online_users` of `connection_established`.
    ///
    /// Ask after [`platform::frames::Pusher::hold`], so that whoever comes or goes meanwhile is heard of. `None` when it cannot be told.
    pub async fn online_users(&self, user: UserId) -> Option<Vec<UserId>> {
        let Inner { freshness, presence, .. } = &*self.inner;
        audience::settle(freshness, &[user]).await;
        let contacts = audience::contacts_of(users(freshness), user).await.ok()?;
        let seen = sight::seen_if_known(freshness, presence, user, &contacts).await?;
        Some(contacts.into_iter().zip(seen).filter(|(_, seen)| seen.is_online).map(|(contact, _)| contact).collect())
    }

    /// Redis may have lost leases: all are taken again at once.
    pub fn renew_all(&self) {
        self.inner.leases.renew_all();
    }

    /// Of each of `people`, whether `viewer` may see that they are here: `is_online` of `contact_added`, which [`super::Said::online`] follows when they are.
    pub async fn seen(&self, viewer: UserId, people: &[UserId]) -> Vec<bool> {
        let Inner { freshness, presence, .. } = &*self.inner;
        let named: Vec<UserId> = people.iter().copied().chain([viewer]).collect();
        audience::settle(freshness, &named).await;
        sight::seen(freshness, presence, viewer, people).await.iter().map(|seen| seen.is_online).collect()
    }

    /// What `viewer` is to be told of a peer who is here, now that a block has come between the two (`apart`) or the last one was lifted. Nothing when they do not have the peer in their list, or are not let
    /// see them anyway, or when it cannot be told.
    pub async fn told_apart(&self, viewer: UserId, peer: UserId, apart: bool) -> Option<Said> {
        let Inner { freshness, presence, .. } = &*self.inner;
        if !presence.is_online(peer).await || !audience::holds(users(freshness), viewer, peer).await.unwrap_or(false) {
            return None;
        }
        if !apart {
            return self.seen(viewer, &[peer]).await[0].then(|| Said::online(peer));
        }
        let sights = sight::between(users(freshness), &[(viewer, peer)]).await.unwrap_or_default();
        sights.first().is_some_and(|sight| sight.is_open()).then(|| Said::kept_away(peer))
    }

    /// Renews leases, finds those that have ended with their process, and tells. Runs until the shutdown; one per process.
    ///
    /// At its end the leases of whoever is still here are left to end by themselves soon: their sockets are about to come back, here or elsewhere.
    pub async fn run(self, shutdown: Shutdown) {
        let Inner { presence, leases, news, .. } = &*self.inner;
        tokio::select! {
            () = shutdown.draining() => {}
            never = async { tokio::join!(leases.keep(presence, news), self.tell()) } => match never.0 {},
        }
        leases.leave_all(presence).await;
    }
}

fn users(freshness: &Freshness) -> &sqlx::PgPool {
    &freshness.pools[Contacts::SERVICE]
}
