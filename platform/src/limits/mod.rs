//! How much anybody may ask: token buckets, shared by all processes through Redis.
//!
//! * [`Class`] what is counted together · [`Rates`] how much of it · [`Networks`] who is exempt, and whose word on addresses counts
//! * [`Limits::take`] one request of somebody's · [`Standing`] what is left
//!
//! No request waits for Redis as long as its subject is far from its limit. A process spends from its own view of a bucket and settles with Redis in the
//! background: at first sight of a subject at once, then once a second. Between two settlements it spends at most an eighth of what the bucket held at the
//! last one; who has used that up waits for a settlement (one round trip), and an empty bucket is refused without one until it can have a token again.
//!
//! What was spent is settled in full, into debt if need be. So the shared limit is exceeded by at most an eighth of the burst for each further process that
//! the subject asks, and only once: the debt is paid by waiting. While Redis is away, each process counts for itself.

mod bucket;
mod class;
mod networks;
mod settle;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;
use schemas::UserId;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

pub use class::{Class, Rate, Rates};
pub use networks::{Networks, NotANetwork};

use crate::http::Problem;
use crate::redis::Redis;
use bucket::{Bucket, Taken};

/// Subjects whose buckets a process remembers at most, about 300 bytes each. Who is forgotten begins anew, with a settlement at once.
const REMEMBERED: usize = 65_536;
/// How many settlements may wait. Those that find no room are made at the subject's next request.
const WAITING: usize = 16_384;
/// How long a request waits for a settlement.
const PATIENCE: Duration = Duration::from_millis(300);
/// How long it does so again and again.
const CROWDED: Duration = Duration::from_secs(1);

/// Who is counted: a user, or an address (of IPv6 its /64: what one customer is given).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A verified token's user.
    User(UserId),
    /// Where a request came from.
    Address(IpAddr),
}

impl Subject {
    /// An address as it is counted.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

/// How a bucket stands after a request, for `X-RateLimit-*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether the request may go on.
    pub allowed: bool,
    /// What the bucket holds at most.
    pub limit: u32,
    /// What it holds.
    pub remaining: u32,
    /// Until it is full again.
    pub reset: Duration,
    /// Until it holds a token again; nothing when it does.
    pub retry_after: Duration,
}

/// The buckets of a process. Clones share them.
#[derive(Debug, Clone)]
pub struct Limits {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    rates: Rates,
    exempt: Networks,
    buckets: Cache<(Class, Subject), Arc<Bucket>>,
    redis: Option<Redis>,
    settlements: mpsc::Sender<Arc<Bucket>>,
    salt: String,
}

impl Limits {
    /// Shared through Redis. `salt` goes into the names of the keys there, so that they tell nobody an address; it must be the same for all processes.
    /// Addresses in `exempt` are not counted. Must be called within a runtime.
    #[must_use]
    pub fn shared(rates: Rates, exempt: Networks, redis: Redis, salt: String) -> Self {
        let (settlements, queue) = mpsc::channel(WAITING);
        tokio::spawn(settle::settle(queue, redis.clone()));
        Self::new(rates, exempt, Some(redis), settlements, salt)
    }

    /// For this process alone.
    #[must_use]
    pub fn alone(rates: Rates, exempt: Networks) -> Self {
        Self::new(rates, exempt, None, mpsc::channel(1).0, String::new())
    }

    fn new(rates: Rates, exempt: Networks, redis: Option<Redis>, settlements: mpsc::Sender<Arc<Bucket>>, salt: String) -> Self {
        Self { inner: Arc::new(Inner { rates, exempt, buckets: Cache::new(REMEMBERED), redis, settlements, salt }) }
    }

