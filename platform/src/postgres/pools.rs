//! Connections with bounds.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use super::{Databases, Service};
use crate::config::{self, ServerUrl, StartError};

/// Connections that a process holds beside its pools: a writer per ledger, locks of projections, publishers, and listeners of what is to come.
const BESIDE_POOLS: u32 = 20;
/// An idle connection is tried before it is used only when it has been idle for this long: busy ones need no extra round trip.
const TRUSTED_WHILE_IDLE: Duration = Duration::from_secs(1);
/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// One pool for each role that a process connects as.
#[derive(Debug, Clone)]
pub struct Pools {
    /// The auth service's own.
    pub auth: PgPool,
    /// The users service's own.
    pub users: PgPool,
    /// The messages service's own.
    pub messages: PgPool,
    /// The key store.
    pub keys: PgPool,
    /// The auth service's ledger as its owner, which is these connections' `search_path`.
    pub auth_ledger: PgPool,
    /// The users service's ledger as its owner, which is these connections' `search_path`.
    pub users_ledger: PgPool,
    /// The messages service's ledger as its owner, which is these connections' `search_path`.
    pub messages_ledger: PgPool,
    /// The auth service's database as the reader: `auth_ledger.ledger_head`, `auth.signing_keys`.
    pub auth_reader: PgPool,
    /// The users service's database as the reader: `users_ledger.ledger_head`.
    pub users_reader: PgPool,
    /// The messages service's database as the reader: `messages_ledger.ledger_head`.
    pub messages_reader: PgPool,
}

impl Pools {
    /// Makes them; connections are opened when they are needed.
    ///
    /// # Errors
    /// When a server cannot be reached, or does not let in as many as the pools may open.
    pub async fn open(databases: &Databases, config: &config::Postgres) -> Result<Self, StartError> {
        let pools = Self::make(databases, config)?;
        pools.must_fit(databases).await?;
        Ok(pools)
    }

    /// For a command that works beside the others: two connections each.
    ///
    /// # Errors
    /// When a URL cannot be read.
    pub fn small(databases: &Databases, config: &config::Postgres) -> Result<Self, StartError> {
        let mut config = config.clone();
        for size in [
            &mut config.auth_pool,
            &mut config.user_pool,
            &mut config.message_pool,
            &mut config.keys_pool,
            &mut config.ledger_pool,
            &mut config.reader_pool,
        ] {
            *size = 2;
        }
        Self::make(databases, &config)
    }

    fn make(databases: &Databases, config: &config::Postgres) -> Result<Self, StartError> {
        let own = |service: Service| lazy(databases.url(service), &service.to_string(), None, service.pool_size(config), config);
        let ledger = |service: Service| {
            let name = format!("{service} ledger");
            lazy(databases.url(service), &name, Some(service.ledger()), config.ledger_pool, config)
        };
        let reader = |service: Service| lazy(databases.as_reader(service), &format!("{service} head"), None, config.reader_pool, config);
        Ok(Self {
            auth: own(Service::Auth)?,
            users: own(Service::Users)?,
            messages: own(Service::Messages)?,
            keys: lazy(databases.keys(), "keys", None, config.keys_pool, config)?,
            auth_ledger: ledger(Service::Auth)?,
            users_ledger: ledger(Service::Users)?,
            messages_ledger: ledger(Service::Messages)?,
            auth_reader: reader(Service::Auth)?,
            users_reader: reader(Service::Users)?,
            messages_reader: reader(Service::Messages)?,
        })
    }

