//! A projection's tables in a database of the test's own, driven as its runner drives them.

use platform::log::{Batch, Projection};
use platform::vault::Vault;
use schemas::read_models::ReadModel;
use sqlx::{AssertSqlSafe, Executor, PgPool};

pub struct Tables {
    pub pool: PgPool,
}

impl Tables {
    pub async fn of<P: Projection>() -> Self {
        let tables = Self { pool: testkit::servers::database().await.pool };
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
        let ddl = format!("DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name}; SET LOCAL search_path = {name}; {}", P::SCHEMA);
        let mut tx = self.pool.begin().await.expect("the server answers");
        tx.execute(AssertSqlSafe(ddl)).await.expect("the schema is sound");
        tx.commit().await.expect("it commits");
    }

    /// One batch, one transaction.
    pub async fn apply<P: Projection>(&self, projection: &P, batch: Batch<'_>) {
        let folded = projection.fold(batch).await.expect("it folds");
        let mut tx = self.pool.begin().await.expect("the server answers");
        tx.execute(AssertSqlSafe(format!("SET LOCAL search_path = {}", P::Model::NAME))).await.expect("it is set");
        projection.apply(&mut tx, &folded).await.expect("it applies");
        tx.commit().await.expect("it commits");
    }

    /// A table's rows as JSON, in the order of its first column.
    pub async fn rows(&self, table: &str) -> Vec<serde_json::Value> {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT to_jsonb(t) FROM {table} t ORDER BY 1")))
            .fetch_all(&self.pool)
            .await
            .expect("rows")
    }
}
