//! Whatever keeps the system from starting is said in a sentence: what, where, and what would be right.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use platform::private::{DataDir, PrivatePostgres};
use sqlx::{Connection, Executor, PgConnection};
use testkit::servers::{database, redis_url, temporary_directory};
use testkit::system::{System, SystemConfig, free_port};
use testkit::wait_until;

use super::{Said, run};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
const OTHER_KEY: &str = "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";

/// `up`, on free ports.
async fn up(directory: &Path, env: &[(&str, &str)]) -> Said {
    let port = free_port().to_string();
    let mut all = vec![("PORT", port.as_str()), ("POSTRIDER_SERVER__METRICS_PORT", "0")];
    all.extend(env);
    run(directory, &["up"], &all).await
}

#[tokio::test]
async fn a_wrong_setting_is_named_with_its_place_and_what_would_be_right() {
    let dir = temporary_directory();
    up(&dir, &[("PORT", "eighty")]).await.refused(&["server.port (environment variable PORT)", "a whole number"]);
    up(&dir, &[("POSTRIDER_SERVER_PORT", "80")]).await.refused(&["POSTRIDER_SERVER_PORT", "POSTRIDER_SERVER__PORT"]);
    up(&dir, &[("POSTRIDER_AUTH__HASHER_QUEUE", "0")]).await.refused(&["auth.hasher_queue", "from 1 to 10000 would be right"]);
    up(&dir, &[("POSTRIDER_TELEMETRY__LOG", "platform=loud")]).await.refused(&["telemetry.log", "would be right"]);
    run(&dir, &["up", "--prot", "80"], &[]).await.refused(&["--prot", "--port"]);
    run(&dir, &["up", "--port", "eighty"], &[]).await.refused(&["server.port (flag --port)", "a whole number"]);
    run(&dir, &["config", "--set", "port=1"], &[]).await.refused(&["--set", "SECTION.KEY=VALUE"]);
    run(&dir, &["up", "--config", "none.toml"], &[]).await.refused(&["none.toml cannot be read", "No such file"]);
    fs::write(dir.join("postrider.toml"), "# mine\n[server]\nprot = 1\n").unwrap();
    up(&dir, &[]).await.refused(&["server.prot (postrider.toml:3)", "there is no such setting", "metrics_port, port"]);
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing was begun");
}

