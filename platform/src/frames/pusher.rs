//! A process that holds sockets: its leases, and what it is told.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use schemas::UserId;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::standing::TOPICS;
use super::wire::{self, Item};
use super::{Fields, FrameLog, Heard, Places, scripts, topics};
use crate::redis::{RedisAway, Said};

/// For how long a pusher that has fallen silent is still told things.
pub const LEASE: Duration = Duration::from_secs(15);

/// Renewed so often within a lease.
const RENEWALS: u32 = 5;
/// What holds a user ends by itself after so long: of a pusher that died, where nothing is ever appended.
const HOLD: Duration = Duration::from_secs(60 * 60);
/// So long before, it is renewed.
const HOLD_AGAIN: Duration = Duration::from_secs(20 * 60);
/// Users in one script call.
const TOGETHER: usize = 256;
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// Whoever got no answer is told so again after this at the earliest: they ask for everybody then.
const LOST_AGAIN: Duration = Duration::from_secs(1);
/// What a pusher has heard and not taken yet; then Redis keeps it, as long as it can.
const HEARD: usize = 1_024;
/// Holding and releasing the same user happens in the order asked; so many users at a time.
const GATES: usize = 64;

/// This process, as those who append know it: holds users' sockets by leases that are renewed as long as it lives, and is told about them on a channel of its own.
///
/// Leaves when it or the receiver of what it hears is dropped.
pub struct Pusher {
    held: Arc<Held>,
    /// Its end is the task's.
    _alive: mpsc::Sender<()>,
}

impl fmt::Debug for Pusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pusher").field("id", &self.held.id).field("users", &self.held.users().len()).finish_non_exhaustive()
    }
}

struct Held {
    log: FrameLog,
    id: String,
    lease: Duration,
    /// `None`: never. Without a lease, whoever appends forgets us.
    leased: Mutex<Option<Leased>>,
    /// Who, and the number of their newest entry that was heard or read; `None`: not known yet.
    users: Mutex<HashMap<UserId, Option<u64>>>,
    gates: [tokio::sync::Mutex<()>; GATES],
}

/// How the lease stands.
#[derive(Debug, Clone, Copy)]
struct Leased {
    /// When it was last taken, counted from before it was asked for.
    renewed: Instant,
    /// Since when neither it nor the channel has been interrupted.
    unbroken: Instant,
}

impl Pusher {
    pub(super) fn start(log: FrameLog, lease: Duration) -> (Self, mpsc::Receiver<Heard>) {
        let gates = std::array::from_fn(|_| tokio::sync::Mutex::new(()));
        let id = Uuid::now_v7().simple().to_string();
        let held = Arc::new(Held { log, id, lease, leased: Mutex::default(), users: Mutex::default(), gates });
        let (heard, receiver) = mpsc::channel(HEARD);
        let (alive, end) = mpsc::channel(1);
        tokio::spawn(listen(held.clone(), heard, end));
        (Self { held, _alive: alive }, receiver)
    }

    /// This user has a socket here from now on: everything that is appended after the answer is heard (some of it perhaps before the answer is). The answer: where the logs end;
    /// everything up to there has been appended.
    ///
    /// # Errors
    /// [`RedisAway`], also where the logs have not begun yet: they are held all the same, as soon as Redis is back (then comes [`Heard::Lost`]).
    pub async fn hold(&self, user: UserId) -> Result<Places, RedisAway> {
        let held = &*self.held;
        let _gate = held.gate(user).await;
        held.users().entry(user).or_insert(None);
        if held.leased().is_none() {
            // Should it fail, the next question does, too.
            let _ = held.renew().await;
        }
        let (numbers, head) = held.register(&[user]).await?;
        if let (Some(known), Some(number)) = (held.users().get_mut(&user), numbers.first()) {
            // What was heard meanwhile is newer.
            known.get_or_insert(*number);
        }
        head.ok_or_else(|| RedisAway("the frame logs have not begun yet".to_owned()))
    }

