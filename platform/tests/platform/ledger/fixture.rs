//! A ledger of a test's own, and appends to put into it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use platform::ledger::{Append, CommandRecord, NewEvent, Writer, lookup_options};
use platform::shutdown::Shutdown;
use schemas::{Metadata, Topic};
use serde_json::value::RawValue;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, PgConnection, PgPool};
use uuid::Uuid;

pub const DEADLINE: Duration = Duration::from_secs(5);
pub const BOUND: Duration = Duration::from_secs(20);

/// A database with one empty ledger.
pub struct LedgerDatabase {
    pub url: String,
    /// With the ledger's search path.
    pub pool: PgPool,
    pub commits: Arc<AtomicUsize>,
}

impl LedgerDatabase {
    pub async fn new() -> Self {
        let database = testkit::servers::database().await;
        let migration = concat!(
            "CREATE SCHEMA messages_ledger; SET search_path = messages_ledger;",
            include_str!("../../../../migrations/ledger/0001_ledger.sql"),
            include_str!("../../../../migrations/ledger/0002_remember_answer.sql"),
            "; RESET search_path;"
        );
        database.pool.execute(migration).await.unwrap();
        let options = lookup_options(&database.url, Topic::Messages).unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await.unwrap();
        Self { url: database.url, pool, commits: Arc::default() }
    }

    pub async fn writer(&self) -> Writer {
        self.writer_within(DEADLINE).await
    }

    pub async fn writer_within(&self, deadline: Duration) -> Writer {
        self.writer_over(&self.url, deadline).await
    }

    pub async fn writer_over(&self, url: &str, deadline: Duration) -> Writer {
        let commits = Arc::clone(&self.commits);
        let count = move |_| {
            commits.fetch_add(1, Ordering::Relaxed);
        };
        Writer::start(url, Topic::Messages, Uuid::nil(), deadline, &Shutdown::new(), count).await.unwrap()
    }

    pub async fn connection(&self) -> PgConnection {
        lookup_options(&self.url, Topic::Messages).unwrap().connect().await.unwrap()
    }

    pub async fn count(&self, from_where: &'static str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {from_where}"))).fetch_one(&self.pool).await.unwrap()
    }

    /// Holds the lane until the connection is closed.
    pub async fn hold_lane(&self) -> PgConnection {
        let mut holder = self.connection().await;
        sqlx::query("SELECT pg_advisory_lock($1, 0)").bind(schemas::key_hash("messages_ledger")).execute(&mut holder).await.unwrap();
        holder
    }

    /// Process ids of writers that stand before the lane.
    pub async fn parked(&self) -> Vec<i32> {
        sqlx::query_scalar(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'postrider-writer-%' AND wait_event = 'advisory'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// Ends every writer's backend; says how many.
    pub async fn kill_writers(&self) -> usize {
        let killed: Vec<bool> = sqlx::query_scalar(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'postrider-writer-%'",
        )
        .fetch_all(&self.pool)
        .await
        .unwrap();
        killed.len()
    }
}

pub fn event(stream: Uuid, sequence: i64) -> NewEvent {
    NewEvent {
        aggregate_type: "message",
        aggregate_id: stream.to_string(),
        sequence,
        event_id: Uuid::now_v7(),
        event_type: "message.sent".to_owned(),
        event_version: "1".to_owned(),
        payload: raw(r#"{"text":"hello"}"#),
        metadata: Metadata { actor: "system".to_owned(), ..Metadata::default() },
        partition_key: stream.to_string(),
        at: None,
    }
}

pub fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// One event that founds a stream.
pub fn founding(stream: Uuid) -> Append {
    Append { events: vec![event(stream, 1)], ..Append::default() }
}

pub fn recorded(append: Append, key: &str, digest: u8) -> Append {
    let record = CommandRecord { actor: "ann".to_owned(), key: key.to_owned(), digest: [digest; 32], status: 200 };
    Append { record: Some(record), ..append }
}
