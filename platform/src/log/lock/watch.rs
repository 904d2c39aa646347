//! Whether the holder of a lock still turns. One whose process is stopped, or has vanished without a word, keeps its session and with it the lock, and everybody would wait for it.
//!
//! A holder that lives shows itself in its session once a second, whatever it waits for, or Postgres works for it. One that does neither for long, while events wait and its checkpoint
//! does not move, is ended. Nothing depends on this judgement being right: whoever is ended wrongly finds its checkpoint moved, or its session gone, and stands by.

use std::time::Duration;

use time::OffsetDateTime;
use tokio::time::Instant;

use super::stand_by::{Stands, Successor, passes};
use super::{ProjectionLock, at_once};
use crate::log::{Checkpoints, EventSource};

/// How often the holder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A session that holds the lock alone and that nobody works for or speaks in at the moment, as Postgres shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Silent {
    pid: i32,
    began: OffsetDateTime,
    /// Since when.
    since: OffsetDateTime,
    /// From where it was opened.
    address: String,
}

/// What somebody who stands by has seen so far.
#[derive(Debug)]
pub(super) struct Watch {
    stalled_after: Duration,
    looked: Option<Instant>,
    seen: Option<Stall>,
}

/// A holder that was silent whenever it was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stall {
    holder: Silent,
    /// Where its checkpoint stands, with events behind it; `None`: that was not asked yet, or nothing waits.
    stands: Option<Checkpoints>,
    /// For how long it was seen to stand there.
    lasts: Duration,
}

impl Stall {
    /// What is known after one more look, `passed` after the one before.
    fn after(before: Option<Self>, holder: Option<Silent>, waits: Option<Checkpoints>, passed: Duration) -> Option<Self> {
        let holder = holder?;
        let lasts = match before {
            Some(before) if before.holder == holder && before.stands == waits && waits.is_some() => {
                // Time in which nobody looked (we stood still as well, or Postgres did) proves nothing.
                before.lasts + passed.min(LOOK_EVERY * 2)
            }
            _ => Duration::ZERO,
        };
        Some(Self { holder, stands: waits, lasts })
    }
}

impl Watch {
    pub(super) const fn new(stalled_after: Duration) -> Self {
        Self { stalled_after, looked: None, seen: None }
    }

    /// Looks, about once a second. Whether the holder was ended: the lock is free, or somebody else's, who is watched anew.
    pub(super) async fn has_ended_the_holder<S: Successor>(
        &mut self,
        lock: &mut ProjectionLock,
        successor: &S,
        source: &mut dyn EventSource,
    ) -> Result<bool, S::Error> {
        let passed = self.looked.map_or(LOOK_EVERY, |looked| looked.elapsed());
        if passed < LOOK_EVERY {
            return Ok(false);
        }
        self.looked = Some(Instant::now());
        let holder = at_once(lock.silent_holder()).await?;
        let was_silent = holder.is_some() && self.seen.as_ref().map(|seen| &seen.holder) == holder.as_ref();
        let waits = if was_silent { waits(lock, successor, source).await? } else { None };
        self.seen = Stall::after(self.seen.take(), holder, waits, passed);
        let Some(stall) = self.seen.take_if(|seen| seen.lasts >= self.stalled_after) else { return Ok(false) };
        let ended = at_once(lock.end(&stall.holder)).await?;
        if ended {
            let Silent { pid, address, .. } = &stall.holder;
            let (projection, stalled_s) = (lock.name(), stall.lasts.as_secs());
            tracing::warn!(
                projection,
                backend = pid,
                from = address,
                stalled_s,
                "the process that runs this projection has stalled while events wait: its session is ended, and this process takes over"
            );
            metrics::counter!("projection_stalled_owners_ended_total", "projection" => projection).increment(1);
        }
        Ok(ended)
    }
}

/// Where the checkpoint stands, if anything waits behind it.
async fn waits<S: Successor>(
    lock: &mut ProjectionLock,
    successor: &S,
    source: &mut dyn EventSource,
) -> Result<Option<Checkpoints>, S::Error> {
    let stands = match successor.stands(lock.connection()).await? {
        Stands::At(stands) => stands,
        Stands::Nowhere => return Ok(Some(Checkpoints::new())),
        Stands::NotOurs => return Ok(None),
    };
    let broken = |error| successor.broken(error);
    let ends = source.ends().await.map_err(broken)?;
    let passed = passes(source, &stands, &ends).await.map_err(broken)?;
    Ok((!passed).then_some(stands))
}

