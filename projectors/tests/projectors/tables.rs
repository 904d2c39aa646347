//! A projection's tables in a database of the test's own, driven as its runner drives them.

use std::sync::atomic::{AtomicI64, Ordering};

use platform::log::{Batch, Checkpoint, Checkpoints, Columns, Move, Moved, Projection, SCAN};
use platform::vault::Vault;
use schemas::read_models::ReadModel;
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool};
use uuid::Uuid;

pub struct Tables {
    pub pool: PgPool,
    /// Where the checkpoint stands.
    at: AtomicI64,
}

/// A move of the one checkpoint that is used here.
pub fn step<P: Projection>(from: i64, to: i64) -> Move {
    let at = |last_position| {
        let checkpoint = Checkpoint { incarnation: Uuid::nil(), generation: 1, last_position, source: String::new(), next_offset: 0 };
        Columns::of(&Checkpoints::from([((P::Model::READS[0], SCAN), checkpoint)]))
    };
    Move { build: P::BUILD, unless_parked: true, from: at(from), to: at(to) }
}

impl Tables {
    pub async fn of<P: Projection>() -> Self {
        let tables = Self { pool: testkit::servers::database().await.pool, at: AtomicI64::new(0) };
        tables.empty::<P>().await;
        tables
    }

    /// With a key store beside them.
    pub async fn with_vault<P: Projection>() -> (Self, Vault) {
        let tables = Self::of::<P>().await;
        let ddl = format!(
            "CREATE SCHEMA keys; SET search_path = keys; {}; RESET search_path",
            include_str!("../../../migrations/keys/0001_keys.sql")
        );
        sqlx::raw_sql(AssertSqlSafe(ddl)).execute(&tables.pool).await.expect("the schema is sound");
        let vault = Vault::open(tables.pool.clone(), None).await.expect("the key store opens");
        (tables, vault)
    }

    /// As new.
    pub async fn empty<P: Projection>(&self) {
        let name = P::Model::NAME;
        let ddl = format!(
            "DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {} {};
             INSERT INTO checkpoints (topic, partition, build, state, incarnation, generation, last_position, source, next_offset)
             VALUES ('{}', {SCAN}, {}, 'live', '{}', 1, 0, '', 0)",
            include_str!("../../../platform/src/log/checkpoints.sql"),
            P::SCHEMA,
            P::Model::READS[0].service(),
            P::BUILD,
            Uuid::nil()
        );
        self.at.store(0, Ordering::Relaxed);
        let mut tx = self.pool.begin().await.expect("the server answers");
        tx.execute(AssertSqlSafe(ddl)).await.expect("the schema is sound");
        tx.commit().await.expect("it commits");
    }

    /// One batch: in one statement where the projection has one, else in one transaction.
    pub async fn apply<P: Projection>(&self, projection: &P, batch: Batch<'_>) {
        let folded = projection.fold(batch).await.expect("it folds");
        let at = self.at.load(Ordering::Relaxed);
        let to = step::<P>(at, at + 1);
        if let Some(moved) = self.at_once(projection, &to, &folded).await {
            assert!(to.is_made(&moved), "{moved:?}");
            self.at.store(at + 1, Ordering::Relaxed);
            return;
        }
        let mut tx = self.pool.begin().await.expect("the server answers");
        tx.execute(AssertSqlSafe(format!("SET LOCAL search_path = {}", P::Model::NAME))).await.expect("it is set");
        projection.apply(&mut tx, &folded).await.expect("it applies");
        tx.commit().await.expect("it commits");
    }

    pub async fn at_once<P: Projection>(&self, projection: &P, to: &Move, folded: &P::Folded) -> Option<Moved> {
        let mut connection = self.pool.acquire().await.expect("the server answers");
        let connection: &mut PgConnection = &mut connection;
        connection.execute(AssertSqlSafe(format!("SET search_path = {}", P::Model::NAME))).await.expect("it is set");
        let moved = projection.apply_at_once(connection, to, folded).await.expect("it applies");
        connection.execute("RESET search_path").await.expect("it is reset");
        moved
    }

    /// A table's rows as JSON, in the order of its first column.
    pub async fn rows(&self, table: &str) -> Vec<serde_json::Value> {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT to_jsonb(t) FROM {table} t ORDER BY 1")))
            .fetch_all(&self.pool)
            .await
            .expect("rows")
    }
}
