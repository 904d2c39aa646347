//! A ledger to read from, written through its own function.

use platform::ledger::Feed;
use platform::shutdown::Shutdown;
use schemas::{Topic, key_hash};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

/// The messages ledger in a database of its own.
pub struct TestLedger {
    /// With the ledger's schema as search_path.
    pub pool: PgPool,
    /// Without.
    pub database: PgPool,
}

impl TestLedger {
    pub async fn new() -> Self {
        let database = testkit::servers::database().await;
        sqlx::raw_sql(AssertSqlSafe(format!(
            "CREATE SCHEMA messages_ledger; SET search_path = messages_ledger; {}; SET search_path = public",
            include_str!("../../../../migrations/ledger/0001_ledger.sql")
        )))
        .execute(&database.pool)
        .await
        .unwrap();
        let options = database.pool.connect_options().as_ref().clone().options([("search_path", "messages_ledger")]);
        let pool = PgPoolOptions::new().max_connections(6).connect_with(options).await.unwrap();
        Self { pool, database: database.pool }
    }

    pub async fn feed(&self) -> Feed {
        Feed::open(self.pool.clone(), Topic::Messages, None, &Shutdown::new()).await.unwrap()
    }

    /// Appends one event per (key, JSON); returns their positions.
    pub async fn append(&self, events: &[(String, String)]) -> Vec<i64> {
        let n = i32::try_from(events.len()).unwrap();
        let ids: Vec<Uuid> = events.iter().map(|_| Uuid::now_v7()).collect();
        let (_, positions): (Vec<i32>, Vec<i64>) = sqlx::query_as(
            "SELECT outcome, pos FROM append_batch(7, $1, NULL, NULL, NULL, NULL, (SELECT array_agg(g) FROM generate_series(1, $1) g), array_fill(0, ARRAY[$1]),
               array_fill('message'::text, ARRAY[$1]), $2, array_fill(1::bigint, ARRAY[$1]), array_fill('message.sent'::text, ARRAY[$1]), array_fill('1'::text, ARRAY[$1]),
               $3::text[]::json[], array_fill('{\"correlation_id\":\"c\",\"causation_id\":\"c\",\"actor\":\"system\"}'::json, ARRAY[$1]), $4, $5, $6, NULL,
               NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .bind(n)
        .bind(ids.iter().map(Uuid::to_string).collect::<Vec<_>>())
        .bind(events.iter().map(|(_, json)| json.clone()).collect::<Vec<_>>())
        .bind(events.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>())
        .bind(events.iter().map(|(key, _)| key_hash(key)).collect::<Vec<_>>())
        .bind(&ids)
        .fetch_one(&self.pool)
        .await
        .unwrap();
        positions
    }

    /// Appends `count` events over `keys` keys, each saying its number from `from`.
    pub async fn fill(&self, from: usize, count: usize, keys: usize) -> Vec<i64> {
        let mut positions = Vec::new();
        let events: Vec<_> = (from..from + count).map(|n| (format!("key-{}", n % keys), format!(r#"{{"n":{n}}}"#))).collect();
        for chunk in events.chunks(1000) {
            positions.extend(self.append(chunk).await);
        }
        positions
    }
}

/// The number that [`TestLedger::fill`] wrote.
pub fn number(event: &schemas::Recorded) -> i64 {
    serde_json::from_str::<serde_json::Value>(event.payload.get()).unwrap()["n"].as_i64().unwrap()
}