    /// One request of a subject's.
    ///
    /// # Cancel safety
    /// A request that is dropped while it waits has taken nothing.
    pub async fn take(&self, class: Class, subject: Subject) -> Standing {
        if self.is_exempt(subject) {
            return self.full(class);
        }
        let bucket = self.bucket(class, subject);
        let begin = Instant::now();
        let mut patient = true;
        loop {
            // Whoever has waited in vain is decided by what this process knows.
            let shared = patient && self.inner.redis.as_ref().is_some_and(Redis::is_up);
            let standing = match bucket.take(Instant::now(), shared) {
                Taken::Decided { standing, settle } => {
                    if settle {
                        // Should there be no room, the next request of theirs tries again.
                        let _ = self.settle(&bucket);
                    }
                    standing
                }
                // So many ask at once that others took what every settlement brought.
                Taken::Ask if begin.elapsed() > CROWDED => bucket.refused(Instant::now()),
                Taken::Ask => {
                    let settled = bucket.settled();
                    patient = self.settle(&bucket) && tokio::time::timeout(PATIENCE, settled).await.is_ok() && !bucket.has_failed();
                    continue;
                }
            };
            if !standing.allowed {
                metrics::counter!("rate_limited_total", "class" => class.name()).increment(1);
            }
            return standing;
        }
    }

    /// As [`Limits::take`], as a refusal.
    ///
    /// # Errors
    /// 429 `rate_limited`
    pub async fn take_or_refuse(&self, class: Class, subject: Subject) -> Result<Standing, Problem> {
        let standing = self.take(class, subject).await;
        if standing.allowed { Ok(standing) } else { Err(rate_limited(standing.retry_after)) }
    }

    /// How a subject stands, without a request of theirs.
    #[must_use]
    pub fn look(&self, class: Class, subject: Subject) -> Standing {
        if self.is_exempt(subject) { self.full(class) } else { self.bucket(class, subject).standing(Instant::now()) }
    }

    /// How many buckets this process remembers.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.inner.buckets.len()
    }

    fn is_exempt(&self, subject: Subject) -> bool {
        matches!(subject, Subject::Address(address) if self.inner.exempt.contain(address))
    }

    fn full(&self, class: Class) -> Standing {
        let limit = self.inner.rates.of(class).burst;
        Standing { allowed: true, limit, remaining: limit, reset: Duration::ZERO, retry_after: Duration::ZERO }
    }

    fn bucket(&self, class: Class, subject: Subject) -> Arc<Bucket> {
        let key = (class, subject);
        match self.inner.buckets.get(&key) {
            Some(bucket) => bucket,
            None => {
                let made = || {
                    Ok::<_, std::convert::Infallible>(Arc::new(Bucket::full(
                        self.inner.rates.of(class),
                        self.name(class, subject),
                        Instant::now(),
                    )))
                };
                match self.inner.buckets.get_or_insert_with(&key, made) {
                    Ok(bucket) => bucket,
                    Err(never) => match never {},
                }
            }
        }
    }

    /// Has a bucket settled soon, unless there is no room for that.
    fn settle(&self, bucket: &Arc<Bucket>) -> bool {
        if self.inner.redis.is_none() {
            return false;
        }
        if bucket.begin_waiting() && self.inner.settlements.try_send(bucket.clone()).is_err() {
            bucket.end_waiting();
            return false;
        }
        true
    }

    /// The key in Redis.
    fn name(&self, class: Class, subject: Subject) -> String {
        match subject {
            Subject::User(user) => format!("limit:{}:{user}", class.name()),
            Subject::Address(address) => {
                let digest = Sha256::new().chain_update(&self.inner.salt).chain_update(address.to_string()).finalize();
                let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
                format!("limit:{}:{hex}", class.name())
            }
        }
    }
}

/// 429, with the time after which there is a token again.
#[must_use]
pub fn rate_limited(after: Duration) -> Problem {
    let after = Duration::from_secs(after.as_secs() + u64::from(after.subsec_nanos() > 0)).max(Duration::from_secs(1));
    Problem {
        retry_after: Some(after),
        ..Problem::new(axum::http::StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests; please try again in a moment")
    }
}
