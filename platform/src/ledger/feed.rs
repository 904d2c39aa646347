//! A ledger's events in the order of their positions, read once for everybody who follows.

use std::sync::Arc;

use schemas::Recorded;

/// One reader per ledger and process. Keeps the newest events in a ring bounded by bytes (16 MiB): who is at the tail shares it, who is behind reads pages of its own. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed {
    meta: LedgerMeta,
}

/// The life of a ledger, the generation of its topic and that generation's partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerMeta {
    /// Positions of another incarnation mean nothing here.
    pub incarnation: uuid::Uuid,
    /// Of the topic.
    pub generation: i32,
    /// Of that generation.
    pub partitions: i32,
}

/// What stands after a position: at most 2,000 events and 8 MiB.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the order of position.
    pub events: Vec<Arc<Recorded>>,
    /// Everything up to here has been seen.
    pub scanned: i64,
}

impl Feed {
    /// Opens a ledger for reading. `pool` is connected to the service's database with the ledger's schema as `search_path`; with Redis, writers of other processes wake this feed.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn open(
        pool: sqlx::PgPool,
        _topic: schemas::Topic,
        _redis: Option<&crate::redis::Redis>,
        _shutdown: &crate::shutdown::Shutdown,
    ) -> Result<Self, sqlx::Error> {
        let meta = sqlx::query_as!(LedgerMeta, "SELECT incarnation, generation, partitions FROM ledger_meta").fetch_one(&pool).await?;
        Ok(Self { meta })
    }
    /// As it was when the feed was opened.
    #[must_use]
    pub fn meta(&self) -> LedgerMeta {
        self.meta
    }
    /// What stands after `position`; empty when nothing does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn after(&self, _position: i64) -> Result<Page, sqlx::Error> {
        todo!()
    }
    /// Waits until something may stand after `position`: woken by the writer of this process and, through Redis (`wake`), by those of others; else looks every 50 ms under load, up to 1 s idle.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn changed(&self, _position: i64) {
        todo!()
    }
    /// Something was committed: look now.
    pub fn wake(&self) {}
}
