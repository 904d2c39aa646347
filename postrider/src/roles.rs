//! What runs in the process, once its ground is laid: ledgers, projections, routers, and who waits for whom.

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
use platform::ledger::{Ledger, LedgerConfig, Publisher};
use platform::limits::Limits;
use platform::log::kafka::{KafkaConfig, KafkaSource};
use platform::log::topics::{Finding, Topics};
use platform::log::{EventSource, LedgerSource, Projection, Runner, RunnerConfig};
use platform::marks::{Heads, Marks};
use platform::postgres::{Databases, Pools, Service};
use platform::presence::Presence;
use platform::private::DataDir;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use projectors::{Frames, FramesConfig};
use query_api::socket::{self, Attendance, Below, Hub, Sockets, Talk};
use schemas::Topic;
use schemas::read_models::{self, ReadModel};
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::commands::OfMessages;
use crate::{api, page};

/// How often what has lapsed is removed.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// A database that has not answered for so long is away.
const SILENT_FOR: Duration = Duration::from_secs(5);

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
            hasher: Hasher::new(cores.saturating_sub(1).max(1), config.auth.hasher_queue, Duration::from_secs(10)),
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
        let start = Start { freshness: &self.freshness, readiness, shutdown, failed, kafka };
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

/// The cluster that is the log, when one is named.
pub fn kafka(config: &Config) -> Option<KafkaConfig> {
    let config = &config.kafka;
    (!config.brokers.is_empty()).then(|| KafkaConfig {
        brokers: config.brokers.clone(),
        prefix: config.topic_prefix.clone(),
        options: config.options(),
    })
}

struct Start<'a> {
    freshness: &'a Freshness,
    readiness: &'a Readiness,
    shutdown: &'a Shutdown,
    failed: mpsc::Sender<StartError>,
    /// The cluster, and the word that its topics are as they ought to be.
    kafka: Option<(KafkaConfig, Arc<Semaphore>)>,
}

impl Start<'_> {
    fn projection<P: Projection>(&self, projection: P, pool: &PgPool, ledger: &Ledger) {
        self.readiness.require(P::Model::NAME);
        let config = RunnerConfig {
            pool: pool.clone(),
            announce: Arc::new(self.freshness.reached.clone()),
            readiness: self.readiness.clone(),
            exclusive: self.kafka.is_none(),
        };
        let source = self.source(P::Model::NAME, ledger);
        let shutdown = self.shutdown.clone();
        self.role(P::Model::NAME, async move { Runner::new(projection, config).run(source, shutdown).await });
    }

    fn frames(&self, log: &FrameLog, pool: &PgPool, ledger: &Ledger) {
        let topic = ledger.topic();
        let name = projectors::frames::name(topic);
        self.readiness.require(name);
        let config = FramesConfig {
            log: log.clone(),
            reached: self.freshness.reached.clone(),
            heads: self.freshness.heads.clone(),
            pool: pool.clone(),
            readiness: self.readiness.clone(),
            exclusive: self.kafka.is_none(),
        };
        let (source, shutdown) = (self.source(name, ledger), self.shutdown.clone());
        self.role(name, async move { Frames::new(topic, config).run(source, shutdown).await });
    }

    fn source(&self, projection: &str, ledger: &Ledger) -> Box<dyn EventSource> {
        match &self.kafka {
            None => Box::new(LedgerSource::new(ledger.feed().clone())),
            Some((kafka, _)) => {
                Box::new(KafkaSource::new(kafka.clone(), projection, ledger.topic(), Arc::new(self.freshness.heads.clone())))
            }
        }
    }

    /// Makes and checks the topics, then copies the ledgers to them.
    fn publishing(&self, ledgers: [(&Ledger, &PgPool); 3]) {
        let Some((kafka, topics_stand)) = &self.kafka else { return };
        let generations = ledgers.iter().map(|(ledger, _)| (ledger.topic(), ledger.feed().meta().generation)).collect();
        let (kafka_, topics_stand_, shutdown) = (kafka.clone(), topics_stand.clone(), self.shutdown.clone());
        self.spawn("topics", async move {
            make_topics(kafka_, &generations, &shutdown).await?;
            topics_stand_.add_permits(Semaphore::MAX_PERMITS >> 1);
            Ok(())
        });
        for (ledger, pool) in ledgers {
            let publisher = Publisher::new(ledger.feed().clone(), pool.clone(), kafka.clone());
            let shutdown = self.shutdown.clone();
            self.role("publisher", async move { publisher.run(shutdown).await });
        }
    }

    /// Runs a role; with Kafka, once the topics stand.
    fn role(&self, name: &'static str, role: impl Future<Output = Result<(), StartError>> + Send + 'static) {
        let topics_stand = self.kafka.as_ref().map(|(_, stand)| stand.clone());
        let shutdown = self.shutdown.clone();
        self.spawn(name, async move {
            if let Some(stand) = topics_stand {
                tokio::select! {
                    _ = stand.acquire() => {}
                    () = shutdown.draining() => return Ok(()),
                }
            }
            role.await
        });
    }

    fn spawn(&self, name: &'static str, work: impl Future<Output = Result<(), StartError>> + Send + 'static) {
        let failed = self.failed.clone();
        self.shutdown.spawn(async move {
            if let Err(error) = work.await {
                tracing::error!(role = name, error = &error as &dyn std::error::Error, "a role has stopped that must not");
                let _ = failed.send(error).await;
            }
        });
    }
}

