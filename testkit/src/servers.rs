//! Real servers for tests: one Postgres and one Redis per test process, a database per test.
//!
//! They are private servers below a temporary directory: they die with the test process, however it ends, and the directory goes
//! with them. `POSTRIDER_TEST_DATABASE_URL` and `POSTRIDER_TEST_REDIS_URL` point the tests at running servers instead.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use platform::private::{DataDir, Locked, PrivatePostgres, PrivateRedis};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

static DIRECTORY: OnceCell<Arc<Locked>> = OnceCell::const_new();
static POSTGRES: OnceCell<PrivatePostgres> = OnceCell::const_new();
static REDIS: OnceCell<PrivateRedis> = OnceCell::const_new();

/// URL of the Postgres server for tests, as its superuser.
pub async fn postgres_url() -> String {
    if let Some(url) = given("POSTRIDER_TEST_DATABASE_URL") {
        return url;
    }
    let start = || async { PrivatePostgres::start(directory().await).await.expect("a private Postgres for the tests starts") };
    POSTGRES.get_or_init(start).await.url().to_owned()
}

/// URL of the Redis server for tests.
pub async fn redis_url() -> String {
    if let Some(url) = given("POSTRIDER_TEST_REDIS_URL") {
        return url;
    }
    let start = || async { PrivateRedis::start(directory().await).await.expect("a private Redis for the tests starts") };
    REDIS.get_or_init(start).await.url().to_owned()
}

fn given(variable: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "tests may be pointed at running servers")]
    std::env::var(variable).ok().filter(|url| !url.is_empty())
}

/// The data directory of this process's servers.
async fn directory() -> &'static Arc<Locked> {
    DIRECTORY
        .get_or_init(|| async {
            let path = temporary_directory();
            Arc::new(DataDir::open(&path).and_then(|dir| dir.lock()).expect("a temporary data directory can be made"))
        })
        .await
}

/// A Postgres that was killed leaves a segment of shared memory, which its next start would remove; its number is in the seventh line. `$0`: below where.
const REMOVE_SHARED_MEMORY: &str =
    r#"find "$0" -name postmaster.pid | while read -r file; do ipcrm -m "$(sed -n '7s/.* //p' "$file")"; done"#;

/// Removes a directory of servers that have been killed, and what they left in memory.
pub(crate) fn remove_directory(path: &Path) {
    let sweep = format!("{REMOVE_SHARED_MEMORY}; rm -rf \"$0\"");
    // A backend may still be writing its last file: then the sweeper of the directory comes later.
    let _ =
        Command::new("/bin/sh").args(["-c", &sweep]).arg(path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Kills a process when this one ends, however it does; not when the value is dropped before.
#[derive(Debug)]
pub(crate) struct DiesWithUs(Child);

impl DiesWithUs {
    pub(crate) fn guard(pid: u32) -> Self {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", r#"cat >/dev/null; kill -9 "$0""#]).arg(pid.to_string()).process_group(0);
        Self(shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell can be started"))
    }
}

impl Drop for DiesWithUs {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A new directory below the system's temporary one, removed after this process has ended, however it ends.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn temporary_directory() -> PathBuf {
    let path = std::env::temp_dir().join(format!("postrider-test-{}", Uuid::now_v7().simple()));
    std::fs::create_dir(&path).expect("a temporary directory can be made");
    // Its input ends when this process does; a moment later the servers, which die with us, have let go of their files.
    let sweeper = format!("cat >/dev/null; for i in 1 2 3 4 5; do sleep 0.5; {REMOVE_SHARED_MEMORY}; rm -rf \"$0\" && break; done");
    #[expect(clippy::zombie_processes, reason = "it outlives us: that is its purpose")]
    let mut sweeper = Command::new("/bin/sh")
        .args(["-c", &sweeper])
        .arg(&path)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell can be started");
    std::mem::forget(sweeper.stdin.take()); // open until the end of this process
    path
}

/// A Postgres and a Redis of a test's own, for several systems beside each other. They end with the value.
#[derive(Debug)]
pub struct Pair {
    /// Of Postgres, as its superuser.
    pub postgres: PrivatePostgres,
    /// Of Redis.
    pub redis: PrivateRedis,
}

impl Pair {
    /// Starts both.
    ///
    /// # Panics
    /// When one does not start.
    pub async fn start() -> Self {
        let directory =
            Arc::new(DataDir::open(&temporary_directory()).and_then(|dir| dir.lock()).expect("a temporary data directory can be made"));
        let (postgres, redis) = tokio::join!(PrivatePostgres::start(&directory), PrivateRedis::start(&directory));
        Self { postgres: postgres.expect("a private Postgres starts"), redis: redis.expect("a private Redis starts") }
    }
}

/// A Redis of a test's own, for what concerns everybody on it. Ends with the value.
///
/// # Panics
/// When it does not start.
pub async fn own_redis() -> PrivateRedis {
    let directory =
        Arc::new(DataDir::open(&temporary_directory()).and_then(|dir| dir.lock()).expect("a temporary data directory can be made"));
    PrivateRedis::start(&directory).await.expect("a private Redis starts")
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
///
/// # Panics
/// When the server does not answer.
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