#[tokio::test]
async fn a_url_that_cannot_be_right_is_refused_without_showing_its_password() {
    let dir = temporary_directory();
    for (name, url, parts) in [
        ("DATABASE_URL", "planted", ["postgres.url (environment variable DATABASE_URL)", "scheme://user:password@host:port/name"]),
        (
            "DATABASE_URL",
            "mysql://ann:planted@127.0.0.1/x",
            [
                "postgres.url (environment variable DATABASE_URL): mysql://ann:***@127.0.0.1/x",
                "postgres://user:password@host:port/database",
            ],
        ),
        ("REDIS_URL", "http://ann:planted@127.0.0.1/", ["redis.url (environment variable REDIS_URL)", "redis://user:password@host:port/"]),
        (
            "DATABASE_URL",
            "postgres://ann:planted@127.0.0.1:1/x",
            ["the Postgres at postgres://ann:***@127.0.0.1:1/x", "Connection refused"],
        ),
    ] {
        let said = up(&dir, &[(name, url)]).await;
        said.refused(&parts);
        assert!(!said.err.contains("planted"), "{}", said.err);
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_the_flag_that_chooses_another() {
    let dir = temporary_directory();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    up(&dir, &[("PORT", &port)]).await.refused(&[&format!("127.0.0.1:{port} is taken"), "--port"]);
    up(&dir, &[("POSTRIDER_SERVER__METRICS_PORT", &port)]).await.refused(&[&format!("127.0.0.1:{port} is taken"), "--metrics-port"]);
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named_and_left_as_it_is() {
    let dir = temporary_directory();
    fs::write(dir.join("file"), "").unwrap();
    up(&dir, &[("POSTRIDER_SERVER__DATA_DIR", "file/below")])
        .await
        .refused(&["the data directory file/below cannot be used", "Not a directory"]);
    up(&dir, &[("POSTRIDER_SERVER__DATA_DIR", "/proc/postrider")]).await.refused(&["the data directory /proc/postrider cannot be used"]);
    let newer = dir.join("newer");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("version"), "99\n").unwrap();
    up(&dir, &[("POSTRIDER_SERVER__DATA_DIR", "newer")]).await.refused(&[
        "newer was written by a newer postrider",
        "layout 99",
        "--data-dir",
    ]);
    assert_eq!(fs::read_dir(&newer).unwrap().count(), 1);
    for args in [["events", "--topic=auth"], ["parked", "list"]] {
        run(&dir, &args, &[]).await.refused(&["nothing in the data directory .data yet", "postrider up", "--data-dir"]);
    }
    assert!(!dir.join(".data").exists(), "looking makes nothing");
}

#[tokio::test]
async fn a_wrapping_key_of_another_length_or_another_store_is_refused() {
    let dir = temporary_directory();
    let (auth, users, messages) = (database().await, database().await, database().await);
    let redis = redis_url().await;
    let env = |key: &'static str| {
        [
            ("AUTH_DATABASE_URL", auth.url.as_str()),
            ("USER_DATABASE_URL", users.url.as_str()),
            ("MESSAGE_DATABASE_URL", messages.url.as_str()),
            ("REDIS_URL", redis.as_str()),
            ("POSTRIDER_KEYS__WRAPPING_KEY", key),
        ]
    };
    up(&dir, &env("c2hvcnQ="))
        .await
        .refused(&["keys.wrapping_key (environment variable POSTRIDER_KEYS__WRAPPING_KEY)", "32 bytes in base64"]);
    let config = env(KEY).iter().fold(SystemConfig::default(), |config, (name, value)| config.env(name, value));
    let mut system = System::start(config).await;
    system.stop().await;
    let said = up(&dir, &env(OTHER_KEY)).await;
    said.refused(&["the wrapping key (`keys.wrapping_key`) is not the one that the key store was sealed with"]);
    assert!(!said.err.contains(KEY) && !said.err.contains(OTHER_KEY), "{}", said.err);
    up(&dir, &env("")).await.refused(&["`keys.wrapping_key`) is not configured"]);
}

#[tokio::test]
async fn a_database_user_without_the_rights_to_install_is_told_which_one_is_lacking() {
    let dir = temporary_directory();
    let server = PrivatePostgres::start(&Arc::new(DataDir::open(&dir.join("server")).unwrap().lock().unwrap())).await.unwrap();
    let mut admin = PgConnection::connect(server.url()).await.unwrap();
    admin.execute("CREATE ROLE weak LOGIN PASSWORD 'planted'; CREATE ROLE maker LOGIN CREATEDB PASSWORD 'planted'").await.unwrap();
    let as_user = |name: &str| {
        let (_, rest) = server.url().split_once('@').unwrap();
        format!("postgres://{name}:planted@{rest}")
    };
    for (args, parts) in
        [(["events", "--topic=auth"], "no ledger of auth yet"), (["parked", "list"], "nothing has been made on this server yet")]
    {
        run(&dir, &args, &[("DATABASE_URL", server.url())]).await.refused(&[parts, "postrider up"]);
    }
    let databases: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_database WHERE datname LIKE '%\\_db'").fetch_one(&mut admin).await.unwrap();
    assert_eq!(databases, 0, "looking makes nothing");
    for (user, right) in [("weak", "lacks CREATEDB"), ("maker", "lacks CREATEROLE")] {
        let said = up(&dir, &[("DATABASE_URL", &as_user(user))]).await;
        said.refused(&[
            &format!("the user {user} of postgres://{user}:***@"),
            right,
            "AUTH_DATABASE_URL, USER_DATABASE_URL, MESSAGE_DATABASE_URL",
        ]);
        assert!(!said.err.contains("planted"), "{}", said.err);
    }
    server.stop().await;
}

#[tokio::test]
async fn without_redis_it_starts_and_says_what_is_missing_until_redis_is_there() {
    let mut system = System::prepare(SystemConfig::default().env("REDIS_URL", "redis://127.0.0.1:1/"));
    system.start_again();
    let client = testkit::person::http();
    wait_until("only Redis is missing", Duration::from_secs(60), async || {
        let answer = client.get(system.url("/health/ready")).send().await.ok()?;
        assert_eq!((answer.status().as_u16(), answer.headers().contains_key("retry-after")), (503, true));
        let body: serde_json::Value = answer.json().await.ok()?;
        let missing = body["missing"].as_array()?.iter().filter_map(|name| name.as_str()).collect::<Vec<_>>();
        (body["status"] == "not ready" && missing == ["frames.messages", "frames.users", "redis has answered", "revocations are loaded"])
            .then_some(())
    })
    .await;
    let log = system.log();
    let says = log.lines().any(|line| line.contains("redis") && line.contains("127.0.0.1:1") && line.contains("WARN"));
    let repeats = log.lines().filter(|line| line.contains("revoked sessions")).count();
    assert!(repeats <= 1, "what lasts is said once:\n{log}");
    assert!(says, "the log names the server that does not answer:\n{log}");
    let live: serde_json::Value = client.get(system.url("/health/live")).send().await.unwrap().json().await.unwrap();
    assert_eq!(live, serde_json::json!({"status": "live"}));
    let health: serde_json::Value = client.get(system.url("/health")).send().await.unwrap().json().await.unwrap();
    assert_eq!((&health["status"], &health["service"]), (&"healthy".into(), &"postrider".into()));
}
