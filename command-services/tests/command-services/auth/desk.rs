//! The auth service on servers of a test's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use command_services::auth::{Auth, Hasher, Lifetimes, Lockout, Portraits, revocations_keeper, router};
use platform::auth::{Revocations, SessionUses, SigningKeys, Tokens};
use platform::fresh::{Freshness, Reached};
use platform::http::{routes, serve};
use platform::ledger::{Ledger, LedgerConfig, lookup_options};
use platform::marks::{Heads, Marks};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use reqwest::header::HeaderMap;
use schemas::Topic;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgPool};
use testkit::wait_until;
use tokio::net::TcpListener;
use uuid::Uuid;

pub const SOON: Duration = Duration::from_secs(10);
pub const PASSWORD: &str = "correct horse battery";

/// A Redis that is stopped and started again, empty.
pub struct OwnRedis {
    port: u16,
    server: Option<Child>,
}

impl OwnRedis {
    async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut redis = Self { port, server: None };
        redis.run().await;
        redis
    }
    pub async fn run(&mut self) {
        let mut server = Command::new("redis-server");
        server.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        self.server = Some(server.stdout(Stdio::null()).spawn().unwrap());
        wait_until("redis listens", SOON, async || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()).await;
    }
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
    pub fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.stop();
    }
}

/// One process of the auth service, its servers, and a client.
pub struct Desk {
    pub auth: Auth,
    pub pool: PgPool,
    pub redis: OwnRedis,
    address: SocketAddr,
    client: reqwest::Client,
    keys: std::path::PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.keys);
    }
}

/// Status, headers, body.
pub type Answer = (u16, HeaderMap, Value);

impl Desk {
    pub async fn open() -> Self {
        // Patient: these tests share two cores with others.
        Self::open_with(Hasher::new(1, 256, Duration::from_secs(60))).await
    }