/// Makes the topics that are missing and refuses wrong ones. Until the cluster answers, commands go on without it.
async fn make_topics(kafka: KafkaConfig, generations: &BTreeMap<Topic, i32>, shutdown: &Shutdown) -> Result<(), StartError> {
    let topics = Topics::new(kafka)?;
    loop {
        match topics.plan(generations).await {
            Ok(findings) if findings.iter().all(|finding| matches!(finding, Finding::Right { .. })) => return Ok(()),
            Ok(findings) if findings.iter().any(|finding| matches!(finding, Finding::Wrong { .. })) => {
                return topics.check(generations).await;
            }
            Ok(_) => match topics.apply(generations).await {
                Ok(made) => made.iter().for_each(|finding| tracing::info!("made: {finding}")),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "the topics cannot be made yet"),
            },
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "Kafka does not answer yet; commands go on without it"),
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = shutdown.draining() => return Ok(()),
        }
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

/// Tells whether the services' databases answer. One that is late for a moment still does: a process under load is not to be taken for one that lost them.
async fn ask_postgres(pools: Pools, readiness: Readiness, shutdown: Shutdown) {
    let mut answered = tokio::time::Instant::now();
    let mut turn = tokio::time::interval(Duration::from_secs(1));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shutdown.draining() => return,
        }
        let ask = |pool: PgPool| async move { sqlx::query("SELECT 1").execute(&pool).await };
        let asked = futures::future::try_join4(
            ask(pools.auth.clone()),
            ask(pools.users.clone()),
            ask(pools.messages.clone()),
            ask(pools.keys.clone()),
        );
        match tokio::time::timeout(SILENT_FOR, asked).await {
            Ok(Ok(_)) => {
                answered = tokio::time::Instant::now();
                readiness.set("postgres answers", true);
            }
            _ if answered.elapsed() < SILENT_FOR => {}
            _ => readiness.set("postgres answers", false),
        }
    }
}

/// Does something in every turn of housekeeping, until the drain.
async fn keep_house<W: Future<Output = ()>>(shutdown: Shutdown, mut work: impl FnMut() -> W) {
    let mut turn = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shutdown.draining() => return,
        }
        work().await;
    }
}

/// Removes what has lapsed in a ledger; whoever comes second leaves it to the first.
async fn tidy(ledger: Ledger) {
    if let Err(error) = ledger.housekeeping().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "housekeeping of a ledger has to wait");
    }
}

/// Removes messages from queues whose time is over.
async fn empty_queues(pool: PgPool, stands: bool) {
    if !stands {
        return;
    }
    match query_api::remove_all_expired(&pool).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "expired messages have left their queues"),
        Err(problem) => tracing::warn!(code = problem.code, "expired messages have to stay in their queues for now"),
    }
}

/// Blanks deleted messages that their commands could not.
async fn blank_deleted(ledger: Ledger) {
    if let Err(error) = messages::delete::blank_deleted(&ledger).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "deleted messages wait to be blanked in the ledger");
    }
}
