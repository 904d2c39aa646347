//! The handle that commands hold.

use std::sync::Arc;
use std::time::Duration;

use schemas::Topic;
use sqlx::PgPool;
use uuid::Uuid;

use super::connection::schema;
use super::{Append, AppendError, Feed, LedgerMeta, Stored, Unit, Writer, unit::Context};
use crate::config::StartError;
use crate::marks::Marks;
use crate::postgres::must_be_durable;
use crate::redis::Redis;
use crate::shutdown::Shutdown;
use crate::vault::Vault;

/// A service's ledger. Clones share one writer.
///
/// What it answers without writing stands in `lookups`, beside its SQL.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: Writer,
    topic: Topic,
    pool: PgPool,
    feed: Feed,
    vault: Option<Vault>,
    marks: Option<Marks>,
}

/// How to open a ledger.
#[derive(Debug, Clone)]
pub struct LedgerConfig {
    /// URL of the service's database, as the ledger's owner.
    pub url: String,
    /// Whose ledger.
    pub topic: Topic,
    /// Connections for look-ups, made with [`super::lookup_options`]: the ledger's schema is their search path.
    pub pool: PgPool,
    /// Through which writers of other processes wake the feed.
    pub redis: Option<Redis>,
    /// How long an append may take. 5 s.
    pub deadline: Duration,
}

impl Ledger {
    /// Starts the writer; migrations have run before. Refuses a server with `fsync`, `full_page_writes` or `synchronous_commit` off.
    ///
    /// # Errors
    /// When the database cannot be reached or is not safe.
    pub async fn open(config: LedgerConfig, vault: Vault, marks: Marks, shutdown: Shutdown) -> Result<Self, StartError> {
        Self::start(config, Some(vault), Some(marks), &shutdown).await
    }

    /// A ledger that seals and opens but leaves no marks: for commands of an operator beside the processes, whose readers see them when their projections do.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub async fn unmarked(config: LedgerConfig, vault: Vault, shutdown: Shutdown) -> Result<Self, StartError> {
        Self::start(config, Some(vault), None, &shutdown).await
    }

    /// A ledger that seals nothing, refuses what would need it, and leaves no marks: for tools whose events no reader waits for.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub async fn bare(config: LedgerConfig, shutdown: Shutdown) -> Result<Self, StartError> {
        Self::start(config, None, None, &shutdown).await
    }

    async fn start(config: LedgerConfig, vault: Option<Vault>, marks: Option<Marks>, shutdown: &Shutdown) -> Result<Self, StartError> {
        let LedgerConfig { url, topic, pool, redis, deadline } = config;
        must_be_durable(&pool).await?;
        let unreadable = |error| StartError::because(format!("the ledger `{}` cannot be read", schema(topic)), error);
        let feed = Feed::open(pool.clone(), topic, redis.as_ref(), shutdown).await.map_err(unreadable)?;
        let waking = feed.clone();
        let writer =
            Writer::start(&url, topic, feed.incarnation(), deadline, shutdown, move |committed| waking.committed(committed)).await?;
        Ok(Self { inner: Arc::new(Inner { writer, topic, pool, feed, vault, marks }) })
    }

    /// Stores an append: durable when it returns, all or nothing, in the order of commit. One [`Stored`] per event.
    ///
    /// # Errors
    /// [`AppendError`]
    ///
    /// # Cancel safety
    /// Dropping the future does not take the append back.
    pub async fn append(&self, append: Append) -> Result<Vec<Stored>, AppendError> {
        self.inner.writer.append(append).await
    }

    /// Begins a command.
    #[must_use]
    pub fn unit(&self, context: Context) -> Unit {
        Unit::new(self.clone(), context)
    }

    /// Its events in order, for sources and the publisher.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// Its vault.
    ///
    /// # Panics
    /// When it is a [`Ledger::bare`] one.
    #[must_use]
    pub fn vault(&self) -> &Vault {
        self.inner.vault.as_ref().expect("a bare ledger is not asked for its vault")
    }

    /// The ledger's life.
    #[must_use]
    pub fn incarnation(&self) -> Uuid {
        self.meta().incarnation
    }

    /// Whose ledger.
    #[must_use]
    pub fn topic(&self) -> Topic {
        self.inner.topic
    }

    pub(super) fn meta(&self) -> LedgerMeta {
        self.inner.feed.meta()
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    pub(super) fn vault_if_any(&self) -> Option<&Vault> {
        self.inner.vault.as_ref()
    }

    pub(super) fn marks(&self) -> Option<&Marks> {
        self.inner.marks.as_ref()
    }
}
