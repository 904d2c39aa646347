//! Leaves marks: those of all commands that wait at the same time in one script call.

use std::collections::{BTreeMap, HashMap};
use std::sync::{LazyLock, Weak};
use std::time::Duration;

use ::redis::{FromRedisValue, Script, Value};
use schemas::{Topic, UserId};
use tokio::sync::mpsc;

use super::{LOST, Leave, Lost, Mark, STANDS, WAKE, Wake, key};
use crate::redis::{Redis, RedisAway};
use crate::shutdown::Shutdown;

/// Redis runs nothing else meanwhile: below a millisecond.
const BATCH: usize = 256;
const TELL_EVERY: Duration = Duration::from_millis(50);

/// KEYS: one per user. ARGV: per user the life of its hash in ms (never shortened) and the number of its marks, then field and position of each; what is left is published.
///
/// Positions are compared as decimal texts: Lua's numbers are doubles.
static RAISE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local at = 1
        for _, user in ipairs(KEYS) do
          local life, marks = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
          at = at + 2
          for _ = 1, marks do
            local field, new = ARGV[at], ARGV[at + 1]
            local old = redis.call('HGET', user, field)
            if not old or #old < #new or (#old == #new and old < new) then redis.call('HSET', user, field, new) end
            at = at + 2
          end
          if redis.call('PTTL', user) < life then redis.call('PEXPIRE', user, life) end
        end
        for i = at, #ARGV do redis.call('PUBLISH', 'wake', ARGV[i]) end
        return 0",
    )
});
const _: () = assert!(matches!(WAKE.as_bytes(), b"wake"), "the script says so");

/// Runs until the last [`super::Marks`] is gone.
pub(super) async fn write(mut queue: mpsc::Receiver<Leave>, redis: Redis) {
    let mut leaves = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut leaves, BATCH).await > 0 {
        let left = raise(&redis, &leaves).await.is_ok();
        for leave in leaves.drain(..) {
            // Who has given up waiting has counted it as lost.
            let _ = leave.done.send(left);
        }
    }
}

async fn raise(redis: &Redis, leaves: &[Leave]) -> Result<(), RedisAway> {
    let mut by_user: HashMap<UserId, (Duration, BTreeMap<String, i64>)> = HashMap::new();
    let mut wakes: BTreeMap<Topic, i64> = BTreeMap::new();
    for leave in leaves {
        for mark in &leave.marks {
            let highest = wakes.entry(mark.topic).or_default();
            *highest = mark.position.max(*highest);
            let field = mark.field();
            for user in &leave.users {
                let (kept, marks) = by_user.entry(*user).or_default();
                *kept = leave.kept.max(*kept);
                match marks.get_mut(&field) {
                    Some(position) => *position = mark.position.max(*position),
                    None => {
                        marks.insert(field.clone(), mark.position);
                    }
                }
            }
        }
    }
    let mut keys = Vec::with_capacity(by_user.len());
    let mut args = Vec::new();
    for (user, (kept, marks)) in by_user {
        keys.push(key(user));
        args.extend([kept.as_millis().to_string(), marks.len().to_string()]);
        for (field, position) in marks {
            args.extend([field, position.to_string()]);
        }
    }
    args.extend(wakes.into_iter().map(|(topic, position)| Wake { topic, position }.to_string()));
    redis.script(&RAISE, &keys, &args).await
}

/// Says `marks:lost` for every loss, as soon as Redis takes it. Runs until `shutdown` has finished or the last [`super::Marks`] is gone.
pub(super) async fn tell_losses(lost: Weak<Lost>, redis: Redis, kept: Duration, shutdown: Shutdown) {
    let telling = async {
        while let Some(lost) = lost.upgrade() {
            if let Some(happened) = lost.untold() {
                let millis = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
                let told: Result<(), _> = redis.query(::redis::pipe().cmd("SET").arg(LOST).arg(1).arg("PX").arg(millis).ignore()).await;
                if told.is_ok() {
                    lost.told.fetch_max(happened, std::sync::atomic::Ordering::SeqCst);
                    tracing::info!(happened, "told others of marks that could not be left");
                    continue;
                }
                drop(lost);
                tokio::time::sleep(TELL_EVERY).await;
            } else {
                tokio::select! {
                    () = lost.news.notified() => {}
                    // Whether anybody is still interested.
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                }
            }
        }
    };
    tokio::select! {
        () = telling => {}
        () = shutdown.finished() => {}
    }
}

/// A Redis that this process has started for itself lacks nothing when it is first asked ([`Redis::connect_to_own`]), however empty it is.
pub(super) async fn begin(redis: &Redis) {
    if redis.up_for() == Some(Duration::MAX) {
        // Where it fails, it will be found missing: that costs half a minute of waiting for heads.
        let _: Result<(), _> = redis.query(::redis::pipe().cmd("SET").arg(STANDS).arg(1).arg("NX").ignore()).await;
    }
}

/// Says to everybody that marks are missing, for as long as one would be kept. Whoever says it first is enough.
pub(super) async fn tell_emptied(redis: &Redis, kept: Duration) {
    static EMPTIED: LazyLock<Script> = LazyLock::new(|| {
        Script::new("if redis.call('SET', KEYS[1], 1, 'NX') then redis.call('SET', KEYS[2], 1, 'PX', ARGV[1]) return 1 end return 0")
    });
    let keys = [STANDS.to_owned(), LOST.to_owned()];
    // Else somebody else has said it, or the next who looks will.
    if let Ok(1) = redis.script::<i64>(&EMPTIED, &keys, &[kept.as_millis().max(1).to_string()]).await {
        tracing::info!("marks begin anew in a Redis that is new, or was emptied");
    }
}

/// What Redis answers to who looks for marks.
#[derive(Debug)]
pub(super) struct Read {
    /// `marks:lost` is set.
    pub(super) lost: bool,
    /// `marks:stands` is.
    pub(super) stands: bool,
    /// Everybody's: of each place the highest.
    pub(super) marks: Vec<Mark>,
}

pub(super) fn read_answers(answers: Vec<Value>) -> Option<Read> {
    let mut answers = answers.into_iter();
    let (lost, stands) = <(Option<i64>, Option<i64>)>::from_redis_value(answers.next()?).ok()?;
    let mut highest: BTreeMap<String, i64> = BTreeMap::new();
    for answer in answers {
        for (field, position) in HashMap::<String, i64>::from_redis_value(answer).ok()? {
            let known = highest.entry(field).or_insert(position);
            *known = position.max(*known);
        }
    }
    // A field of a topic that only a newer release knows is none of our readers' business.
    let marks = highest.iter().filter_map(|(field, position)| Mark::read(field, *position)).collect();
    Some(Read { lost: lost.is_some(), stands: stands.is_some(), marks })
}
