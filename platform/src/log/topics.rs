//! `redpanda/topics.yaml`: made and checked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use schemas::Topic;
use serde::Deserialize;

use super::kafka::KafkaConfig;
use crate::config::StartError;

/// How long the cluster may take to answer.
const BOUND: Duration = Duration::from_secs(15);
const FILE: &str = include_str!("../../../redpanda/topics.yaml");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    defaults: Defaults,
    topics: Vec<Declared>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    partitions: i32,
    replication: usize,
    config: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Declared {
    topic: String,
    key: String,
}

/// What stands after the colon; numbers and words alike are text to Kafka.
#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A topic as it ought to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Whose events.
    pub topic: Topic,
    /// What its key is.
    pub key: String,
    /// Of the first generation.
    pub partitions: i32,
    /// Copies of each record, where there are as many brokers.
    pub replication: usize,
    /// Broker-side settings.
    pub config: BTreeMap<String, String>,
}

/// How one topic of the cluster compares with its specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It has to be made.
    Missing {
        /// Its name in the cluster.
        name: String,
        /// As what.
        partitions: i32,
        /// Copies, on this cluster.
        replication: i32,
        /// With which settings.
        config: BTreeMap<String, String>,
    },
    /// It is right.
    Right {
        /// Its name in the cluster.
        name: String,
    },
    /// It stands there otherwise; one for each thing that is wrong.
    Wrong {
        /// Its name in the cluster.
        name: String,
        /// `partitions`, or a setting.
        what: String,
        /// As it is.
        found: String,
        /// As it ought to be.
        expected: String,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { name, partitions, replication, config } => {
                write!(f, "{name} is missing: to be made with {partitions} partitions, {replication} replicas")?;
                config.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))
            }
            Self::Right { name } => write!(f, "{name} is right"),
            Self::Wrong { name, what, found, expected } if what == "partitions" => write!(
                f,
                "{name} has {found} partitions, expected {expected}: the count decides where every key goes and cannot be changed; \
                 delete the topic and run `postrider topics apply`: it is published again from its ledger"
            ),
            Self::Wrong { name, what, found, expected } => write!(
                f,
                "{name} has {what}={found}, expected {expected}: `rpk topic alter-config {name} --set {what}={expected}` \
                 (Apache Kafka: `kafka-configs.sh --alter --topic {name} --add-config {what}={expected}`)"
            ),
        }
    }
}

/// The topics of this release, from `redpanda/topics.yaml`.
///
/// # Errors
/// When the file that was built in does not fit the release (a test sees to it that it does).
pub fn declared() -> Result<Vec<TopicSpec>, StartError> {
    let file: File = serde_norway::from_str(FILE).map_err(|error| StartError::because("redpanda/topics.yaml cannot be read", error))?;
    let config: BTreeMap<_, _> = file.defaults.config.iter().map(|(key, value)| (key.clone(), value.to_string())).collect();
    file.topics
        .into_iter()
        .map(|declared| {
            Ok(TopicSpec {
                topic: declared.topic.parse().map_err(|error| StartError::new(format!("redpanda/topics.yaml: {error}")))?,
                key: declared.key,
                partitions: file.defaults.partitions,
                replication: file.defaults.replication,
                config: config.clone(),
            })
        })
        .collect()
}

/// The topics of a cluster.
pub struct Topics {
    kafka: KafkaConfig,
    admin: AdminClient<DefaultClientContext>,
}

impl fmt::Debug for Topics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Topics").field("kafka", &self.kafka).finish_non_exhaustive()
    }
}

impl Topics {
    /// Of this cluster. Connects with the first question.
    ///
    /// # Errors
    /// When the client refuses its options.
    pub fn new(kafka: KafkaConfig) -> Result<Self, StartError> {
        let admin = kafka.client().create().map_err(|error| StartError::because("the options for Kafka are not right", error))?;
        Ok(Self { kafka, admin })
    }

