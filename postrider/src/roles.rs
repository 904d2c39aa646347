//! What runs in the process, once its ground is laid: ledgers, projections, routers, and who waits for whom.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use command_services::auth::{self, Hasher, Lifetimes};
use command_services::messages;
use platform::auth::{Revocations, SigningKeys, Tokens};
use platform::config::{Config, ServerUrl, StartError};
use platform::fresh::{Freshness, Reached};
use platform::http::{self, health::Readiness};
use platform::ledger::{Ledger, LedgerConfig};
use platform::log::{LedgerSource, Projection, Runner, RunnerConfig};
use platform::marks::{Heads, Marks};
use platform::postgres::{Databases, Pools, Service};
use platform::private::DataDir;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use schemas::Topic;
use schemas::read_models::{self, ReadModel};
use tokio::net::TcpListener;

/// How often what has lapsed is removed.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// What all roles stand on.
#[derive(Debug)]
pub struct Ground {
    /// Effective settings.
    pub config: Config,
    /// The signing key's home.
    pub data_dir: DataDir,
    /// Migrated.
    pub databases: Databases,
    /// Open.
    pub pools: Pools,
    /// May be away.
    pub redis: ServerUrl,
    /// Whether this process has started that Redis for itself.
    pub own_redis: bool,
    /// Bound, not served yet.
    pub listener: TcpListener,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Starts every role, calls `started` when they serve, and returns when all have drained.
///
/// # Errors
/// What keeps a role from starting, or what ended one that must not end.
pub async fn run(ground: Ground, started: impl FnOnce()) -> Result<(), StartError> {
    let readiness = Readiness::new();
    let shutdown = ground.shutdown.clone();
    let roles = Roles::open(&ground, &readiness).await?;
    let router = http::routes(roles.router().merge(http::health::router("postrider", readiness.clone())));
    let stopped = roles.spawn(&ground, &readiness);
    started();
    let served = tokio::spawn(http::serve(ground.listener, router, shutdown.clone()));
    let ended = tokio::select! {
        () = shutdown.draining() => Ok(()),
        ended = stopped => ended,
    };
    shutdown.drain();
    served
        .await
        .map_err(|error| StartError::because("the HTTP server ended by a panic", error))?
        .map_err(|error| StartError::because("the HTTP listener failed", error))?;
    shutdown.finished().await;
    ground.pools.close().await;
    ended
}

/// Everything that routers and projections share.
struct Roles {
    redis: Redis,
    vault: Vault,
    tokens: Tokens,
    revocations: Revocations,
    reached: Reached,
    freshness: Freshness,
    auth: Ledger,
    messages: Ledger,
    router_auth: auth::Auth,
}

impl Roles {
    async fn open(ground: &Ground, readiness: &Readiness) -> Result<Self, StartError> {
        let Ground { config, pools, shutdown, .. } = ground;
        for condition in ["redis has answered", "revocations are loaded"] {
            readiness.require(condition);
        }
        let connect = if ground.own_redis { Redis::connect_to_own } else { Redis::connect };
        let redis = connect(ground.redis.expose(), shutdown.clone()).map_err(|error| StartError::because("Redis cannot be used", error))?;
        let vault = Vault::open(pools.keys.clone(), config.keys.wrapping_key.as_ref().map(|key| key.0)).await?;
        let marks = Marks::new(redis.clone(), shutdown);
        let heads =
            Heads::new(BTreeMap::from([(Topic::Auth, pools.auth_reader.clone()), (Topic::Messages, pools.messages_reader.clone())]));
        let reached = Reached::new(redis.clone(), models(pools), shutdown.clone());
        let services = BTreeMap::from([("users", pools.users.clone()), ("messages", pools.messages.clone())]);
        let freshness = Freshness { marks: marks.clone(), heads, reached: reached.clone(), pools: Arc::new(services) };
        let keys: PathBuf = ground.data_dir.path().join("keys");
        let signing = SigningKeys::open(&keys, &pools.auth, config.auth.access_token).await?;
        let revocations = Revocations::follow(redis.clone(), config.auth.revocation_grace, shutdown.clone());
        let tokens = Tokens::new(signing, revocations.clone(), &config.auth.issuer, &config.auth.audience);
        let ledger = async |topic: Topic, service: Service, pool: &sqlx::PgPool| {
            let config = LedgerConfig {
                url: ground.databases.url(service).expose().to_owned(),
                topic,
                pool: pool.clone(),
                redis: Some(redis.clone()),
                deadline: config.limits.command_deadline,
            };
            Ledger::open(config, vault.clone(), marks.clone(), shutdown.clone()).await
        };
        let (auth, messages) = tokio::try_join!(
            ledger(Topic::Auth, Service::Auth, &pools.auth_ledger),
            ledger(Topic::Messages, Service::Messages, &pools.messages_ledger)
        )?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let router_auth = auth::Auth {
            ledger: auth.clone(),
            tokens: tokens.clone(),
            revocations: revocations.clone(),
            hasher: Hasher::new(cores.saturating_sub(1).max(1), config.auth.hasher_queue, Duration::from_secs(10)),
            lifetimes: Lifetimes { access: config.auth.access_token, refresh: config.auth.refresh_token },
            shutdown: shutdown.clone(),
        };
        Ok(Self { redis, vault, tokens, revocations, reached, freshness, auth, messages, router_auth })
    }

