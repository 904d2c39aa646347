//! What runs in the process, once its ground is laid: ledgers, projections, routers, and who waits for whom.

mod start;
mod upkeep;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use command_services::auth::{self, Hasher, Lifetimes, Lockout};
use command_services::{messages, users};
use platform::auth::{Revocations, SessionUses, SigningKeys, Tickets, Tokens};
use platform::config::{Config, ServerUrl, StartError};
use platform::frames::{FrameLog, Heard};
use platform::fresh::{Freshness, Reached};
use platform::http::{self, AllowedOrigins, Guard, api::Api, health::Readiness};
use platform::ledger::{Ledger, LedgerConfig};
use platform::limits::Limits;
use platform::marks::{Heads, Marks};
use platform::postgres::{Databases, Pools, Service};
use platform::presence::Presence;
use platform::private::DataDir;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use query_api::socket::{self, Attendance, Below, Hub, Sockets, Talk};
use schemas::Topic;
use schemas::read_models::{self, ReadModel};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

pub use start::kafka;

use start::Start;
use upkeep::{ask_postgres, blank_deleted, empty_queues, keep_house, tidy, watch};

use crate::commands::OfMessages;
use crate::{api, descriptors, page};

/// What all roles stand on.
#[derive(Debug)]
pub struct Ground {
    /// Effective settings.
    pub config: Config,
    /// The signing key's home.
    pub data_dir: DataDir,
    /// How many this process may have.
    pub descriptors: u64,
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
    // Ends after the last request: whoever is still being answered needs ledgers, projections and Redis.
    let below = Shutdown::new();
    let roles = Roles::open(&ground, &below, &readiness).await?;
    let api = api::described(roles.router().merge(page::router()).merge(http::health::router("postrider", readiness.clone())));
    let origins = ground.config.server.origins();
    let guard = Guard { limits: roles.limits.clone(), proxies: ground.config.server.trusted_proxies.clone() };
    let router = http::cors(http::guarded(api, guard), AllowedOrigins::new(origins.iter().map(String::as_str)));
    let stopped = roles.spawn(&ground, &below, &readiness);
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
    below.drain();
    below.finished().await;
    ground.pools.close().await;
    ended
}

/// Everything that routers and projections share.
struct Roles {
    redis: Redis,
    vault: Vault,
    tokens: Tokens,
    revocations: Revocations,
    freshness: Freshness,
    auth: Ledger,
    users: Ledger,
    messages: Ledger,
    presence: Presence,
    limits: Limits,
    frames: FrameLog,
    attendance: Attendance,
    hub: Hub,
    heard: Mutex<Option<mpsc::Receiver<Heard>>>,
    router_auth: auth::Auth,
}

