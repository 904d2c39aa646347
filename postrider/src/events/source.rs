//! Where events are read: a ledger, or a topic at its broker.

use std::sync::Arc;

use anyhow::{Context, Result, bail};
use platform::config::Config;
use platform::ledger::Look;
use platform::log::kafka::TopicLook;
use platform::postgres::Pools;
use schemas::{Recorded, Topic};

use super::aggregate::Aggregate;
use crate::roles;
use crate::servers::PostgresBeside;
use crate::topics;

/// Read page by page, each in bounded memory.
pub enum Source {
    Ledger { look: Look, aggregate: Option<Aggregate> },
    Broker(Option<TopicLook>),
}

impl Source {
    /// A ledger, or one aggregate of it. `None`: there is no ledger yet.
    pub async fn ledger(beside: &PostgresBeside, config: &Config, topic: Topic, aggregate: Option<Aggregate>) -> Result<Option<Self>> {
        let Some(databases) = beside.found(config).await? else { return Ok(None) };
        let pools = Pools::small(&databases, &config.postgres)?;
        let pool = match topic {
            Topic::Auth => pools.auth_ledger,
            Topic::Users => pools.users_ledger,
            Topic::Messages => pools.messages_ledger,
        };
        let look = Look::open(pool, topic).await.context(format!("the ledger of {topic} cannot be read"))?;
        Ok(look.map(|look| Self::Ledger { look, aggregate }))
    }

    /// The topic. `None`: it has not been made yet.
    pub async fn broker(config: &Config, topic: Topic) -> Result<Option<Self>> {
        let Some(kafka) = roles::kafka(config) else { bail!(topics::NO_BROKERS) };
        let generation = topics::generations(config).await?.get(&topic).copied().unwrap_or(1);
        let away = format!("the Kafka cluster at {} cannot be read", kafka.brokers);
        let look = tokio::task::spawn_blocking(move || TopicLook::open(&kafka, topic, generation)).await?;
        Ok(look.context(away)?.map(|look| Self::Broker(Some(look))))
    }

    /// The position after which the newest `count` stand.
    pub async fn before_newest(&mut self, count: u32) -> Result<i64> {
        match self {
            Self::Ledger { look, aggregate } => {
                let aggregate = aggregate.as_ref().map(Aggregate::parts);
                look.before_newest(aggregate, count.into()).await.context("the ledger cannot be read")
            }
            Self::Broker(look) => blocking(look, move |look| look.before_newest(count as usize)).await,
        }
    }

    /// Some of what stands after a position, in order; empty when nothing does yet.
    pub async fn after(&mut self, position: i64) -> Result<Vec<Arc<Recorded>>> {
        match self {
            Self::Ledger { look, aggregate } => {
                let aggregate = aggregate.as_ref().map(Aggregate::parts);
                Ok(look.after(aggregate, position).await.context("the ledger cannot be read")?.events)
            }
            Self::Broker(look) => {
                let events = blocking(look, move |look| look.after(position)).await?;
                Ok(events.into_iter().map(Arc::new).collect())
            }
        }
    }
}

/// librdkafka's questions block.
async fn blocking<T: Send + 'static>(
    place: &mut Option<TopicLook>,
    question: impl FnOnce(&mut TopicLook) -> Result<T, platform::log::SourceError> + Send + 'static,
) -> Result<T> {
    let Some(mut look) = place.take() else { bail!("the topic was let go by a question that did not end") };
    let (look, answer) = tokio::task::spawn_blocking(move || {
        let answer = question(&mut look);
        (look, answer)
    })
    .await?;
    *place = Some(look);
    answer.context("the topic cannot be read")
}
