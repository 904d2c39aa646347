//! `postrider admin`: what only the person who runs it may do to accounts.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Subcommand;
use command_services::auth::admin::{self, AdminError, Granted, Reset};
use command_services::auth::{Hasher, Lifetimes};
use platform::auth::Revocations;
use platform::config::{Config, ServerUrl};
use platform::ledger::{Ledger, LedgerConfig};
use platform::postgres::{Databases, Pools, Service};
use platform::private::DataDir;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::telemetry;
use platform::vault::Vault;
use schemas::Topic;
use schemas::auth::Role;

use crate::servers::PostgresBeside;
use crate::settings::Flags;
use crate::{output, password};

/// How long Redis may take to answer for the first time.
const REDIS: Duration = Duration::from_secs(3);

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Make somebody an admin
    ///
    /// Counts for every sign-in and refresh from now on. Tokens that exist go on saying `user` until they end: signing out and in again is enough.
    Grant {
        /// The address that they sign in with
        email: String,
    },
    /// Give somebody another password, end all their sessions, and lift a lock after failed sign-ins
    ///
    /// Prints a password that is drawn for them, once; it is kept nowhere but as a hash. Tell them to change it.
    ResetPassword {
        /// The address that they sign in with
        email: String,
        /// Read the new password from standard input (its first line) instead of drawing one
        #[arg(long)]
        stdin: bool,
    },
}

/// Does it, beside a running `up` or without one.
pub async fn admin(flags: Flags, action: Action) -> Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let given = match &action {
        Action::ResetPassword { stdin: true, .. } => Some(password::read("The new password")?),
        _ => None,
    };
    let beside = PostgresBeside::look(&config).await?;
    let done = async {
        let Some(databases) = beside.found(&config).await? else { bail!("nothing has been made on this server yet: `postrider up` does") };
        let pools = Pools::small(&databases, &config.postgres)?;
        let shutdown = Shutdown::new();
        let redis = redis(&config, &beside)?;
        let done = act(&config, &databases, &pools, redis, (action, given), &shutdown).await;
        // The ledger's writer ends in order before its connections do.
        shutdown.drain();
        shutdown.finished().await;
        pools.close().await;
        done
    }
    .await;
    beside.close().await;
    done
}

async fn act(
    config: &Config,
    databases: &Databases,
    pools: &Pools,
    redis: Option<ServerUrl>,
    (action, given): (Action, Option<String>),
    shutdown: &Shutdown,
) -> Result<()> {
    let vault = Vault::open(pools.keys.clone(), config.keys.wrapping_key.as_ref().map(|key| key.0)).await?;
    let ledger_config = LedgerConfig {
        url: databases.url(Service::Auth).expose().to_owned(),
        topic: Topic::Auth,
        pool: pools.auth_ledger.clone(),
        redis: None,
        deadline: config.limits.command_deadline,
    };
    let ledger = Ledger::unmarked(ledger_config, vault, shutdown.clone()).await?;
    match action {
        Action::Grant { email } => match named(&email, admin::grant(&ledger, &email, Role::Admin).await)? {
            Granted::Now(user) => {
                let hours = config.auth.access_token.as_secs().div_ceil(3600);
                output::line(&format!("{email} is an admin now (user id {user})."))?;
                output::line(&format!("Tokens that exist go on without it for {hours} h at most: signing out and in again is enough."))
            }
            Granted::Already(user) => output::line(&format!("{email} is an admin already (user id {user}): nothing was changed.")),
        },
        Action::ResetPassword { email, .. } => {
            let lifetimes = Lifetimes { access: config.auth.access_token, refresh: config.auth.refresh_token };
            let hasher = Hasher::new(1, 1, Duration::from_secs(60));
            let reset = named(&email, admin::reset_password(&ledger, &hasher, lifetimes, &email, given).await)?;
            let told = announce(config, redis, &reset, shutdown).await;
            let Reset { user, drawn, ended } = reset;
            output::line(&format!("{email} has another password now (user id {user}); {} sessions have ended.", ended.len()))?;
            if let Some(drawn) = drawn {
                output::line(&format!("The new password, shown this once: {drawn}"))?;
            }
            if !told {
                eprintln!(
                    "postrider: Redis did not take the word that sessions have ended: processes that run learn of it within 5 minutes, or when they start again"
                );
            }
            Ok(())
        }
    }
}

/// With the address in the sentence: it is the operator's own word.
fn named<T>(email: &str, done: Result<T, AdminError>) -> Result<T> {
    done.map_err(|error| match error {
        AdminError::Unknown => anyhow::anyhow!("there is no account with the address {email}: nothing was changed"),
        other => other.into(),
    })
}

/// Tells the processes that run. With none of them, there is nobody to tell: whoever starts reads the ledger. Whether everybody knows.
async fn announce(config: &Config, redis: Option<ServerUrl>, reset: &Reset, shutdown: &Shutdown) -> bool {
    let Some(url) = redis.filter(|_| !reset.ended.is_empty()) else { return true };
    let Ok(redis) = Redis::connect(url.expose(), shutdown.clone()) else { return false };
    let answers = async {
        while !redis.has_answered() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(REDIS, answers).await.is_err() {
        return false;
    }
    let revocations = Revocations::follow(redis, config.auth.revocation_grace, shutdown.clone());
    admin::announce(&revocations, &reset.ended).await
}

/// The Redis that is configured, or the private one of the process that runs on this data directory; `None`: no process can be told, since none runs.
fn redis(config: &Config, beside: &PostgresBeside) -> Result<Option<ServerUrl>> {
    if let Some(url) = config.redis.url.set() {
        return Ok(Some(url.clone()));
    }
    if beside.is_ours_alone() || !config.server.data_dir.join("version").exists() {
        return Ok(None);
    }
    let running = DataDir::open(&config.server.data_dir)?.running()?;
    Ok(running.and_then(|running| running.redis()))
}
