//! The messages service over databases of a test's own, asked as clients ask it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode};
use command_services::messages::{self, Messages};
use platform::auth::{Revocations, SigningKeys, Standing, Tokens};
use platform::fresh::{Freshness, Reached};
use platform::http::routes;
use platform::ledger::{Ledger, LedgerConfig, lookup_options};
use platform::marks::{Heads, Marks};
use platform::presence::Presence;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use schemas::{SessionId, Topic, UserId};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use testkit::servers::{database, redis_url};
use testkit::wait_until;
use tower::ServiceExt;
use uuid::Uuid;

const BOUND: Duration = Duration::from_secs(20);

/// The databases, which outlive a process of the service.
pub struct Data {
    url: String,
    pub pool: PgPool,
    keys: PathBuf,
}

impl Drop for Data {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.keys);
    }
}

impl Data {
    pub async fn new() -> Self {
        let database = database().await;
        let schemas = [
            (
                "messages_ledger",
                concat!(
                    include_str!("../../../migrations/ledger/0001_ledger.sql"),
                    include_str!("../../../migrations/ledger/0002_remember_answer.sql")
                ),
            ),
            ("auth_ledger", include_str!("../../../migrations/ledger/0001_ledger.sql")),
            ("users_ledger", include_str!("../../../migrations/ledger/0001_ledger.sql")),
            ("auth", include_str!("../../../migrations/auth/0001_signing_keys.sql")),
            ("keys", include_str!("../../../migrations/keys/0001_keys.sql")),
            (
                "people",
                concat!(
                    include_str!("../../../platform/src/log/checkpoints.sql"),
                    include_str!("../../../projectors/src/people/schema.sql")
                ),
            ),
            (
                "blocks",
                concat!(
                    include_str!("../../../platform/src/log/checkpoints.sql"),
                    include_str!("../../../projectors/src/blocks/schema.sql")
                ),
            ),
        ];
        for (name, ddl) in schemas {
            let sql = format!("CREATE SCHEMA {name}; SET search_path = {name}; {ddl}; RESET search_path");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
        }
        let keys = std::env::temp_dir().join(format!("postrider-test-{}", Uuid::now_v7()));
        Self { url: database.url, pool: database.pool, keys }
    }

    /// Somebody whom the copy of who exists knows.
    pub async fn person(&self) -> UserId {
        let user = UserId(Uuid::now_v7());
        sqlx::query("INSERT INTO people.people VALUES ($1)").bind(user.0).execute(&self.pool).await.unwrap();
        user
    }

    /// As if the copy had never heard of them.
    pub async fn forget(&self, user: UserId) {
        sqlx::query("DELETE FROM people.people WHERE user_id = $1").bind(user.0).execute(&self.pool).await.unwrap();
    }

    /// As the copy of blocks would have it.
    pub async fn block(&self, blocker: UserId, blocked: UserId) {
        sqlx::query("INSERT INTO blocks.blocks VALUES ($1, $2)").bind(blocker.0).bind(blocked.0).execute(&self.pool).await.unwrap();
    }

    /// Something happened in `auth.events` that the copy of who exists has not seen.
    pub async fn fall_behind(&self) {
        self.append_to("auth_ledger").await;
    }

    /// Something happened in `users.events` that the copy of blocks has not seen.
    pub async fn fall_behind_with_blocks(&self) {
        self.append_to("users_ledger").await;
    }

    async fn append_to(&self, ledger: &str) {
        let sql = format!(
            "INSERT INTO {ledger}.events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, partition_key, key_hash, event_id, recorded_at)
             VALUES ('session', 'x', 1, 'session.revoked', '1', '{{}}', '{{}}', 'x', 0, gen_random_uuid(), now())",
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&self.pool).await.unwrap();
    }

    /// How many events of a type are stored.
    pub async fn count(&self, event_type: &str) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM messages_ledger.events WHERE event_type = $1");
        count.bind(event_type).fetch_one(&self.pool).await.unwrap()
    }
}

