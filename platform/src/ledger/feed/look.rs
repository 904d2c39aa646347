//! Looking into a ledger without following it: for people and commands.

use schemas::Topic;
use sqlx::PgPool;

use super::{LedgerMeta, Page, pages};

/// A ledger, or one aggregate of it, read page by page; nothing is kept and nobody is woken.
#[derive(Debug, Clone)]
pub struct Look {
    pool: PgPool,
    topic: Topic,
    meta: LedgerMeta,
}

impl Look {
    /// `pool` is connected to the service's database with the ledger's schema as `search_path`. `None`: no ledger has been made there yet.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn open(pool: PgPool, topic: Topic) -> Result<Option<Self>, sqlx::Error> {
        /// Postgres' word for a table that is not there.
        const UNDEFINED_TABLE: &str = "42P01";
        match pages::meta(&pool).await {
            Ok(meta) => Ok(Some(Self { pool, topic, meta })),
            Err(error) if error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == UNDEFINED_TABLE) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The life of the ledger, and the generation of its topic.
    #[must_use]
    pub fn meta(&self) -> LedgerMeta {
        self.meta
    }

    /// The position after which the newest `count` events stand (of an aggregate, named by type and id); 0: there are not more.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn before_newest(&self, aggregate: Option<(&str, &str)>, count: i64) -> Result<i64, sqlx::Error> {
        pages::before_newest(&self.pool, aggregate, count).await
    }

    /// A page of what stands after a position; empty when nothing does.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn after(&self, aggregate: Option<(&str, &str)>, position: i64) -> Result<Page, sqlx::Error> {
        match aggregate {
            None => pages::read(&self.pool, self.topic, self.meta, position).await,
            Some(aggregate) => pages::read_aggregate(&self.pool, self.topic, self.meta, aggregate, position).await,
        }
    }
}
