use std::collections::BTreeMap;

use platform::log::topics::{Finding, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use testkit::wait_until;
use uuid::Uuid;

use platform::log::kafka::KafkaConfig;

async fn cluster() -> KafkaConfig {
    let broker = tokio::task::spawn_blocking(testkit::kafka::broker).await.unwrap();
    KafkaConfig { brokers: broker.address.clone(), prefix: format!("{}-", Uuid::now_v7().simple()), ..KafkaConfig::default() }
}

#[tokio::test]
async fn missing_topics_are_planned_made_and_then_right() {
    let kafka = cluster().await;
    let topics = Topics::new(kafka.clone()).unwrap();
    let none = BTreeMap::new();
    assert!(topics.plan(&none).await.unwrap().iter().all(|f| matches!(f, Finding::Missing { partitions: 12, replication: 1, .. })));
    let refused = topics.check(&none).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("{}messages.events is missing: run `postrider topics apply`", kafka.prefix)), "{refused}");
    assert_eq!(topics.apply(&none).await.unwrap().len(), 3);
    wait_until("the topics are right", std::time::Duration::from_secs(10), async || topics.check(&none).await.is_ok().then_some(())).await;
    assert_eq!(topics.apply(&none).await.unwrap(), []);
}

#[tokio::test]
async fn a_wrong_partition_count_policy_or_size_is_refused_with_what_would_mend_it() {
    let kafka = cluster().await;
    let admin: AdminClient<DefaultClientContext> = kafka.client().create().unwrap();
    let name = format!("{}messages.events", kafka.prefix);
    let wrong = NewTopic::new(&name, 3, TopicReplication::Fixed(1)).set("cleanup.policy", "compact").set("max.message.bytes", "1000000");
    admin.create_topics([&wrong], &AdminOptions::new()).await.unwrap();
    let topics = Topics::new(kafka).unwrap();
    let found = |text: &str, parts: &[&str]| parts.iter().all(|part| text.contains(part));
    let refused = wait_until("the topic is seen", std::time::Duration::from_secs(10), async || {
        let refused = topics.check(&BTreeMap::new()).await.unwrap_err().to_string();
        (!refused.contains(&format!("{name} is missing"))).then_some(refused)
    })
    .await;
    assert!(
        found(&refused, &[&format!("{name} has 3 partitions, expected 12"), "delete the topic", "postrider topics apply"]),
        "{refused}"
    );
    assert!(
        found(&refused, &["cleanup.policy=compact, expected delete", &format!("alter-config {name} --set cleanup.policy=delete")]),
        "{refused}"
    );
    assert!(found(&refused, &["max.message.bytes=1000000, expected 2097152"]), "{refused}");
}
