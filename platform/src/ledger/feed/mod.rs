//! A ledger's events in the order of their positions, read once for everybody who follows.

mod look;
mod pages;
mod ring;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use schemas::{Recorded, Topic};
use sqlx::PgPool;
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

pub use look::Look;
pub use pages::LedgerMeta;
use ring::Ring;

use crate::marks::{WAKE, Wake};
use crate::redis::Redis;
use crate::shutdown::Shutdown;

/// Bytes that the ring keeps.
const RING_BYTES: usize = 16 << 20;

/// One reader per ledger and process. Keeps the newest events in a ring bounded by bytes (16 MiB): who is at the tail shares it, who is behind reads pages of its own. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed {
    inner: Arc<Inner>,
}

/// What stands after a position: at most 2,000 events and 8 MiB.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the order of position.
    pub events: Vec<Arc<Recorded>>,
    /// Everything up to here has been seen.
    pub scanned: i64,
}

#[derive(Debug)]
struct Inner {
    topic: Topic,
    meta: LedgerMeta,
    pool: PgPool,
    /// Held only for copying pointers, never across a query.
    ring: std::sync::Mutex<Ring>,
    /// Whoever holds it reads the tail for all.
    reading: Mutex<()>,
    /// Number of the tail read that began last, and of the one that was completed last: who waited for one that began after its own call needs none of its own.
    begun: AtomicU64,
    completed: AtomicU64,
    /// The highest position that is known to be committed: what writers wake us with.
    known: watch::Sender<i64>,
    pace: std::sync::Mutex<Pace>,
}

/// What sets the pace of looking.
#[derive(Debug)]
struct Pace {
    /// When the tail last had something new.
    found: Instant,
    /// When somebody last woke us.
    woken: Option<Instant>,
    /// When the tail was last read, for whomever.
    looked: Option<Instant>,
    /// When somebody last asked.
    asked: Option<Instant>,
}

impl Pace {
    /// Whether somebody follows: who does asks at least once a second.
    fn is_followed(&self) -> bool {
        self.asked.is_some_and(|at| at.elapsed() < Duration::from_secs(5))
    }

    /// When to look without having been woken: soon after something came, ever later when nothing does. Who is woken by its writers looks more rarely; all who wait
    /// look once.
    fn due(&self, waits_since: Instant) -> Instant {
        let quiet = self.found.elapsed();
        let floor = match self.woken {
            Some(at) if at.elapsed() < Duration::from_secs(2) => Duration::from_millis(50),
            _ => Duration::from_millis(5),
        };
        self.looked.unwrap_or(waits_since).max(waits_since) + (quiet / 4).clamp(floor, Duration::from_secs(1))
    }
}