    /// Each with its name, for metrics.
    #[must_use]
    pub fn named(&self) -> [(&'static str, &PgPool); 10] {
        [
            ("auth", &self.auth),
            ("users", &self.users),
            ("messages", &self.messages),
            ("keys", &self.keys),
            ("auth_ledger", &self.auth_ledger),
            ("users_ledger", &self.users_ledger),
            ("messages_ledger", &self.messages_ledger),
            ("auth_reader", &self.auth_reader),
            ("users_reader", &self.users_reader),
            ("messages_reader", &self.messages_reader),
        ]
    }

    /// Closes them all; waits for connections in use.
    pub async fn close(&self) {
        futures::future::join_all(self.named().map(|(_, pool)| pool.close())).await;
    }

    /// Whether what all pools of one server may open together is let in there.
    async fn must_fit(&self, databases: &Databases) -> Result<(), StartError> {
        let mut servers: Vec<(String, u32, &ServerUrl)> = Vec::new();
        let urls = [
            databases.url(Service::Auth),
            databases.url(Service::Users),
            databases.url(Service::Messages),
            databases.keys(),
            databases.url(Service::Auth),
            databases.url(Service::Users),
            databases.url(Service::Messages),
            databases.as_reader(Service::Auth),
            databases.as_reader(Service::Users),
            databases.as_reader(Service::Messages),
        ];
        for (url, (_, pool)) in urls.into_iter().zip(self.named()) {
            let options = options(url)?;
            let (server, size) = (format!("{}:{}", options.get_host(), options.get_port()), pool.options().get_max_connections());
            match servers.iter_mut().find(|(name, ..)| *name == server) {
                Some((_, sum, _)) => *sum += size,
                None => servers.push((server, size, url)),
            }
        }
        for (server, pools, url) in servers {
            let mut connection = connect(url, "start").await?;
            let room: i32 = sqlx::query_scalar(
                "SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int",
            )
            .fetch_one(&mut connection)
            .await
            .map_err(|error| StartError::because(format!("the Postgres at {server} does not say how many connections it takes"), error))?;
            let _closing = connection.close().await;
            let wanted = pools + BESIDE_POOLS;
            if i64::from(wanted) > i64::from(room) {
                return Err(StartError::new(format!(
                    "the pools may open {wanted} connections to the Postgres at {server} ({BESIDE_POOLS} of them beside the pools), but it lets in {room}: \
                     lower postgres.auth_pool, user_pool, message_pool, ledger_pool or reader_pool, or raise its max_connections"
                )));
            }
        }
        Ok(())
    }
}

/// One connection, within a bound. Its name in `pg_stat_activity` is `postrider (<purpose>)`: the brackets tell it apart from those of a process that stays.
///
/// # Errors
/// Names the server, without its password.
pub(crate) async fn connect(url: &ServerUrl, purpose: &str) -> Result<PgConnection, StartError> {
    let options = options(url)?.application_name(&format!("postrider ({purpose})"));
    match tokio::time::timeout(CONNECT_WITHIN, options.connect()).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(StartError::because(format!("the Postgres at {url} cannot be used"), error)),
        Err(_) => Err(StartError::new(format!("the Postgres at {url} does not answer within {CONNECT_WITHIN:?}: is it there?"))),
    }
}

/// What a URL says. Statements are not logged: the spans around them say more.
pub(crate) fn options(url: &ServerUrl) -> Result<PgConnectOptions, StartError> {
    let options: PgConnectOptions = url
        .expose()
        .parse()
        .map_err(|_| StartError::new(format!("{url} is no Postgres URL; postgres://user:password@host:port/database would be right")))?;
    Ok(options.disable_statement_logging())
}

fn lazy(url: &ServerUrl, name: &str, schema: Option<&str>, size: u32, config: &config::Postgres) -> Result<PgPool, StartError> {
    let statement = config.statement_timeout.as_millis().to_string();
    let options = options(url)?.application_name(&format!("postrider {name}")).options([
        ("statement_timeout", statement.as_str()),
        ("lock_timeout", statement.as_str()),
        ("idle_in_transaction_session_timeout", "30000"),
    ]);
    let options = match schema {
        Some(schema) => options.options([("search_path", schema)]),
        None => options,
    };
    let pool =
        PgPoolOptions::new().max_connections(size).acquire_timeout(config.acquire_timeout).test_before_acquire(false).before_acquire(
            |connection, idle| {
                Box::pin(async move {
                    if idle.idle_for < TRUSTED_WHILE_IDLE {
                        return Ok(true);
                    }
                    Ok(matches!(tokio::time::timeout(TRUSTED_WHILE_IDLE, connection.ping()).await, Ok(Ok(()))))
                })
            },
        );
    Ok(pool.connect_lazy_with(options))
}
