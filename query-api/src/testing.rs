//! A read model's tables in a database of a test's own, without a projector.

use axum::body::to_bytes;
use axum::response::Response;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};

pub struct Tables {
    pub pool: PgPool,
    /// A pool of one connection.
    pub lone: PgPool,
}

impl Tables {
    pub async fn of(schema: &str, ddl: &str) -> Self {
        let database = testkit::servers::database().await;
        let sql = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {ddl}; RESET search_path");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.expect("the schema is sound");
        let lone = PgPoolOptions::new().max_connections(1).connect(&database.url).await.expect("it answers");
        Self { pool: database.pool, lone }
    }

    /// Another read model's tables in the same database.
    pub async fn also(&self, schema: &str, ddl: &str) {
        let sql = format!("CREATE SCHEMA {schema}; SET search_path = {schema}; {ddl}; RESET search_path");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&self.pool).await.expect("the schema is sound");
    }
}

pub async fn text(response: Response) -> String {
    let bytes = to_bytes(response.into_body(), usize::MAX).await.expect("a whole body");
    String::from_utf8(bytes.to_vec()).expect("text")
}
