//! The leases that a process holds for its users.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::presence::Presence;
use platform::redis::RedisAway;
use schemas::UserId;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

/// Each lease is renewed once in so many ticks: half of what it holds.
const ROUND: u64 = 30;
/// How long the end may wait for Redis.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// 1 s, with leases of 60 s.
fn tick(presence: &Presence) -> Duration {
    presence.lease() / 60
}

/// For so long somebody is still here when the process ends, 15 s: it will take clients a moment to find another.
fn grace_at_the_end(presence: &Presence) -> Duration {
    tick(presence) * 15
}

/// Who is here, and of whom Redis is still to be told.
#[derive(Debug)]
pub(super) struct Leases {
    holder: String,
    state: Mutex<State>,
    touched: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// How many sockets somebody has.
    sockets: HashMap<UserId, u32>,
    /// Who has come or left since Redis was told.
    touched: HashSet<UserId>,
    /// Nobody knows which leases have ended: Redis was away, or was emptied.
    all_due: bool,
}

/// An open socket of somebody's, as far as presence is concerned. Dropped when the socket closes: with the last one of a user in any process, they are offline 5 s later.
#[derive(Debug)]
#[must_use = "who drops it has left"]
pub struct Here {
    leases: Arc<Leases>,
    user: UserId,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.leases.closed(self.user);
    }
}

impl Default for Leases {
    fn default() -> Self {
        Self { holder: format!("sockets:{}", Uuid::now_v7()), state: Mutex::default(), touched: Notify::new() }
    }
}

impl Leases {
    pub(super) fn opened(self: &Arc<Self>, user: UserId) -> Here {
        let mut state = self.state();
        let sockets = state.sockets.entry(user).or_default();
        *sockets += 1;
        if *sockets == 1 {
            self.touch(state, user);
        }
        Here { leases: self.clone(), user }
    }

    fn closed(&self, user: UserId) {
        let mut state = self.state();
        let Some(sockets) = state.sockets.get_mut(&user) else { return };
        *sockets -= 1;
        if *sockets == 0 {
            state.sockets.remove(&user);
            self.touch(state, user);
        }
    }

    fn touch(&self, mut state: MutexGuard<'_, State>, user: UserId) {
        state.touched.insert(user);
        drop(state);
        self.touched.notify_one();
    }

    /// Tells Redis what it does not know yet, and renews. `news` hears when somebody became online by that.
    pub(super) async fn keep(&self, presence: &Presence, news: &Notify) -> Infallible {
        let mut every = interval(tick(presence));
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0;
        loop {
            tokio::select! {
                () = self.touched.notified() => {}
                _ = every.tick() => {
                    ticks += 1;
                    let all_due = std::mem::take(&mut self.state().all_due);
                    let due = self.known(|user| all_due || user.0.as_u128() % u128::from(ROUND) == u128::from(ticks % ROUND));
                    match presence.come(&due, &self.holder, true).await {
                        Ok(0) => {}
                        Ok(_) => news.notify_one(),
                        Err(_) => self.renew_all(),
                    }
                }
            }
            match self.settle(presence).await {
                Ok(0) => {}
                Ok(_) => news.notify_one(),
                Err(_) => self.renew_all(),
            }
        }
    }

    /// All are renewed with the next tick.
    pub(super) fn renew_all(&self) {
        self.state().all_due = true;
    }

    /// What has changed since the last time: as it is now, not as it came about. How many changed what others see.
    async fn settle(&self, presence: &Presence) -> Result<u64, RedisAway> {
        let (came, left): (Vec<UserId>, Vec<UserId>) = {
            let mut state = self.state();
            let touched = std::mem::take(&mut state.touched);
            touched.into_iter().partition(|user| state.sockets.contains_key(user))
        };
        let told =
            async { Ok(presence.come(&came, &self.holder, false).await? + presence.go(&left, &self.holder, presence.grace()).await?) };
        let told = told.await;
        if told.is_err() {
            // They are still to be told of, as they are by then. Should this process die before, leases of those who have left end by themselves.
            self.state().touched.extend(came.into_iter().chain(left));
        }
        told
    }

    /// Nobody is here any more, as far as this process is concerned.
    pub(super) async fn leave_all(&self, presence: &Presence) {
        let all: Vec<UserId> = {
            let mut state = self.state();
            let touched = std::mem::take(&mut state.touched);
            state.sockets.keys().copied().chain(touched).collect()
        };
        let left = tokio::time::timeout(LAST_WORDS, presence.go(&all, &self.holder, grace_at_the_end(presence))).await;
        if !matches!(left, Ok(Ok(_))) {
            tracing::debug!("leases of this process end by themselves");
        }
    }

    /// Those who are here, and of whom Redis has been told: to renew the lease of one who has only now come would be to hide it.
    fn known(&self, due: impl Fn(&UserId) -> bool) -> Vec<UserId> {
        let state = self.state();
        state.sockets.keys().filter(|user| !state.touched.contains(user) && due(user)).copied().collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
