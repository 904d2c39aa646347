//! The writer's own connection, and the fence that keeps its predecessors from committing behind its back.

use std::time::Duration;

use schemas::Topic;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::config::StartError;

/// Connecting, or one small statement.
const STEP: Duration = Duration::from_secs(2);
/// How often a held lock is asked for.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The schema of a service's ledger.
pub(super) fn schema(topic: Topic) -> String {
    format!("{}_ledger", topic.service())
}

/// Names a ledger's locks in its database: (lane, 0) is the lane itself, (lane, writer) a writer's, (lane, -1) housekeeping's.
pub(super) fn lane(topic: Topic) -> i32 {
    schemas::key_hash(&schema(topic))
}

/// Options for connections that look things up in a ledger: its schema is their search path.
///
/// # Errors
/// When the URL cannot be read.
pub fn lookup_options(url: &str, topic: Topic) -> Result<PgConnectOptions, StartError> {
    let options: PgConnectOptions =
        url.parse().map_err(|error: sqlx::Error| StartError::because("the ledger's database URL cannot be read", error))?;
    Ok(options.options([
        ("search_path", schema(topic)),
        ("statement_timeout", "10s".to_owned()),
        ("lock_timeout", "2s".to_owned()),
        ("idle_in_transaction_session_timeout", "10s".to_owned()),
    ]))
}

/// Who a backend is: process ids come back, but not with the same start.
#[derive(Debug, Clone, Copy)]
struct Backend {
    pid: i32,
    started: OffsetDateTime,
}

/// A connection that holds the writer's lock.
#[derive(Debug)]
pub(super) struct Fenced {
    pub connection: PgConnection,
}

/// Makes the writer's connections, one at a time.
#[derive(Debug)]
pub(super) struct Connector {
    options: PgConnectOptions,
    pub lane: i32,
    writer: i32,
    /// Backends of this writer that may not be gone yet.
    suspects: Vec<Backend>,
}

impl Connector {
    pub fn new(url: &str, topic: Topic, lock_timeout: Duration) -> Result<Self, StartError> {
        let options = lookup_options(url, topic)?
            .options([
                // plpgsql else plans anew at every call; a plan made while a table was empty would read it whole for ever
                ("plan_cache_mode", "force_generic_plan".to_owned()),
                ("enable_seqscan", "off".to_owned()),
                ("jit", "off".to_owned()),
                ("default_transaction_isolation", "read committed".to_owned()),
                ("statement_timeout", "0".to_owned()),
                ("lock_timeout", format!("{}ms", lock_timeout.as_millis())),
                ("client_connection_check_interval", "1s".to_owned()),
            ])
            .application_name(&format!("postrider-writer-{}", schema(topic)));
        // Of a UUIDv7's 74 random bits: no two writers on one server share 31 of them, and if they did, the second would wait at its start.
        let writer = i32::from_be_bytes(last_bytes(Uuid::now_v7())) & i32::MAX;
        Ok(Self { options, lane: lane(topic), writer: writer.max(1), suspects: Vec::new() })
    }

    /// Connects, terminates every older backend of this writer, and takes the writer's lock: whoever has it knows that no older backend can still commit.
    ///
    /// # Cancel safety
    /// Safe: a backend that was left behind is remembered as soon as it could hold the lock.
    pub async fn connect(&mut self, bound: Duration) -> Result<Fenced, sqlx::Error> {
        let until = Instant::now() + bound;
        let mut connection = within(STEP, self.options.connect()).await?;
        let me = sqlx::query!(
            r#"SELECT pid AS "pid!", backend_start AS "started!" FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()"#
        );
        let me = within(STEP, me.fetch_one(&mut connection)).await?;
        for old in &self.suspects {
            let terminate = sqlx::query!(
                r#"SELECT pg_catalog.pg_terminate_backend(pid) AS "signalled!" FROM pg_catalog.pg_stat_activity WHERE pid = $1 AND backend_start = $2"#,
                old.pid,
                old.started,
            );
            within(STEP, terminate.fetch_optional(&mut connection)).await?;
        }
        self.suspects.push(Backend { pid: me.pid, started: me.started });
        // Asked for, not waited for: a waiting backend that we lose would take it after us.
        loop {
            let lock = sqlx::query_scalar!(r#"SELECT pg_catalog.pg_try_advisory_lock($1, $2) AS "taken!""#, self.lane, self.writer);
            if within(STEP, lock.fetch_one(&mut connection)).await? {
                self.suspects.retain(|backend| backend.pid == me.pid && backend.started == me.started);
                return Ok(Fenced { connection });
            }
            if Instant::now() >= until {
                return Err(sqlx::Error::PoolTimedOut);
            }
            tokio::time::sleep(LOCK_PAUSE).await;
        }
    }
}

impl Fenced {
    /// Ends it in order; what is lost here is lost by the server's own means.
    pub async fn close(self) {
        let _lost = timeout(STEP, self.connection.close()).await;
    }
}

async fn within<T>(bound: Duration, step: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    timeout(bound, step).await.map_err(|_| sqlx::Error::PoolTimedOut)?
}

fn last_bytes(id: Uuid) -> [u8; 4] {
    let [.., a, b, c, d] = id.into_bytes();
    [a, b, c, d]
}