    /// Compares the cluster with the specification, in the generations that the ledgers are in (1 where none is named).
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn plan(&self, generations: &BTreeMap<Topic, i32>) -> Result<Vec<Finding>, StartError> {
        let (kafka, client) = (self.kafka.clone(), self.kafka.client());
        // Metadata blocks.
        let metadata = tokio::task::spawn_blocking(move || {
            let consumer: rdkafka::consumer::BaseConsumer = client.create()?;
            rdkafka::consumer::Consumer::fetch_metadata(&consumer, None, BOUND)
        });
        let metadata = metadata.await.map_err(|e| StartError::because("the question was dropped", e))?.map_err(|e| self.away(e))?;
        let brokers = metadata.brokers().len();
        let mut findings = Vec::new();
        for spec in declared()? {
            let name = kafka.topic(spec.topic, generations.get(&spec.topic).copied().unwrap_or(1));
            let mut config = spec.config.clone();
            config.insert("min.insync.replicas".to_owned(), if brokers >= 3 { "2" } else { "1" }.to_owned());
            let Some(found) = metadata.topics().iter().find(|t| t.name() == name && t.error().is_none()) else {
                let replication = i32::try_from(spec.replication.min(brokers)).unwrap_or(1);
                findings.push(Finding::Missing { name, partitions: spec.partitions, replication, config });
                continue;
            };
            let before = findings.len();
            let partitions = found.partitions().len().to_string();
            if partitions != spec.partitions.to_string() {
                findings.push(Finding::Wrong {
                    name: name.clone(),
                    what: "partitions".to_owned(),
                    found: partitions,
                    expected: spec.partitions.to_string(),
                });
            }
            let actual = self.settings(&name).await?;
            for (what, expected) in config {
                let found = actual.get(&what).cloned().unwrap_or_default();
                if found != expected {
                    findings.push(Finding::Wrong { name: name.clone(), what, found, expected });
                }
            }
            if findings.len() == before {
                findings.push(Finding::Right { name });
            }
        }
        Ok(findings)
    }

    /// Makes what is missing; touches nothing that stands. Returns what was made.
    ///
    /// # Errors
    /// When the cluster does not answer or refuses.
    pub async fn apply(&self, generations: &BTreeMap<Topic, i32>) -> Result<Vec<Finding>, StartError> {
        let missing: Vec<_> = self.plan(generations).await?.into_iter().filter(|f| matches!(f, Finding::Missing { .. })).collect();
        let wanted: Vec<NewTopic<'_>> = missing
            .iter()
            .filter_map(|finding| match finding {
                Finding::Missing { name, partitions, replication, config } => Some(
                    config.iter().fold(NewTopic::new(name, *partitions, TopicReplication::Fixed(*replication)), |topic, (key, value)| {
                        topic.set(key, value)
                    }),
                ),
                _ => None,
            })
            .collect();
        if wanted.is_empty() {
            return Ok(missing);
        }
        let options = AdminOptions::new().operation_timeout(Some(BOUND)).request_timeout(Some(BOUND));
        for made in self.admin.create_topics(&wanted, &options).await.map_err(|e| self.away(e))? {
            match made {
                // Somebody else was as fast.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(StartError::because(format!("the topic {name} could not be made"), KafkaError::AdminOp(code)));
                }
            }
        }
        Ok(missing)
    }

    /// Refuses a cluster whose topics are missing or wrong, and says how to mend it.
    ///
    /// # Errors
    /// Names each topic, what was found, what was expected, and the step that mends it.
    pub async fn check(&self, generations: &BTreeMap<Topic, i32>) -> Result<(), StartError> {
        let wrong: Vec<String> = self
            .plan(generations)
            .await?
            .iter()
            .filter(|finding| !matches!(finding, Finding::Right { .. }))
            .map(|finding| match finding {
                Finding::Missing { name, .. } => format!("the topic {name} is missing: run `postrider topics apply`"),
                other => format!("the topic {other}"),
            })
            .collect();
        if wrong.is_empty() { Ok(()) } else { Err(StartError::new(wrong.join("; "))) }
    }

    async fn settings(&self, name: &str) -> Result<BTreeMap<String, String>, StartError> {
        let options = AdminOptions::new().request_timeout(Some(BOUND));
        let described = self.admin.describe_configs([&ResourceSpecifier::Topic(name)], &options).await.map_err(|e| self.away(e))?;
        let mut settings = BTreeMap::new();
        for resource in described {
            let resource = resource
                .map_err(|code| StartError::because(format!("the settings of {name} could not be read"), KafkaError::AdminOp(code)))?;
            settings.extend(resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))));
        }
        Ok(settings)
    }

    fn away(&self, error: KafkaError) -> StartError {
        StartError::because(format!("the Kafka cluster at {} does not answer", self.kafka.brokers), error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_declares_every_topic_of_this_release_with_its_partitions() {
        let declared = declared().unwrap();
        assert_eq!(declared.iter().map(|spec| spec.topic).collect::<Vec<_>>(), Topic::ALL);
        assert!(declared.iter().all(|spec| spec.partitions == Topic::PARTITIONS));
        assert_eq!(declared[0].config["retention.ms"], "-1");
    }
}
