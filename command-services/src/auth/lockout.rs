//! Five wrong passwords in a row, and nobody signs in to the account for a quarter of an hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use platform::http::Problem;
use platform::redis::Redis;
use quick_cache::sync::Cache;
use redis::Script;

/// How many in a row.
const FAILURES: u64 = 5;
/// For how long it then stays locked.
pub(super) const LOCKED_FOR: Duration = Duration::from_secs(15 * 60);
/// How long a row of failures is remembered after its last.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// How many accounts this process counts for by itself.
const COUNTED: usize = 65_536;

/// Counts wrong passwords per account, in Redis for all processes; each process for itself while Redis is away. Clones share one state.
///
/// What is counted for is a keyed digest of address *and* stored hash: another password is another subject, so changing or resetting it unlocks at once,
/// wherever that is done. An address that nobody has is counted for like any other.
#[derive(Debug, Clone)]
pub struct Lockout {
    redis: Redis,
    own: Arc<Cache<String, Counted>>,
}

/// What this process has seen by itself.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    failures: u64,
    last: Option<Instant>,
    locked_until: Option<Instant>,
}

/// What a wrong password has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failed {
    /// It was counted.
    Counted,
    /// It was the last one: the account is locked from now on.
    LockedNow,
}

/// It is locked, for so long yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locked(pub(super) Duration);

impl From<Locked> for Problem {
    fn from(Locked(left): Locked) -> Self {
        let detail = "Too many failed sign-ins; please wait before you try again";
        Self { retry_after: Some(left), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "account_locked", detail) }
    }
}

/// What happened, as the script knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Begins,
    Succeeded,
    Failed,
}

