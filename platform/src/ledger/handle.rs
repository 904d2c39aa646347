//! The handle that commands hold.

use std::time::Duration;

use schemas::{Recorded, Topic};
use uuid::Uuid;

use super::{Append, AppendError, Feed, Stored, Unit, unit::Context};
use crate::marks::Marks;
use crate::vault::Vault;

/// A service's ledger. Clones share one writer.
#[derive(Clone, Debug)]
pub struct Ledger {}

/// How to open a ledger.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// URL of the service's database, as the ledger's owner.
    pub url: String,
    /// Whose ledger.
    pub topic: Topic,
    /// Connections for look-ups.
    pub pool: sqlx::PgPool,
    /// How long an append may take. 5 s.
    pub deadline: Duration,
}

impl Ledger {
    /// Starts the writer; migrations have run before. Refuses a server with `fsync`, `full_page_writes` or `synchronous_commit` off.
    ///
    /// # Errors
    /// When the database cannot be reached or is not safe.
    pub async fn open(
        _config: LedgerConfig,
        _vault: Vault,
        _marks: Marks,
        _shutdown: crate::shutdown::Shutdown,
    ) -> Result<Self, crate::config::StartError> {
        todo!()
    }
    /// Stores an append: durable when it returns, all or nothing, in the order of commit. One [`Stored`] per event.
    ///
    /// # Errors
    /// [`AppendError`]
    ///
    /// # Cancel safety
    /// Dropping the future does not take the append back.
    pub async fn append(&self, _append: Append) -> Result<Vec<Stored>, AppendError> {
        todo!()
    }
    /// All events of a stream, oldest first.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn load(&self, _aggregate_type: &str, _aggregate_id: &str) -> Result<Vec<Recorded>, AppendError> {
        todo!()
    }
    /// The first event of a stream, by primary key.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn first(&self, _aggregate_type: &str, _aggregate_id: &str) -> Result<Option<Recorded>, AppendError> {
        todo!()
    }
    /// Events at these positions, in this order.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn at(&self, _positions: &[i64]) -> Result<Vec<Recorded>, AppendError> {
        todo!()
    }
    /// Who holds a name.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn owner_of(&self, _kind: &str, _key: &str) -> Result<Option<String>, AppendError> {
        todo!()
    }
    /// A command-side secret that has not lapsed.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn secret(&self, _kind: &str, _key: &str) -> Result<Option<Vec<u8>>, AppendError> {
        todo!()
    }
    /// All unlapsed secrets of a kind: key and end.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn secrets_of(&self, _kind: &str) -> Result<Vec<(String, Option<schemas::Timestamp>)>, AppendError> {
        todo!()
    }
    /// Begins a command.
    #[must_use]
    pub fn unit(&self, _context: Context) -> Unit {
        todo!()
    }
    /// Its events in order, for sources and the publisher.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        todo!()
    }
    /// Its vault.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        todo!()
    }
    /// The ledger's life.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        todo!()
    }
}