impl Feed {
    /// Opens a ledger for reading. `pool` is connected to the service's database with the ledger's schema as `search_path`; with Redis, writers of other processes wake this feed.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open(pool: PgPool, topic: Topic, redis: Option<&Redis>, shutdown: &Shutdown) -> Result<Self, sqlx::Error> {
        let meta = pages::meta(&pool).await?;
        let head = pages::head(&pool).await?;
        let feed = Self {
            inner: Arc::new(Inner {
                topic,
                meta,
                pool,
                ring: std::sync::Mutex::new(Ring::starting_at(head, RING_BYTES)),
                reading: Mutex::new(()),
                begun: AtomicU64::new(0),
                completed: AtomicU64::new(0),
                known: watch::Sender::new(head),
                pace: std::sync::Mutex::new(Pace { found: Instant::now(), woken: None, looked: None, asked: None }),
            }),
        };
        if let Some(redis) = redis {
            feed.follow_wakes(redis, shutdown.clone());
        }
        Ok(feed)
    }

    /// Which ledger.
    #[must_use]
    pub fn topic(&self) -> Topic {
        self.inner.topic
    }

    /// The life of the ledger, the generation of its topic and that generation's partitions, as they were when the feed was opened.
    #[must_use]
    pub fn meta(&self) -> LedgerMeta {
        self.inner.meta
    }

    /// The ledger's life.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.inner.meta.incarnation
    }

    /// Position of the newest committed event, read now; 0: none.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn head(&self) -> Result<i64, sqlx::Error> {
        pages::head(&self.inner.pool).await
    }

    /// How far a reader that has seen everything up to `position` is behind: positions, and seconds since the time of the first event that it has not seen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn lag(&self, position: i64) -> Result<(i64, f64), sqlx::Error> {
        pages::lag(&self.inner.pool, position).await
    }

    /// What stands after `position`; empty when nothing does.
    ///
    /// Everything that was committed before the call is there (page by page): at the tail one query serves all who ask at the same time.
    ///
    /// # Errors
    /// When the database does not answer.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn after(&self, position: i64) -> Result<Page, sqlx::Error> {
        let inner = &*self.inner;
        inner.pace().asked = Some(Instant::now());
        let arrived = inner.begun.load(Ordering::Acquire);
        if let Some(page) = inner.shared(position, false) {
            return Ok(page);
        }
        if position < inner.ring().floor() {
            return pages::read(&inner.pool, inner.topic, inner.meta, position).await;
        }
        let _reading = inner.reading.lock().await;
        // Somebody may have read while we waited; a read that began after our call, even an empty one, answers us.
        let answered = inner.completed.load(Ordering::Acquire) > arrived;
        if let Some(page) = inner.shared(position, answered) {
            return Ok(page);
        }
        if position < inner.ring().floor() {
            return pages::read(&inner.pool, inner.topic, inner.meta, position).await;
        }
        inner.read_tail().await?;
        Ok(inner.shared(position, true).unwrap_or(Page { events: Vec::new(), scanned: position }))
    }

    /// Waits until something may stand after `position`: woken by the writer of this process and, through Redis (`wake`), by those of others; else looks every 5 ms while
    /// events come (50 ms where writers wake it), up to 1 s idle.
    ///
    /// At once when something is known to stand there already: who waits before every [`Feed::after`] asks the database for nothing in vain.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn changed(&self, position: i64) {
        let inner = &*self.inner;
        let mut known = inner.known.subscribe();
        let begin = Instant::now();
        loop {
            let scanned = inner.ring().scanned();
            if scanned > position || *known.borrow_and_update() > scanned {
                return;
            }
            let due = inner.pace().due(begin);
            if due <= Instant::now() {
                return;
            }
            // Somebody else may look meanwhile, and then it is not yet time again. A feed that is gone wakes nobody, which looks the same.
            let _ = tokio::time::timeout_at(due.into(), known.changed()).await;
        }
    }

    /// Something was committed at this position: look now, unless that has been seen.
    pub fn wake(&self, position: i64) {
        self.inner.pace().woken = Some(Instant::now());
        if self.inner.ring().scanned() < position {
            self.inner.known.send_if_modified(|known| {
                let news = *known < position;
                *known = position.max(*known);
                news
            });
        }
    }

    /// The writer of this process has committed these events, in the order of position: whoever follows need not read them, when nothing of another writer stands between.
    pub(super) fn committed(&self, events: Vec<Recorded>) {
        let Some(newest) = events.last().map(|event| event.position) else { return };
        let (inner, now) = (&*self.inner, Instant::now());
        let is_followed = {
            let mut pace = inner.pace();
            pace.woken = Some(now);
            pace.is_followed()
        };
        if is_followed {
            let follows = inner.ring().push_next(events.into_iter().map(Arc::new).collect());
            if follows {
                inner.pace().found = now;
            }
        }
        inner.known.send_if_modified(|known| {
            let news = *known < newest;
            *known = newest.max(*known);
            news
        });
    }

    fn follow_wakes(&self, redis: &Redis, shutdown: Shutdown) {
        let mut messages = redis.subscribe(WAKE);
        let feed = self.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    () = shutdown.draining() => return,
                    message = messages.recv() => match message {
                        Some(message) => {
                            if let Some(wake) = Wake::read(&message).filter(|wake| wake.topic == feed.topic()) {
                                feed.wake(wake.position);
                            }
                        }
                        None => return,
                    },
                }
            }
        });
    }
}

impl Inner {
    fn ring(&self) -> std::sync::MutexGuard<'_, Ring> {
        self.ring.lock().expect("no panic holds this lock")
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().expect("no panic holds this lock")
    }

    /// From the ring, when it holds what stands after `position`; an empty page only where `empty` says that the ring is as new as the caller may ask.
    fn shared(&self, position: i64, empty: bool) -> Option<Page> {
        let page = self.ring().after(position)?;
        (empty || !page.events.is_empty()).then_some(page)
    }

    /// Reads what stands after the ring's end into it. The caller holds `reading`.
    async fn read_tail(&self) -> Result<(), sqlx::Error> {
        let known = *self.known.borrow();
        let from = self.ring().scanned();
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        self.pace().looked = Some(Instant::now());
        let page = pages::read(&self.pool, self.topic, self.meta, from).await?;
        let (empty, scanned) = (page.events.is_empty(), page.scanned);
        if !empty {
            self.pace().found = Instant::now();
            self.ring().push(page);
        }
        self.known.send_if_modified(|now| {
            if empty && *now == known {
                // What was known before this reading, and is not there, never was: nobody may look for it again and again.
                *now = scanned;
            }
            *now = scanned.max(*now);
            // Whoever waits need not look.
            !empty
        });
        self.completed.store(number, Ordering::Release);
        Ok(())
    }
}