impl Roles {
    async fn open(ground: &Ground, below: &Shutdown, readiness: &Readiness) -> Result<Self, StartError> {
        let Ground { config, pools, .. } = ground;
        let shutdown = below;
        for condition in ["postgres answers", "redis has answered", "revocations are loaded"] {
            readiness.require(condition);
        }
        let connect = if ground.own_redis { Redis::connect_to_own } else { Redis::connect };
        let redis = connect(ground.redis.expose(), shutdown.clone()).map_err(|error| StartError::because("Redis cannot be used", error))?;
        let vault = Vault::open(pools.keys.clone(), config.keys.wrapping_key.as_ref().map(|key| key.0)).await?;
        let marks = Marks::new(redis.clone(), shutdown);
        let heads = Heads::new(BTreeMap::from([
            (Topic::Auth, pools.auth_reader.clone()),
            (Topic::Users, pools.users_reader.clone()),
            (Topic::Messages, pools.messages_reader.clone()),
        ]));
        let reached = Reached::new(redis.clone(), models(pools), shutdown.clone());
        let services = BTreeMap::from([("auth", pools.auth.clone()), ("users", pools.users.clone()), ("messages", pools.messages.clone())]);
        let freshness = Freshness { marks: marks.clone(), heads, reached, pools: Arc::new(services) };
        let keys: PathBuf = ground.data_dir.path().join("keys");
        let signing = SigningKeys::open(&keys, &pools.auth, config.auth.access_token).await?;
        let revocations = Revocations::follow(redis.clone(), config.auth.revocation_grace, shutdown.clone());
        let tokens = Tokens::new(signing, revocations.clone(), &config.auth.issuer, &config.auth.audience);
        tokens.note_uses(SessionUses::new(redis.clone(), config.auth.refresh_token));
        let ledger = async |topic: Topic, service: Service, pool: &PgPool| {
            let config = LedgerConfig {
                url: ground.databases.url(service).expose().to_owned(),
                topic,
                pool: pool.clone(),
                redis: Some(redis.clone()),
                deadline: config.limits.command_deadline,
            };
            Ledger::open(config, vault.clone(), marks.clone(), shutdown.clone()).await
        };
        let (auth, users, messages) = tokio::try_join!(
            ledger(Topic::Auth, Service::Auth, &pools.auth_ledger),
            ledger(Topic::Users, Service::Users, &pools.users_ledger),
            ledger(Topic::Messages, Service::Messages, &pools.messages_ledger)
        )?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let router_auth = auth::Auth {
            ledger: auth.clone(),
            tokens: tokens.clone(),
            revocations: revocations.clone(),
            hasher: Hasher::beside_others(cores, config.auth.hasher_queue, Duration::from_secs(10)),
            lockout: Lockout::new(redis.clone()),
            portraits: auth::Portraits::new(freshness.clone()),
            lifetimes: Lifetimes { access: config.auth.access_token, refresh: config.auth.refresh_token },
            shutdown: ground.shutdown.clone(),
        };
        let presence = Presence::new(redis.clone());
        let salt = vault.digest("limits.v1", "address");
        let limits = Limits::shared(config.limits.rates(), config.limits.exempt_networks.clone(), redis.clone(), salt);
        let frames = FrameLog::new(redis.clone(), config.frames.kept());
        let attendance = Attendance::new(presence.clone(), freshness.clone(), frames.clone());
        let of_messages =
            messages::Messages::new(messages.clone(), freshness.clone(), tokens.clone(), presence.clone(), ground.shutdown.clone());
        let commands = Arc::new(OfMessages(of_messages));
        let (hub, heard) = Hub::new(Below {
            talk: Talk::new(
                commands,
                limits.clone(),
                config.limits.of_socket(),
                freshness.clone(),
                frames.clone(),
                ground.shutdown.clone(),
            ),
            log: frames.clone(),
            freshness: freshness.clone(),
            redis: redis.clone(),
            revocations: revocations.clone(),
            attendance: attendance.clone(),
            shutdown: ground.shutdown.clone(),
            most: descriptors::for_sockets(ground.descriptors),
            most_of_user: usize::try_from(config.limits.sockets_per_user).unwrap_or(usize::MAX),
        });
        let heard = Mutex::new(Some(heard));
        Ok(Self {
            redis,
            vault,
            tokens,
            revocations,
            freshness,
            auth,
            users,
            messages,
            presence,
            limits,
            frames,
            attendance,
            hub,
            heard,
            router_auth,
        })
    }

    fn router(&self) -> Api {
        let (freshness, tokens, presence) = (&self.freshness, &self.tokens, &self.presence);
        let shutdown = &self.router_auth.shutdown;
        let reads = query_api::Reads { tokens: tokens.clone(), freshness: freshness.clone(), presence: presence.clone() };
        let messages =
            messages::Messages::new(self.messages.clone(), freshness.clone(), tokens.clone(), presence.clone(), shutdown.clone());
        let users = users::Users::new(
            self.users.clone(),
            freshness.clone(),
            presence.clone(),
            self.frames.clone(),
            tokens.clone(),
            shutdown.clone(),
        );
        let sockets = Sockets {
            tokens: tokens.clone(),
            tickets: Tickets::new(self.redis.clone()),
            revocations: self.revocations.clone(),
            hub: self.hub.clone(),
        };
        auth::router(self.router_auth.clone())
            .merge(users::router(users))
            .merge(messages::router(messages))
            .merge(query_api::router(reads))
            .merge(socket::router(sockets))
    }

