//! A ledger's events in the order of their positions, read once for everybody who follows.

use std::sync::Arc;

use schemas::Recorded;

/// One reader per ledger and process. Keeps the newest events in a ring bounded by bytes (16 MiB): who is at the tail shares it, who is behind reads pages of its own. Clones share it.
#[derive(Clone, Debug)]
pub struct Feed {}

/// What stands after a position: at most 2,000 events and 8 MiB.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the order of position.
    pub events: Vec<Arc<Recorded>>,
    /// Everything up to here has been seen.
    pub scanned: i64,
}

impl Feed {
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
    pub fn wake(&self) {
        todo!()
    }
}