/// A process of the service.
#[derive(Clone)]
pub struct Service {
    router: Router,
    tokens: Tokens,
    ledger: Ledger,
    /// For those who do not ask by HTTP.
    pub messages: Messages,
    /// Of everybody who asks; a new one for each request when there is none.
    session: Option<SessionId>,
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: StatusCode,
    pub token: Option<String>,
    pub body: Value,
}

impl Answer {
    pub fn refused_with(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or(""))
    }
}

impl Service {
    pub async fn over(data: &Data) -> Self {
        let shutdown = Shutdown::new();
        let redis = Redis::connect(&redis_url().await, shutdown.clone()).unwrap();
        let revocations = Revocations::follow(redis.clone(), Duration::from_secs(60), shutdown.clone());
        wait_until("redis takes the revocations", BOUND, async || revocations.load(&[]).await.ok()).await;
        let known = || (revocations.standing(SessionId(Uuid::nil())) != Standing::Unknown).then_some(());
        wait_until("revocations are loaded", BOUND, async || known()).await;
        let keys = SigningKeys::open(&data.keys, &data.pool, Duration::from_secs(3_600)).await.unwrap();
        let tokens = Tokens::new(keys, revocations, "postrider", "postrider");

        let lookups =
            PgPoolOptions::new().max_connections(4).connect_with(lookup_options(&data.url, Topic::Messages).unwrap()).await.unwrap();
        let vault = Vault::open(data.pool.clone(), None).await.unwrap();
        let marks = Marks::new(redis.clone(), &shutdown);
        let config = LedgerConfig {
            url: data.url.clone(),
            topic: Topic::Messages,
            pool: lookups,
            redis: Some(redis.clone()),
            deadline: Duration::from_secs(5),
        };
        let ledger = Ledger::open(config, vault, marks.clone(), shutdown.clone()).await.unwrap();
        let freshness = Freshness {
            marks,
            heads: Heads::new(BTreeMap::from([(Topic::Auth, data.pool.clone()), (Topic::Users, data.pool.clone())])),
            reached: Reached::new(
                redis.clone(),
                BTreeMap::from([("people", data.pool.clone()), ("blocks", data.pool.clone())]),
                shutdown.clone(),
            ),
            pools: Arc::new(BTreeMap::from([("messages", data.pool.clone())])),
        };
        let messages = Messages::new(ledger.clone(), freshness, tokens.clone(), Presence::new(redis), shutdown);
        Self { router: routes(messages::router(messages.clone())), tokens, ledger, messages, session: None }
    }

    /// What housekeeping does.
    pub async fn blank_deleted(&self) -> u64 {
        messages::delete::blank_deleted(&self.ledger).await.unwrap()
    }

    /// The same process, asked in one session.
    pub fn in_session(&self, session: SessionId) -> Self {
        Self { session: Some(session), ..self.clone() }
    }

    pub async fn ask(&self, caller: UserId, method: Method, path: &str, key: Option<&str>, body: Option<&Value>) -> Answer {
        let (token, _) =
            self.tokens.issue(caller, self.session.unwrap_or(SessionId(Uuid::now_v7())), "user", Duration::from_secs(600)).unwrap();
        let mut request =
            Request::builder().method(method).uri(format!("/api/v1{path}")).header("authorization", format!("Bearer {token}"));
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
            None => request.body(Body::empty()),
        };
        self.answer(request.unwrap()).await
    }

    pub async fn answer(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let token = response.headers().get("x-consistency-token").map(|token| token.to_str().unwrap().to_owned());
        let status = response.status();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, token, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub async fn post(&self, caller: UserId, path: &str, body: &Value) -> Answer {
        self.ask(caller, Method::POST, path, None, Some(body)).await
    }
}

/// A body that sends.
pub fn letter(recipient: UserId) -> Value {
    json!({"recipient_id": recipient, "encrypted_content": "content ✓", "encrypted_session_key": "key"})
}

/// The same under an id of the client's own.
pub fn letter_as(id: Uuid, recipient: UserId) -> Value {
    let mut letter = letter(recipient);
    letter["message_id"] = json!(id);
    letter
}
