//! How the roles that follow ledgers are started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use platform::config::{Config, StartError};
use platform::frames::FrameLog;
use platform::fresh::Freshness;
use platform::http::health::Readiness;
use platform::ledger::{Ledger, Publisher};
use platform::log::kafka::{KafkaConfig, KafkaSource};
use platform::log::topics::{Finding, Topics};
use platform::log::{EventSource, LedgerSource, Ownership, Projection, Runner, RunnerConfig};
use platform::shutdown::Shutdown;
use projectors::{Frames, FramesConfig};
use schemas::Topic;
use schemas::read_models::ReadModel;
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};

/// The cluster that is the log, when one is named.
pub fn kafka(config: &Config) -> Option<KafkaConfig> {
    let config = &config.kafka;
    (!config.brokers.is_empty()).then(|| KafkaConfig {
        brokers: config.brokers.clone(),
        prefix: config.topic_prefix.clone(),
        options: config.options(),
    })
}

pub(super) struct Start<'a> {
    pub(super) freshness: &'a Freshness,
    pub(super) readiness: &'a Readiness,
    pub(super) shutdown: &'a Shutdown,
    pub(super) failed: mpsc::Sender<StartError>,
    /// After which a process that runs a projection is taken to have stalled.
    pub(super) stalled_after: Duration,
    /// The cluster, and the word that its topics are as they ought to be.
    pub(super) kafka: Option<(KafkaConfig, Arc<Semaphore>)>,
}

impl Start<'_> {
    pub(super) fn projection<P: Projection>(&self, projection: P, pool: &PgPool, ledger: &Ledger) {
        self.readiness.require(P::Model::NAME);
        let config = RunnerConfig {
            pool: pool.clone(),
            announce: Arc::new(self.freshness.reached.clone()),
            readiness: self.readiness.clone(),
            ownership: self.ownership(),
        };
        let source = self.source(P::Model::NAME, ledger);
        let shutdown = self.shutdown.clone();
        self.role(P::Model::NAME, async move { Runner::new(projection, config).run(source, shutdown).await });
    }

    pub(super) fn frames(&self, log: &FrameLog, pool: &PgPool, ledger: &Ledger) {
        let topic = ledger.topic();
        let name = projectors::frames::name(topic);
        self.readiness.require(name);
        let config = FramesConfig {
            log: log.clone(),
            reached: self.freshness.reached.clone(),
            heads: self.freshness.heads.clone(),
            pool: pool.clone(),
            readiness: self.readiness.clone(),
            ownership: self.ownership(),
        };
        let (source, shutdown) = (self.source(name, ledger), self.shutdown.clone());
        self.role(name, async move { Frames::new(topic, config).run(source, shutdown).await });
    }

    fn ownership(&self) -> Ownership {
        if self.kafka.is_some() { Ownership::Shared } else { Ownership::Alone { stalled_after: self.stalled_after } }
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
    pub(super) fn publishing(&self, ledgers: [(&Ledger, &PgPool); 3]) {
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
