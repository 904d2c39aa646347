//! `postrider topics`: the topics of a Kafka cluster, compared with `redpanda/topics.yaml`.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use platform::config::Config;
use platform::ledger::Look;
use platform::log::topics::{Finding, Topics};
use platform::postgres::Pools;
use platform::telemetry;
use schemas::Topic;

use crate::output;
use crate::roles;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// What to say where a broker is needed.
pub const NO_BROKERS: &str = "no brokers are named: set KAFKA_BROKERS (kafka.brokers) to host:port,… of the Kafka or Redpanda cluster; without one the ledger itself is the log";

/// What to do with the topics.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Action {
    /// Say what `apply` would make, and what stands there otherwise than it ought to
    Plan,
    /// Make the topics that are missing; those that stand are never touched
    Apply,
    /// Compare; exit code 1 when a topic is missing or wrong
    Check,
}

/// Does it.
pub async fn topics(flags: Flags, action: Action) -> Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let Some(kafka) = roles::kafka(&config) else { bail!(NO_BROKERS) };
    let generations = generations(&config).await?;
    let topics = Topics::new(kafka)?;
    if let Action::Apply = action {
        let made = topics.apply(&generations).await?;
        made.iter().try_for_each(|finding| output::line(&format!("made: {}", name(finding))))?;
        if made.is_empty() {
            output::line("no topic was missing")?;
        }
    }
    let findings = topics.plan(&generations).await?;
    let known = |finding: &&Finding| matches!(action, Action::Plan | Action::Check) || matches!(finding, Finding::Wrong { .. });
    findings.iter().filter(known).try_for_each(|finding| output::line(&finding.to_string()))?;
    let wrong = findings.iter().filter(|finding| matches!(finding, Finding::Wrong { .. })).count();
    let missing = findings.iter().filter(|finding| matches!(finding, Finding::Missing { .. })).count();
    match action {
        Action::Check if wrong + missing > 0 => bail!("the topics are not as they ought to be ({missing} missing, {wrong} wrong settings)"),
        Action::Apply if wrong > 0 => {
            bail!("what stands there otherwise is left as it is ({wrong} wrong settings): see above for what mends it")
        }
        _ => Ok(()),
    }
}

fn name(finding: &Finding) -> &str {
    match finding {
        Finding::Missing { name, .. } | Finding::Right { name } | Finding::Wrong { name, .. } => name,
    }
}

/// The generations that the ledgers are in. Where no ledger can be asked without starting a server, every topic is in its first.
pub async fn generations(config: &Config) -> Result<BTreeMap<Topic, i32>> {
    let mut generations = BTreeMap::new();
    let Some(beside) = PostgresBeside::running(config)? else { return Ok(generations) };
    let Some(databases) = beside.found(config).await? else { return Ok(generations) };
    let pools = Pools::small(&databases, &config.postgres)?;
    for (topic, pool) in [(Topic::Auth, &pools.auth_ledger), (Topic::Users, &pools.users_ledger), (Topic::Messages, &pools.messages_ledger)]
    {
        let look = Look::open(pool.clone(), topic).await.context(format!("the ledger of {topic} does not say its topic's generation"))?;
        generations.extend(look.map(|look| (topic, look.meta().generation)));
    }
    pools.close().await;
    Ok(generations)
}
