//! Real servers for tests: one Postgres and one Redis per test binary, a database and a key prefix per test.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use uuid::Uuid;

/// URL of the Postgres server for tests, as its superuser.
pub async fn postgres_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests may be pointed at running servers")]
    std::env::var("POSTRIDER_TEST_DATABASE_URL").expect("POSTRIDER_TEST_DATABASE_URL")
}

/// URL of the Redis server for tests.
pub async fn redis_url() -> String {
    #[expect(clippy::disallowed_methods, reason = "tests may be pointed at running servers")]
    std::env::var("POSTRIDER_TEST_REDIS_URL").expect("POSTRIDER_TEST_REDIS_URL")
}

/// A database of a test's own; dropped with the server.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    /// Of this database.
    pub url: String,
    /// Connected as superuser.
    pub pool: PgPool,
}

/// Makes an empty database.
pub async fn database() -> TestDatabase {
    let server = postgres_url().await;
    let name = format!("test_{}", Uuid::now_v7().simple());
    let mut admin = PgConnection::connect(&server).await.expect("the test server answers");
    admin.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.expect("a database can be made");
    let (base, _) = server.rsplit_once('/').expect("a URL with a database");
    let url = format!("{base}/{name}");
    let pool = PgPoolOptions::new().max_connections(10).connect(&url).await.expect("it answers");
    TestDatabase { url, pool }
}