    /// For how long everything that was said to those held here has reached this process, as far as it can know: its lease stood, and its channel. `None`: it may be missing something now,
    /// since its lease was not renewed in time (it stood still, or Redis is away).
    #[must_use]
    pub fn told_for(&self) -> Option<Duration> {
        let held = &*self.held;
        held.leased().filter(|leased| leased.renewed.elapsed() < held.lease).map(|leased| leased.unbroken.elapsed())
    }

    /// The last socket of this user here has closed.
    pub async fn release(&self, user: UserId) {
        let _gate = self.held.gate(user).await;
        self.held.users().remove(&user);
        self.held.forget(&[user]).await;
    }
}

impl Held {
    fn users(&self) -> MutexGuard<'_, HashMap<UserId, Option<u64>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leased(&self) -> Option<Leased> {
        *self.leased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was said until now may not have reached us.
    fn was_interrupted(&self) {
        if let Some(leased) = self.leased.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            leased.unbroken = Instant::now();
        }
    }

    async fn gate(&self, user: UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let gate = usize::from(user.0.as_bytes()[15]) % GATES;
        self.gates[gate].lock().await
    }

    fn lease_key(&self) -> String {
        format!("frames:pusher:{}", self.id)
    }

    /// The numbers of these users' newest entries, and where the logs end; `None`: there are none.
    async fn register(&self, users: &[UserId]) -> Result<(Vec<u64>, Option<Places>), RedisAway> {
        let mut args = vec![self.id.clone(), HOLD.as_millis().to_string()];
        args.extend(topics());
        args.extend(users.iter().map(ToString::to_string));
        let (numbers, standings): (Vec<u64>, Vec<Fields>) = self.log.ask(&scripts::HOLD, &args).await?;
        let mut head = Some(Places::default());
        for (topic, at) in TOPICS.into_iter().zip(&standings) {
            match (self.log.learn(topic, at), &mut head) {
                (Some(standing), Some(head)) => standing.raise(head),
                _ => head = None,
            }
        }
        Ok((numbers, head))
    }

    /// Whoever is forgotten too late is dropped when something comes for them, and forgotten then.
    async fn forget(&self, users: &[UserId]) {
        let mut forget = ::redis::pipe();
        for user in users {
            forget.cmd("SREM").arg(format!("frames:held:{user}")).arg(&self.id).ignore();
        }
        if let Err(error) = self.log.inner.redis.query::<()>(&forget).await {
            tracing::debug!(%error, "users that have left are forgotten later");
        }
    }

    /// Renews the lease; whether it still stood.
    async fn renew(&self) -> Result<bool, RedisAway> {
        let asked = Instant::now();
        let args = [self.lease_key(), self.lease.as_millis().to_string()];
        let stood: i64 = self.log.inner.redis.script(&scripts::RENEW, &[], &args).await?;
        let mut leased = self.leased.lock().unwrap_or_else(PoisonError::into_inner);
        let unbroken =
            leased.filter(|leased| stood == 1 && leased.renewed.elapsed() < self.lease).map_or_else(Instant::now, |leased| leased.unbroken);
        *leased = Some(Leased { renewed: asked, unbroken });
        Ok(stood == 1)
    }

    /// Holds everybody again. `anew`: what was heard before counts no more, whoever listens reads the logs.
    async fn hold_all(&self, anew: bool) -> Result<(), RedisAway> {
        self.renew().await?;
        let all: Vec<UserId> = self.users().keys().copied().collect();
        for users in all.chunks(TOGETHER) {
            let (numbers, _) = self.register(users).await?;
            let mut gone = Vec::new();
            {
                let mut held = self.users();
                for (user, number) in users.iter().zip(numbers) {
                    match held.entry(*user) {
                        Entry::Occupied(mut known) if anew => {
                            known.insert(Some(number));
                        }
                        Entry::Occupied(_) => {}
                        Entry::Vacant(_) => gone.push(*user),
                    }
                }
            }
            if !gone.is_empty() {
                self.forget_unheld(&gone).await;
            }
        }
        Ok(())
    }

    /// Those who are not held here now.
    async fn forget_unheld(&self, users: &[UserId]) {
        for user in users {
            let _gate = self.gate(*user).await;
            if !self.users().contains_key(user) {
                self.forget(&[*user]).await;
            }
        }
    }

    /// What an item means here; `Err`: it is for somebody who is not held.
    fn judge(&self, item: Item) -> Result<Option<Heard>, UserId> {
        match item {
            Item::Entry { user, logged, before, body } => {
                let mut users = self.users();
                let Some(known) = users.get_mut(&user) else { return Err(user) };
                let newest = known.replace(logged.seq);
                match newest {
                    Some(newest) if before == newest => Ok(Some(Heard::Entry(user, logged, body))),
                    None => Ok(Some(Heard::Entry(user, logged, body))),
                    Some(newest) if logged.seq <= newest => {
                        *known = Some(newest);
                        Ok(None)
                    }
                    Some(_) => Ok(Some(Heard::Behind(user))),
                }
            }
            Item::Note { users, text } => {
                let held = self.users();
                let here: Vec<UserId> = users.into_iter().filter(|user| held.contains_key(user)).collect();
                Ok((!here.is_empty()).then_some(Heard::Note(here, text)))
            }
            Item::Begun => Ok(None),
        }
    }
}