impl ProjectionLock {
    /// Whoever holds it alone, if nobody works for it or speaks in its session now. Only sessions of our own role in this database are seen: others are none of our business.
    async fn silent_holder(&mut self) -> Result<Option<Silent>, sqlx::Error> {
        sqlx::query_as!(
            Silent,
            r#"SELECT a.pid AS "pid!", a.backend_start AS "began!", a.state_change AS "since!",
                      coalesce(host(a.client_addr) || ':' || a.client_port, 'this machine') AS "address!"
                 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database
                WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.granted AND l.objsubid = 1
                  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 0)
                  AND a.datname = current_database() AND a.usename = current_user
                  AND (a.state LIKE 'idle%' OR a.wait_event_type = 'Client')"#,
            self.key
        )
        .fetch_optional(&mut self.connection)
        .await
    }

    /// Ends the holder's session, if it still holds the lock and has not shown itself since: others may judge at the same time, and it may go on. Whether it is gone.
    async fn end(&mut self, holder: &Silent) -> Result<bool, sqlx::Error> {
        let ended = sqlx::query_scalar!(
            r#"SELECT pg_terminate_backend(a.pid, 5000) AS "ended!"
                 FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid AND a.datid = l.database
                WHERE l.locktype = 'advisory' AND l.mode = 'ExclusiveLock' AND l.granted AND l.objsubid = 1
                  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1, 0)
                  AND a.datname = current_database() AND a.usename = current_user
                  AND a.pid = $2 AND a.backend_start = $3 AND a.state_change = $4"#,
            self.key,
            holder.pid,
            holder.began,
            holder.since
        )
        .fetch_optional(&mut self.connection)
        .await?;
        Ok(ended.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Checkpoint, LEDGER, SCAN};
    use schemas::Topic;
    use uuid::Uuid;

    fn holder(pid: i32, since: i64) -> Option<Silent> {
        let since = OffsetDateTime::from_unix_timestamp(since).expect("a time");
        Some(Silent { pid, began: OffsetDateTime::UNIX_EPOCH, since, address: "::1:1".into() })
    }

    fn waits(at: i64) -> Option<Checkpoints> {
        let row = Checkpoint { incarnation: Uuid::nil(), generation: 1, last_position: at, source: LEDGER.into(), next_offset: at };
        Some(Checkpoints::from([((Topic::Messages, SCAN), row)]))
    }

    /// How long it is taken to have stalled after these looks, a second apart each unless said otherwise.
    fn stalled(looks: impl IntoIterator<Item = (Option<Silent>, Option<Checkpoints>, u64)>) -> Option<u64> {
        let looks = looks.into_iter();
        let last = looks.fold(None, |seen, (holder, waits, passed)| Stall::after(seen, holder, waits, Duration::from_secs(passed)));
        last.map(|stall| stall.lasts.as_secs())
    }

    #[test]
    fn one_that_says_nothing_while_the_same_events_wait_stalls_from_the_second_time_that_this_is_seen() {
        let looks = (0..11).map(|_| (holder(7, 1), waits(5), 1));
        assert_eq!(stalled(looks), Some(10));
    }

    #[test]
    fn whoever_shows_itself_or_moves_or_has_nothing_to_do_or_is_new_is_watched_from_the_beginning() {
        let before = || (0..20).map(|_| (holder(7, 1), waits(5), 1));
        for look in [(holder(7, 2), waits(5), 1), (holder(7, 1), waits(6), 1), (holder(7, 1), None, 1), (holder(8, 1), waits(5), 1)] {
            assert_eq!(stalled(before().chain([look.clone()])), Some(0), "{look:?}");
        }
        assert_eq!(stalled(before().chain([(None, waits(5), 1)])), None, "Postgres works for it");
        assert_eq!(stalled((0..20).map(|n| (holder(7, n), waits(5), 1))), Some(0), "it waits for something else");
        assert_eq!(stalled((0..20).map(|n| (holder(7, 1), waits(n), 1))), Some(0), "it is slow");
        assert_eq!(stalled((0..20).map(|n| (holder(n, 1), waits(5), 1))), Some(0), "each that takes over has its own time");
    }

    #[test]
    fn time_in_which_nobody_looked_proves_nothing() {
        assert_eq!(stalled([(holder(7, 1), waits(5), 1), (holder(7, 1), waits(5), 1), (holder(7, 1), waits(5), 3_600)]), Some(3));
    }
}