    pub async fn open_with(hasher: Hasher) -> Self {
        let database = testkit::servers::database().await;
        for schema in [
            concat!(
                "CREATE SCHEMA auth_ledger; SET search_path = auth_ledger;",
                include_str!("../../../../migrations/ledger/0001_ledger.sql")
            ),
            concat!("CREATE SCHEMA auth; SET search_path = auth;", include_str!("../../../../migrations/auth/0001_signing_keys.sql")),
            concat!(
                "CREATE SCHEMA portraits; SET search_path = portraits;",
                include_str!("../../../../platform/src/log/checkpoints.sql"),
                include_str!("../../../../projectors/src/portraits/schema.sql")
            ),
            concat!(
                "CREATE SCHEMA users_ledger; SET search_path = users_ledger;",
                include_str!("../../../../migrations/ledger/0001_ledger.sql")
            ),
            concat!("CREATE SCHEMA keys; SET search_path = keys;", include_str!("../../../../migrations/keys/0001_keys.sql")),
        ] {
            let mut connection = database.pool.acquire().await.unwrap();
            connection.execute(schema).await.unwrap();
            connection.execute("RESET search_path").await.unwrap();
        }
        let redis = OwnRedis::start().await;
        let shutdown = Shutdown::new();
        let connected = Redis::connect(&redis.url(), shutdown.clone()).unwrap();
        let pool = PgPoolOptions::new().max_connections(8).connect_with(lookup_options(&database.url, Topic::Auth).unwrap()).await.unwrap();
        let vault = Vault::open(database.pool.clone(), None).await.unwrap();
        let config =
            LedgerConfig { url: database.url, topic: Topic::Auth, pool: pool.clone(), redis: None, deadline: Duration::from_secs(5) };
        let marks = Marks::new(connected.clone(), &shutdown);
        let portraits = Portraits::new(Freshness {
            marks: marks.clone(),
            heads: Heads::new(BTreeMap::from([(Topic::Users, database.pool.clone())])),
            reached: Reached::new(connected.clone(), BTreeMap::from([("portraits", database.pool.clone())]), shutdown.clone()),
            pools: Arc::new(BTreeMap::from([("auth", database.pool.clone())])),
        });
        let ledger = Ledger::open(config, vault, marks, shutdown.clone()).await.unwrap();
        let lifetimes = Lifetimes::default();
        let keys = std::env::temp_dir().join(format!("postrider-test-{}", Uuid::now_v7()));
        let (lockout, uses) = (Lockout::new(connected.clone()), SessionUses::new(connected.clone(), SOON));
        let revocations = Revocations::follow(connected, Duration::from_secs(60), shutdown.clone());
        let signing = SigningKeys::open(&keys, &database.pool, lifetimes.access).await.unwrap();
        let tokens = Tokens::new(signing, revocations.clone(), "postrider", "postrider");
        tokens.note_uses(uses);
        tokio::spawn(revocations_keeper(ledger.clone(), revocations.clone(), shutdown.clone()));
        wait_until("revocations are loaded", SOON, async || revocations.is_loaded().then_some(())).await;
        let auth = Auth { ledger, tokens, revocations, hasher, lockout, portraits, lifetimes, shutdown: shutdown.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, routes(router(auth.clone())), shutdown));
        Self { auth, pool, redis, address, client: reqwest::Client::new(), keys }
    }

    pub async fn send(&self, method: &str, path: &str, token: Option<&str>, body: Option<String>) -> Answer {
        self.send_from("planted-device", (method, path), token, body).await
    }

    /// As a client that calls itself something else.
    pub async fn send_from(&self, device: &str, (method, path): (&str, &str), token: Option<&str>, body: Option<String>) -> Answer {
        let url = format!("http://{}{path}", self.address);
        let mut request = self.client.request(method.parse().unwrap(), url).header("user-agent", device);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await.unwrap();
        (status, headers, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Says something as somebody.
    pub async fn put(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send("PUT", path, Some(token), Some(body.to_string())).await
    }

    pub async fn post_as(&self, token: &str, path: &str, body: Value) -> Answer {
        self.send("POST", path, Some(token), Some(body.to_string())).await
    }

    pub async fn refresh(&self, refresh_token: &str) -> Answer {
        self.post("/api/v1/auth/refresh", json!({"refresh_token": refresh_token})).await
    }

    pub async fn sessions(&self, token: &str) -> Vec<Value> {
        let answer = self.send("GET", "/api/v1/auth/sessions", Some(token), None).await;
        assert_eq!(answer.0, 200, "{}", answer.2);
        answer.2.as_array().unwrap().clone()
    }

    /// The types of all events of one aggregate, in order.
    pub async fn events_of(&self, id: &str) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(id)
            .fetch_all(&self.pool)
            .await
            .unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, None, Some(body.to_string())).await
    }

    pub async fn register(&self, email: &str, username: &str) -> Answer {
        self.post("/api/v1/auth/register", json!({"email": email, "username": username, "password": PASSWORD})).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Answer {
        self.post("/api/v1/auth/login", json!({"email": email, "password": password})).await
    }

    pub async fn me(&self, token: &str) -> Answer {
        self.send("GET", "/api/v1/auth/me", Some(token), None).await
    }

    pub async fn logout(&self, token: &str) -> Answer {
        self.send("POST", "/api/v1/auth/logout", Some(token), None).await
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.unwrap()
    }
}

/// The token of a sign-in.
pub fn token(answer: &Answer) -> &str {
    assert_eq!(answer.0, 200, "{}", answer.2);
    answer.2["access_token"].as_str().unwrap()
}

/// A problem document of this status and code.
pub fn is_problem((status, headers, body): &Answer, expected: u16, code: &str) {
    assert_eq!((*status, body["code"].as_str()), (expected, Some(code)), "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
}

/// The refresh token of a sign-in or refresh.
pub fn refresh_token(answer: &Answer) -> &str {
    assert_eq!(answer.0, 200, "{}", answer.2);
    answer.2["refresh_token"].as_str().unwrap()
}