/// KEYS: failures, lock. ARGV: what happened, the limit, how long a lock and a row last (ms). Answers {ms it is locked for yet, whether it was locked by this}.
const SCRIPT: &str = "
local left = redis.call('PTTL', KEYS[2])
if left > 0 then return {left, 0} end
if ARGV[1] == 'succeeded' then redis.call('DEL', KEYS[1]) end
if ARGV[1] ~= 'failed' then return {0, 0} end
local failures = redis.call('INCR', KEYS[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
if failures < tonumber(ARGV[2]) then return {0, 0} end
redis.call('SET', KEYS[2], 1, 'PX', ARGV[3])
redis.call('DEL', KEYS[1])
return {0, 1}";

impl Lockout {
    /// Counts in this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis, own: Arc::new(Cache::new(COUNTED)) }
    }

    /// Before a password is looked at.
    pub(super) async fn begins(&self, subject: &str) -> Result<(), Locked> {
        self.count(subject, Attempt::Begins).await.map(drop)
    }

    /// After it was right. Whoever guesses many at once learns nothing from the ones that are judged after the lock, the right one included.
    pub(super) async fn succeeded(&self, subject: &str) -> Result<(), Locked> {
        self.count(subject, Attempt::Succeeded).await.map(drop)
    }

    /// After it was wrong.
    pub(super) async fn failed(&self, subject: &str) -> Result<Failed, Locked> {
        let locked_now = self.count(subject, Attempt::Failed).await?;
        Ok(if locked_now { Failed::LockedNow } else { Failed::Counted })
    }

    async fn count(&self, subject: &str, attempt: Attempt) -> Result<bool, Locked> {
        let own = self.count_here(subject, attempt, Instant::now());
        let what = match attempt {
            Attempt::Begins => "begins",
            Attempt::Succeeded => "succeeded",
            Attempt::Failed => "failed",
        };
        let keys = [format!("signin:failures:{subject}"), format!("signin:locked:{subject}")];
        let args = [what.to_owned(), FAILURES.to_string(), LOCKED_FOR.as_millis().to_string(), REMEMBERED.as_millis().to_string()];
        match self.redis.script::<(u64, u64)>(&Script::new(SCRIPT), &keys, &args).await {
            Ok((0, locked_now)) => {
                if locked_now == 1 {
                    self.note_lock(subject, LOCKED_FOR);
                } else if attempt != Attempt::Failed && own.is_err() {
                    // Another password, or a Redis that knows better than what was counted without it.
                    self.own.remove(subject);
                }
                Ok(locked_now == 1)
            }
            Ok((left, _)) => {
                let left = Duration::from_millis(left);
                self.note_lock(subject, left);
                Err(Locked(left))
            }
            Err(_) => own,
        }
    }

    fn note_lock(&self, subject: &str, left: Duration) {
        self.own.insert(subject.to_owned(), Counted { locked_until: Some(Instant::now() + left), ..Counted::default() });
    }

    /// As the script, for this process alone.
    fn count_here(&self, subject: &str, attempt: Attempt, now: Instant) -> Result<bool, Locked> {
        let mut counted = self.own.get(subject).unwrap_or_default();
        if let Some(left) = counted.locked_until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero()) {
            return Err(Locked(left));
        }
        match attempt {
            Attempt::Begins => return Ok(false),
            Attempt::Succeeded => {
                self.own.remove(subject);
                return Ok(false);
            }
            Attempt::Failed => {}
        }
        if counted.last.is_some_and(|last| now.duration_since(last) > REMEMBERED) {
            counted = Counted::default();
        }
        counted.failures += 1;
        let locked_now = counted.failures >= FAILURES;
        let counted = if locked_now {
            Counted { locked_until: Some(now + LOCKED_FOR), ..Counted::default() }
        } else {
            Counted { last: Some(now), locked_until: None, ..counted }
        };
        self.own.insert(subject.to_owned(), counted);
        Ok(locked_now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use platform::redis::Redis;
    use platform::shutdown::Shutdown;

    use super::{Attempt, LOCKED_FOR, Locked, Lockout, REMEMBERED};

    fn alone() -> Lockout {
        // Nobody listens there.
        Lockout::new(Redis::connect("redis://127.0.0.1:1", Shutdown::new()).unwrap())
    }

    #[tokio::test]
    async fn five_in_a_row_lock_and_the_lock_ends_by_itself() {
        let (lockout, begin) = (alone(), Instant::now());
        let failed = |at| lockout.count_here("a", Attempt::Failed, at);
        assert_eq!([(); 5].map(|()| failed(begin)), [Ok(false), Ok(false), Ok(false), Ok(false), Ok(true)]);
        for attempt in [Attempt::Begins, Attempt::Failed, Attempt::Succeeded] {
            assert_eq!(lockout.count_here("a", attempt, begin + Duration::from_secs(60)), Err(Locked(Duration::from_secs(14 * 60))));
        }
        assert_eq!(lockout.count_here("b", Attempt::Begins, begin), Ok(false), "of another nothing is known");
        assert_eq!(lockout.count_here("a", Attempt::Begins, begin + LOCKED_FOR), Ok(false));
        assert_eq!(failed(begin + LOCKED_FOR), Ok(false), "the row begins anew");
    }

    #[tokio::test]
    async fn a_success_ends_the_row_and_so_does_a_day() {
        let (lockout, begin) = (alone(), Instant::now());
        for at in [begin, begin, begin, begin] {
            assert_eq!(lockout.count_here("a", Attempt::Failed, at), Ok(false));
        }
        assert_eq!(lockout.count_here("a", Attempt::Succeeded, begin), Ok(false));
        for _ in 0..4 {
            assert_eq!(lockout.count_here("a", Attempt::Failed, begin), Ok(false));
        }
        assert_eq!(lockout.count_here("a", Attempt::Failed, begin + REMEMBERED + Duration::from_secs(1)), Ok(false));
    }

    #[tokio::test]
    async fn without_redis_the_process_counts_for_itself() {
        let lockout = alone();
        for _ in 0..5 {
            assert!(lockout.failed("a").await.is_ok());
        }
        assert!(lockout.begins("a").await.is_err());
    }
}
