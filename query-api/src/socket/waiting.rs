//! What waited for a user when their socket opened: pulled page by page, as it is read.

use platform::clock;
use platform::frames::Places;
use platform::http::Problem;
use schemas::read_models::{ReadModel, Relay};
use schemas::{Topic, UserId};
use sqlx::PgPool;

use super::place::{Place, partition_between};
use super::render::{Told, waiting};
use crate::database::ask;
use crate::keyset::{Key, may_go_on};
use crate::pending::{Queue, rows};

/// Messages of a page; it also ends at 1 MiB.
const PAGE: i64 = 250;

/// What is still to be read of a queue: what stands after some places and not after others.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    /// Up to there it has been seen, or came otherwise.
    from: Places,
    /// What is later comes live.
    until: Places,
    /// Positions up to this one have been sent before.
    behind: i64,
    key: Key,
}

/// A part of it.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) messages: Vec<(Place, Told)>,
    /// Where to go on; `None`: that was all.
    pub(super) next: Option<Waiting>,
}

impl Waiting {
    /// Everything up to these places; of it, what stands after the position.
    pub(super) fn up_to(until: Places, behind: i64) -> Self {
        Self { from: Places::default(), until, behind, key: Key::FIRST }
    }

    /// What stands between.
    pub(super) fn between(from: Places, until: Places) -> Self {
        Self { from, until, behind: 0, key: Key::FIRST }
    }

    /// Whether nothing of it has been read.
    pub(super) fn begins(&self) -> bool {
        self.key == Key::FIRST
    }

    /// The next part. Whatever is told of in a log is in the queue: there is nothing to wait for.
    ///
    /// # Errors
    /// 503 when the database does not answer.
    pub(super) async fn page(mut self, pool: &PgPool, user: UserId) -> Result<Page, Problem> {
        let last = self.until.iter().filter(|(topic, ..)| *topic == Topic::Messages).map(|(.., position)| position).max().unwrap_or(0);
        let queue = Queue { recipient: user, now: clock::now().into_inner(), after: self.key, until: Key::LAST, left: i64::MAX };
        let found = ask(pool, move |db| Box::pin(rows(db, queue, PAGE))).await?;
        let goes_on = found.last().is_some_and(|row| may_go_on(found.len(), PAGE, row.bytes) && row.position < last);
        let mut messages = Vec::with_capacity(found.len());
        for row in &found {
            self.key = Key { at: row.recorded_at, position: row.position };
            let sender = UserId(row.sender_id);
            let partition = partition_between(sender, user);
            let seen = row.position <= self.from.at(Topic::Messages, partition) || row.position <= self.behind;
            if !seen && row.position <= self.until.at(Topic::Messages, partition) {
                messages.extend(waiting(&row.shown(), sender).map(|told| ((Topic::Messages, partition, row.position), told)));
            }
        }
        Ok(Page { messages, next: goes_on.then_some(self) })
    }
}

/// The pool of the service whose queue it is.
pub(super) fn pool(sources: &super::facts::Sources) -> &PgPool {
    &sources.freshness.pools[Relay::SERVICE]
}
