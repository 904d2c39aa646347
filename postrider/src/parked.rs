//! `postrider parked`: what a projection could not apply, and what waits behind it.

use anyhow::{Context, Result, bail};
use clap::{Subcommand, ValueEnum};
use platform::config::Config;
use platform::log::{ParkedKey, list_parked, retry_parked, skip_parked};
use platform::postgres::Pools;
use platform::telemetry;
use platform::vault::Vault;
use schemas::Topic;
use schemas::read_models::{self, ReadModel};
use serde_json::json;
use sqlx::PgPool;

use crate::output;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// What to do with parked keys.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Show which keys wait, since when, and why
    List {
        /// Only this one's
        #[arg(long, value_enum)]
        projection: Option<Projection>,
        /// Print one JSON object per line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Apply the waiting events again, oldest first, after the cause has been mended; safe beside a running `up`
    ///
    /// Stops at the first event of a key that still cannot be applied; what was applied before stays applied.
    Retry {
        /// Whose
        #[arg(value_enum)]
        projection: Projection,
        /// The partition key, as `list` shows it
        #[arg(required_unless_present = "all")]
        key: Option<String>,
        /// Every key that waits
        #[arg(long, conflicts_with = "key")]
        all: bool,
    },
    /// Give up one event for ever: the oldest of its key, so that what waits behind it can be retried
    ///
    /// The event stays in the ledger and in the topic; this read model will not show what it says until it is rebuilt by a newer build.
    Skip {
        /// Whose
        #[arg(value_enum)]
        projection: Projection,
        /// The partition key, as `list` shows it
        key: String,
        /// The event's position, as `list` shows it: so that no other is given up by mistake
        #[arg(long)]
        position: i64,
    },
}

/// A projection of this release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Projection {
    Conversations,
    Relay,
    People,
    Blocks,
    Users,
    Profiles,
    Contacts,
    Portraits,
}

/// Does it.
pub async fn parked(flags: Flags, action: Action) -> Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let beside = PostgresBeside::look(&config).await?;
    let done = async {
        let Some(databases) = beside.found(&config).await? else { bail!("nothing has been made on this server yet: `postrider up` does") };
        let pools = Pools::small(&databases, &config.postgres)?;
        let done = act(&config, &pools, action).await;
        pools.close().await;
        done
    }
    .await;
    beside.close().await;
    done
}

async fn act(config: &Config, pools: &Pools, action: Action) -> Result<()> {
    match action {
        Action::List { projection, json } => list(pools, projection, json).await,
        Action::Retry { projection, key, .. } => {
            let waiting = projection.keys(pools, key.as_deref()).await?;
            if waiting.is_empty() && key.is_none() {
                eprintln!("no key of {} waits", projection.name());
            }
            let mut broken = 0;
            for parked in waiting {
                let (name, key) = (projection.name(), &parked.key);
                match projection.retry(config, pools, parked.topic, key).await {
                    Ok(applied) => output::line(&format!("{name}: {applied} events of {key} applied; the key is free"))?,
                    Err(error) => {
                        broken += 1;
                        output::line(&format!("{name}: {key} still waits: {error:#}"))?;
                    }
                }
            }
            if broken > 0 {
                bail!("{broken} keys still wait: mend the cause and retry, or give the event up with `postrider parked skip`");
            }
            Ok(())
        }
        Action::Skip { projection, key, position } => {
            for parked in projection.keys(pools, Some(&key)).await? {
                if parked.position != position {
                    bail!(
                        "the oldest parked event of {key} stands at position {}, not at {position}: nothing was skipped",
                        parked.position
                    );
                }
                projection.skip(pools, parked.topic, &key).await?;
                let name = projection.name();
                output::line(&format!("{name}: position {position} of {key} is given up"))?;
                match parked.events - 1 {
                    0 => output::line(&format!("{name}: the key is free"))?,
                    left => output::line(&format!("{name}: {left} events wait behind it: `postrider parked retry {name} {key}`"))?,
                }
            }
            Ok(())
        }
    }
}

async fn list(pools: &Pools, only: Option<Projection>, as_json: bool) -> Result<()> {
    let mut any = false;
    for projection in Projection::value_variants().iter().filter(|projection| only.is_none_or(|only| only == **projection)) {
        for parked in list_parked(projection.pool(pools), projection.name()).await.context("the parked keys cannot be read")? {
            if as_json {
                output::line(&json_line(projection.name(), &parked).to_string())?;
            } else {
                if !any {
                    output::line(&row(["projection", "topic", "key", "events", "position", "since", "why"]))?;
                }
                let ParkedKey { topic, key, events, position, reason, since } = &parked;
                let (topic, events, position, since) = (topic.to_string(), events.to_string(), position.to_string(), since.to_string());
                let reason = reason.as_deref().unwrap_or("waits behind another");
                output::line(&row([projection.name(), &topic, key, &events, &position, &since, reason]))?;
            }
            any = true;
        }
    }
    if !any {
        eprintln!("no key is parked: every event has been applied, or waits for its turn");
    }
    Ok(())
}

