//! `postrider topics`, `events --broker`, and a start that refuses topics which are not as they ought to be.

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use serde_json::Value;
use std::time::Duration;
use testkit::person::Person;
use testkit::servers::temporary_directory;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

use super::{beside, run};

async fn cluster() -> SystemConfig {
    let broker = tokio::task::spawn_blocking(testkit::kafka::broker).await.unwrap();
    let prefix = format!("{}-", Uuid::now_v7().simple());
    SystemConfig::default().env("KAFKA_BROKERS", &broker.address).env("POSTRIDER_KAFKA__TOPIC_PREFIX", prefix)
}

fn env(config: &SystemConfig) -> Vec<(&str, &str)> {
    config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[tokio::test]
async fn topics_need_brokers_that_answer() {
    let dir = temporary_directory();
    for args in [["topics", "plan"], ["topics", "apply"], ["topics", "check"]] {
        run(&dir, &args, &[]).await.refused(&["no brokers are named", "KAFKA_BROKERS"]);
    }
    run(&dir, &["events", "--topic=auth", "--broker"], &[]).await.refused(&["no brokers are named", "KAFKA_BROKERS"]);
    let away = [("KAFKA_BROKERS", "127.0.0.1:1")];
    run(&dir, &["topics", "check"], &away).await.refused(&["the Kafka cluster at 127.0.0.1:1 does not answer"]);
    run(&dir, &["events", "--topic=auth", "--broker"], &away).await.refused(&["the Kafka cluster at 127.0.0.1:1 cannot be read"]);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[tokio::test]
async fn topics_are_planned_made_and_checked_and_their_events_are_those_of_the_ledger() {
    let config = cluster().await;
    let dir = temporary_directory();
    let topics = async |action: &str| run(&dir, &["topics", action], &env(&config)).await;
    let plan = topics("plan").await.well();
    assert!(plan.lines().count() == 3 && plan.contains("messages.events is missing: to be made with 12 partitions, 1 replicas"), "{plan}");
    let check = topics("check").await;
    check.refused(&["3 missing"]);
    assert!(check.out.contains("auth.events is missing"), "{}", check.out);
    run(&dir, &["events", "--topic=auth", "--broker"], &env(&config)).await.refused(&["no topic of auth yet"]);
    let made = topics("apply").await.well();
    assert!(made.contains("made: ") && made.contains("messages.events"), "{made}");
    wait_until("they are right", Duration::from_secs(20), async || {
        let said = topics("check").await;
        (said.code == Some(0) && said.out.lines().all(|line| line.ends_with("is right"))).then_some(())
    })
    .await;
    assert!(topics("apply").await.well().contains("no topic was missing"));

    let system = System::start(config.clone()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    for _ in 0..30 {
        assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "text")).await.status, 200);
        assert_eq!(ann.post("/api/v1/messages/send", Person::message(ann.id, Uuid::now_v7(), "text")).await.status.as_u16() / 100, 2);
    }
    let positions = async |args: &[&str]| {
        let said = beside(&system, args).await.well();
        let line = |line: &str| serde_json::from_str::<Value>(line).unwrap();
        said.lines().map(|text| (line(text)["position"].as_i64().unwrap(), line(text)["event_id"].to_string())).collect::<Vec<_>>()
    };
    let ledger = positions(&["events", "--topic=messages", "--json"]).await;
    assert_eq!(ledger.len(), 60);
    wait_until("everything is published", Duration::from_secs(20), async || {
        (positions(&["events", "--topic=messages", "--broker", "--json"]).await == ledger).then_some(())
    })
    .await;
    assert_eq!(positions(&["events", "--topic=messages", "--broker", "--json", "--limit=7"]).await, ledger[53..]);
    let after = ledger[9].0.to_string();
    assert_eq!(positions(&["events", "--topic=messages", "--broker", "--json", "--limit=45", "--after", &after]).await, ledger[10..55]);
    let followed = ["events", "--topic=messages", "--broker", "--json", "--follow", "--after=0", "--limit=60"];
    assert_eq!(positions(&followed).await, ledger);
}

#[tokio::test]
async fn a_start_refuses_topics_that_are_not_as_they_ought_to_be_and_says_what_mends_them() {
    let config = cluster().await;
    let value = |name: &str| config.env.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).unwrap();
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new().set("bootstrap.servers", value("KAFKA_BROKERS")).create().unwrap();
    let name = format!("{}messages.events", value("POSTRIDER_KAFKA__TOPIC_PREFIX"));
    let wrong = NewTopic::new(&name, 3, TopicReplication::Fixed(1)).set("cleanup.policy", "compact").set("max.message.bytes", "1000000");
    admin.create_topics([&wrong], &AdminOptions::new()).await.unwrap().into_iter().for_each(|made| drop(made.unwrap()));
    let parts = [
        format!("{name} has 3 partitions, expected 12"),
        format!("{name} has cleanup.policy=compact, expected delete: `rpk topic alter-config"),
        format!("{name} has max.message.bytes=1000000, expected 2097152"),
    ];
    let dir = temporary_directory();
    let check = wait_until("the broker shows the topic", Duration::from_secs(20), async || {
        let check = run(&dir, &["topics", "check"], &env(&config)).await;
        check.out.contains("partitions, expected").then_some(check)
    })
    .await;
    // Partitions, policy, size; and the retention and compression that it was not given.
    check.refused(&["2 missing, 5 wrong settings"]);
    assert!(parts.iter().all(|part| check.out.contains(part)), "{}", check.out);
    let port = testkit::system::free_port().to_string();
    let mut all = env(&config);
    all.extend([("PORT", port.as_str()), ("POSTRIDER_SERVER__METRICS_PORT", "0")]);
    run(&dir, &["up"], &all).await.refused(&parts.each_ref().map(String::as_str));
}