/// Hears the channel and keeps the leases, until either end is dropped.
async fn listen(held: Arc<Held>, heard: mpsc::Sender<Heard>, mut end: mpsc::Receiver<()>) {
    tokio::select! {
        () = hear(&held, &heard) => {}
        _ = end.recv() => {}
        () = heard.closed() => {}
    }
    // Nothing is lost when Redis cannot take it: the lease ends by itself.
    let _: Result<(), _> = held.log.inner.redis.query(::redis::pipe().cmd("DEL").arg(held.lease_key()).ignore()).await;
}

async fn hear(held: &Arc<Held>, heard: &mpsc::Sender<Heard>) {
    let mut channel = held.log.inner.redis.follow(vec![format!("frames:to:{}", held.id), "frames:all".to_owned()]);
    // Of a first lease nothing can have been lost.
    let _ = held.renew().await;
    let mut renewal = tokio::time::interval(held.lease / RENEWALS);
    renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut held_all, mut lost_last) = (Instant::now(), None::<Instant>);
    let mut unanswered = held.log.inner.unanswered.subscribe();
    loop {
        let (mut lost, mut said) = (false, None);
        let patient = lost_last.map_or_else(Instant::now, |at| at + LOST_AGAIN);
        tokio::select! {
            message = channel.recv() => match message {
                Some(Said::Message(message)) => said = Some(message),
                Some(Said::Began) => lost = true,
                None => return,
            },
            _ = renewal.tick() => match held.renew().await {
                Ok(stood) => lost = !stood,
                Err(error) => tracing::debug!(%error, "a pusher's lease could not be renewed"),
            },
            true = async {
                tokio::time::sleep_until(patient).await;
                unanswered.changed().await.is_ok()
            } => lost = true,
        }
        if let Some(message) = said {
            let (items, whole) = wire::read(&message);
            if !whole {
                tracing::warn!("a message on a pusher's channel cannot be read: the logs are read instead");
            }
            lost |= !whole || items.contains(&Item::Begun);
            for item in items {
                match held.judge(item) {
                    Ok(None) => {}
                    Ok(Some(news)) => {
                        if heard.send(news).await.is_err() {
                            return;
                        }
                    }
                    Err(user) => {
                        let held = held.clone();
                        tokio::spawn(async move { held.forget_unheld(&[user]).await });
                    }
                }
            }
        }
        if lost {
            loop {
                // What is asked in vain from here on is said in the next round.
                unanswered.mark_unchanged();
                match held.hold_all(true).await {
                    Ok(()) => break,
                    Err(error) => tracing::debug!(%error, "users are held again as soon as Redis is back"),
                }
                tokio::time::sleep(RETRY_EVERY).await;
            }
            held.was_interrupted();
            held_all = Instant::now();
            lost_last = Some(held_all);
            metrics::counter!("frames_lost_total").increment(1);
            if heard.send(Heard::Lost).await.is_err() {
                return;
            }
        } else if held_all.elapsed() > HOLD_AGAIN && held.hold_all(false).await.is_ok() {
            held_all = Instant::now();
        }
    }
}