fn json_line(projection: &str, parked: &ParkedKey) -> serde_json::Value {
    let ParkedKey { topic, key, events, position, reason, since } = parked;
    json!({"projection": projection, "topic": topic.service(), "key": key, "events": events, "position": position, "since": since, "reason": reason})
}

fn row([projection, topic, key, events, position, since, why]: [&str; 7]) -> String {
    format!("{projection:<13}  {topic:<8}  {key:<36}  {events:>6}  {position:>9}  {since:<27}  {why}")
}

/// What opens seals.
async fn vault(config: &Config, pools: &Pools) -> Result<Vault> {
    Ok(Vault::open(pools.keys.clone(), config.keys.wrapping_key.as_ref().map(|key| key.0)).await?)
}

impl Projection {
    fn name(self) -> &'static str {
        match self {
            Self::Conversations => read_models::Conversations::NAME,
            Self::Relay => read_models::Relay::NAME,
            Self::People => read_models::People::NAME,
            Self::Blocks => read_models::Blocks::NAME,
            Self::Users => read_models::Users::NAME,
            Self::Profiles => read_models::Profiles::NAME,
            Self::Contacts => read_models::Contacts::NAME,
            Self::Portraits => read_models::Portraits::NAME,
        }
    }

    fn pool(self, pools: &Pools) -> &PgPool {
        match self {
            Self::Conversations | Self::Relay | Self::People | Self::Blocks => &pools.messages,
            Self::Users | Self::Profiles | Self::Contacts => &pools.users,
            Self::Portraits => &pools.auth,
        }
    }

    /// What waits; of one key, when it is named.
    async fn keys(self, pools: &Pools, key: Option<&str>) -> Result<Vec<ParkedKey>> {
        let mut keys = list_parked(self.pool(pools), self.name()).await.context("the parked keys cannot be read")?;
        if let Some(key) = key {
            keys.retain(|parked| parked.key == key);
            if keys.is_empty() {
                bail!("no event of {key} waits in {}: `postrider parked list` shows what does", self.name());
            }
        }
        Ok(keys)
    }

    async fn retry(self, config: &Config, pools: &Pools, topic: Topic, key: &str) -> Result<u64> {
        let pool = self.pool(pools);
        Ok(match self {
            Self::Conversations => retry_parked(&projectors::Conversations, pool, topic, key).await?,
            Self::Relay => retry_parked(&projectors::Relay, pool, topic, key).await?,
            Self::People => retry_parked(&projectors::People, pool, topic, key).await?,
            Self::Blocks => retry_parked(&projectors::Blocks, pool, topic, key).await?,
            Self::Users => retry_parked(&projectors::Users::new(vault(config, pools).await?), pool, topic, key).await?,
            Self::Profiles => retry_parked(&projectors::Profiles::new(vault(config, pools).await?), pool, topic, key).await?,
            Self::Contacts => retry_parked(&projectors::Contacts::new(vault(config, pools).await?), pool, topic, key).await?,
            Self::Portraits => retry_parked(&projectors::Portraits::new(vault(config, pools).await?), pool, topic, key).await?,
        })
    }

    async fn skip(self, pools: &Pools, topic: Topic, key: &str) -> Result<Option<i64>> {
        let pool = self.pool(pools);
        let skipped = match self {
            Self::Conversations => skip_parked::<projectors::Conversations>(pool, topic, key).await,
            Self::Relay => skip_parked::<projectors::Relay>(pool, topic, key).await,
            Self::People => skip_parked::<projectors::People>(pool, topic, key).await,
            Self::Blocks => skip_parked::<projectors::Blocks>(pool, topic, key).await,
            Self::Users => skip_parked::<projectors::Users>(pool, topic, key).await,
            Self::Profiles => skip_parked::<projectors::Profiles>(pool, topic, key).await,
            Self::Contacts => skip_parked::<projectors::Contacts>(pool, topic, key).await,
            Self::Portraits => skip_parked::<projectors::Portraits>(pool, topic, key).await,
        };
        skipped.context("the event could not be given up")
    }
}
