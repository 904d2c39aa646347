//! The lock of a projection: one session that holds it, so that losing the session is losing the lock, and that shows there that its process lives.
//!
//! What decides who moves a checkpoint is the comparison with what was remembered; the lock keeps two from doing the same work.

mod stand_by;
mod watch;

use std::io;
use std::pin::pin;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};
use tokio::time::Instant;

pub use stand_by::{Stands, Successor};

use crate::shutdown::Shutdown;

/// How often somebody who stands by looks.
const STAND_BY: Duration = Duration::from_millis(500);
/// How often the holder shows that it lives, whatever it waits for.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// How long the database may take over what is done at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// With whom a projection is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// By one process at a time: the ledger is the source.
    Alone {
        /// A holder that has shown no sign of life for so long, while events wait and its checkpoint stands still, is ended by whoever stands by.
        stalled_after: Duration,
    },
    /// By all together: Kafka is the source, and divides the partitions.
    Shared,
}

impl Ownership {
    /// Whether one process at a time runs it.
    #[must_use]
    pub const fn is_alone(self) -> bool {
        matches!(self, Self::Alone { .. })
    }
}

/// A session for the lock of one projection, in the database of what it makes.
#[derive(Debug)]
pub struct ProjectionLock {
    connection: PgConnection,
    name: &'static str,
    key: String,
    shared: bool,
    /// When its database last saw that this process lives, as far as that is known.
    signed: Instant,
    /// The schema that its statements are about, outside of transactions.
    path: Option<String>,
}

impl ProjectionLock {
    /// Connects as the pool does, with bounds on everything that can hang; without the lock yet. A session that sleeps in the middle of a transaction loses it.
    ///
    /// # Errors
    /// The database does not let us in, or not within 10 s.
    pub async fn connect(pool: &PgPool, name: &'static str) -> Result<Self, sqlx::Error> {
        let options = pool.connect_options().as_ref().clone().options([
            ("statement_timeout", "60s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "60s"),
        ]);
        let connection = at_once(PgConnection::connect_with(&options)).await?;
        Ok(Self { connection, name, key: format!("projection.{name}"), shared: false, signed: Instant::now(), path: None })
    }

    /// What it is the lock of.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The session, which carries the projection's transactions.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// The same, with this schema, and no other, as its `search_path`.
    ///
    /// # Errors
    /// The session is gone.
    pub(crate) async fn connection_in(&mut self, schema: &str) -> Result<&mut PgConnection, sqlx::Error> {
        if self.path.as_deref() != Some(schema) {
            self.connection.execute(AssertSqlSafe(format!(r#"SET search_path TO "{schema}""#))).await?;
            self.path = Some(schema.to_owned());
        }
        Ok(&mut self.connection)
    }

    /// Waits for something else than this session, and shows here once a second that its process lives; `Err`: the session, and the lock with it, is gone.
    ///
    /// # Errors
    /// The session is gone, or its database silent for 10 s.
    ///
    /// # Cancel safety
    /// As the work's.
    pub async fn alive_while<T>(&mut self, work: impl Future<Output = T>) -> Result<T, sqlx::Error> {
        let mut work = pin!(work);
        loop {
            match tokio::time::timeout_at(self.signed + SIGN_EVERY, &mut work).await {
                Ok(done) => return Ok(done),
                Err(_) => {
                    at_once(self.connection.ping()).await?;
                    self.signed = Instant::now();
                }
            }
        }
    }

    /// From a lock that is shared to one that is held alone; `false` when the drain comes first.
    ///
    /// # Errors
    /// The session is gone.
    pub async fn alone(&mut self, shutdown: &Shutdown) -> Result<bool, sqlx::Error> {
        if !self.shared {
            return Ok(true);
        }
        sqlx::query!("SELECT pg_advisory_unlock_shared(hashtextextended($1, 0))", self.key).fetch_one(&mut self.connection).await?;
        while !self.try_lock(false).await? {
            tokio::select! {
                () = shutdown.draining() => return Ok(false),
                () = tokio::time::sleep(STAND_BY) => {}
            }
        }
        Ok(true)
    }

    /// Whether it is ours now, alone or (`shared`) with others who share it.
    async fn try_lock(&mut self, shared: bool) -> Result<bool, sqlx::Error> {
        self.shared = shared;
        if shared {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock_shared(hashtextextended($1, 0)) AS "locked!""#, self.key)
                .fetch_one(&mut self.connection)
                .await
        } else {
            sqlx::query_scalar!(r#"SELECT pg_try_advisory_lock(hashtextextended($1, 0)) AS "locked!""#, self.key)
                .fetch_one(&mut self.connection)
                .await
        }
    }
}

/// What a projection's database does without being asked for rows, or for few.
///
/// # Errors
/// Its own, or that it took more than 10 s.
pub async fn at_once<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let late = |_| sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the projection's database did not answer in time"));
    tokio::time::timeout(PATIENCE, work).await.map_err(late)?
}