    fn router(&self) -> Router {
        let reads = query_api::Reads { tokens: self.tokens.clone(), freshness: self.freshness.clone() };
        let messages =
            messages::Messages::new(self.messages.clone(), self.freshness.clone(), self.tokens.clone(), self.router_auth.shutdown.clone());
        auth::router(self.router_auth.clone()).merge(messages::router(messages)).merge(query_api::router(reads))
    }

    /// Starts what runs beside the routers. The future ends when a role has stopped that no retry can bring back.
    fn spawn(&self, ground: &Ground, readiness: &Readiness) -> impl Future<Output = Result<(), StartError>> + use<> {
        let shutdown = &ground.shutdown;
        shutdown.spawn(auth::revocations_keeper(self.auth.clone(), self.revocations.clone(), shutdown.clone()));
        shutdown.spawn(watch(self.redis.clone(), self.revocations.clone(), readiness.clone(), shutdown.clone()));
        for ledger in [&self.auth, &self.messages] {
            shutdown.spawn(keep_house(ledger.clone(), shutdown.clone()));
        }
        let (failed, mut failures) = tokio::sync::mpsc::channel(8);
        let start = Start { reached: &self.reached, readiness, shutdown, failed };
        start.projection(projectors::Conversations, &ground.pools.messages, &self.messages);
        start.projection(projectors::Relay, &ground.pools.messages, &self.messages);
        start.projection(projectors::People, &ground.pools.messages, &self.auth);
        start.projection(projectors::Users::new(self.vault.clone()), &ground.pools.users, &self.auth);
        async move {
            match failures.recv().await {
                Some(error) => Err(error),
                // All have drained.
                None => Ok(()),
            }
        }
    }
}

/// Each read model, and in which database it stands.
fn models(pools: &Pools) -> BTreeMap<&'static str, sqlx::PgPool> {
    BTreeMap::from([
        (read_models::Conversations::NAME, pools.messages.clone()),
        (read_models::Relay::NAME, pools.messages.clone()),
        (read_models::People::NAME, pools.messages.clone()),
        (read_models::Users::NAME, pools.users.clone()),
    ])
}

struct Start<'a> {
    reached: &'a Reached,
    readiness: &'a Readiness,
    shutdown: &'a Shutdown,
    failed: tokio::sync::mpsc::Sender<StartError>,
}

impl Start<'_> {
    fn projection<P: Projection>(&self, projection: P, pool: &sqlx::PgPool, ledger: &Ledger) {
        self.readiness.require(P::Model::NAME);
        let config = RunnerConfig {
            pool: pool.clone(),
            announce: Arc::new(self.reached.clone()),
            readiness: self.readiness.clone(),
            exclusive: true,
        };
        let source = Box::new(LedgerSource::new(ledger.feed().clone()));
        let (failed, shutdown) = (self.failed.clone(), self.shutdown.clone());
        self.shutdown.spawn(async move {
            if let Err(error) = Runner::new(projection, config).run(source, shutdown).await {
                tracing::error!(projection = P::Model::NAME, error = &error as &dyn std::error::Error, "a projection has stopped");
                let _ = failed.send(error).await;
            }
        });
    }
}

/// Tells when the conditions that lie outside Postgres are met for the first time.
async fn watch(redis: Redis, revocations: Revocations, readiness: Readiness, shutdown: Shutdown) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !(redis.has_answered() && revocations.is_loaded()) {
        tokio::select! {
            _ = look.tick() => {}
            () = shutdown.draining() => return,
        }
        readiness.set("redis has answered", redis.has_answered());
        readiness.set("revocations are loaded", revocations.is_loaded());
    }
    readiness.set("redis has answered", true);
    readiness.set("revocations are loaded", true);
}

/// Removes what has lapsed; whoever comes second leaves it to the first.
async fn keep_house(ledger: Ledger, shutdown: Shutdown) {
    let mut turn = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shutdown.draining() => return,
        }
        if let Err(error) = ledger.housekeeping().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "housekeeping of a ledger has to wait");
        }
    }
}