    /// Starts what runs beside the routers. The future ends when a role has stopped that no retry can bring back.
    fn spawn(&self, ground: &Ground, shutdown: &Shutdown, readiness: &Readiness) -> impl Future<Output = Result<(), StartError>> + use<> {
        shutdown.spawn(auth::revocations_keeper(self.auth.clone(), self.revocations.clone(), shutdown.clone()));
        shutdown.spawn(watch(self.redis.clone(), self.revocations.clone(), readiness.clone(), shutdown.clone()));
        shutdown.spawn(ask_postgres(ground.pools.clone(), readiness.clone(), shutdown.clone()));
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(heard) = heard {
            shutdown.spawn(self.hub.clone().run(heard));
        }
        shutdown.spawn(self.attendance.clone().run(ground.shutdown.clone()));
        for ledger in [&self.auth, &self.users, &self.messages] {
            let ledger = ledger.clone();
            shutdown.spawn(keep_house(shutdown.clone(), move || tidy(ledger.clone())));
        }
        let ledger = self.messages.clone();
        shutdown.spawn(keep_house(shutdown.clone(), move || blank_deleted(ledger.clone())));
        // Not before the read model has been made.
        let (pool, ready) = (ground.pools.messages.clone(), readiness.clone());
        shutdown.spawn(keep_house(shutdown.clone(), move || empty_queues(pool.clone(), ready.missing().is_empty())));
        let (failed, mut failures) = mpsc::channel(8);
        let kafka = kafka(&ground.config).map(|config| (config, Arc::new(Semaphore::new(0))));
        let stalled_after = ground.config.projections.stalled_after;
        let start = Start { freshness: &self.freshness, readiness, shutdown, failed, stalled_after, kafka };
        start.projection(projectors::Conversations, &ground.pools.messages, &self.messages);
        start.projection(projectors::Relay, &ground.pools.messages, &self.messages);
        start.projection(projectors::People, &ground.pools.messages, &self.auth);
        start.projection(projectors::Blocks, &ground.pools.messages, &self.users);
        start.projection(projectors::Users::new(self.vault.clone()), &ground.pools.users, &self.auth);
        start.projection(projectors::Profiles::new(self.vault.clone()), &ground.pools.users, &self.users);
        start.projection(projectors::Contacts::new(self.vault.clone()), &ground.pools.users, &self.users);
        start.projection(projectors::Portraits::new(self.vault.clone()), &ground.pools.auth, &self.users);
        for ledger in [&self.messages, &self.users] {
            start.frames(&self.frames, &ground.pools.messages, ledger);
        }
        start.publishing([
            (&self.auth, &ground.pools.auth_ledger),
            (&self.users, &ground.pools.users_ledger),
            (&self.messages, &ground.pools.messages_ledger),
        ]);
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
fn models(pools: &Pools) -> BTreeMap<&'static str, PgPool> {
    BTreeMap::from([
        (read_models::Conversations::NAME, pools.messages.clone()),
        (read_models::Relay::NAME, pools.messages.clone()),
        (read_models::People::NAME, pools.messages.clone()),
        (read_models::Blocks::NAME, pools.messages.clone()),
        (read_models::Users::NAME, pools.users.clone()),
        (read_models::Profiles::NAME, pools.users.clone()),
        (read_models::Contacts::NAME, pools.users.clone()),
        (read_models::Portraits::NAME, pools.auth.clone()),
    ])
}
