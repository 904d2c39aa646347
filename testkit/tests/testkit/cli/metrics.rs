//! What dashboards and log readers are promised.

use std::collections::BTreeSet;
use std::time::Duration;

use testkit::person::{Person, http};
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

const OPERATIONS: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md"));

#[tokio::test]
async fn after_some_traffic_every_metric_is_there_explained_and_in_the_operators_page() {
    let broker = tokio::task::spawn_blocking(testkit::kafka::broker).await.unwrap();
    let config = SystemConfig::default()
        .env("KAFKA_BROKERS", &broker.address)
        .env("POSTRIDER_KAFKA__TOPIC_PREFIX", format!("{}-", Uuid::now_v7().simple()))
        .env("POSTRIDER_TELEMETRY__LOG", "info,platform::log=debug,platform::http=debug");
    let system = System::start(config).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let client = http();
    let request = client.post(system.url("/api/v1/messages/send")).bearer_auth(&ann.token).header("x-request-id", "request-of-ann");
    let sent = request.json(&Person::message(bob.id, Uuid::now_v7(), "text")).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), &sent.headers()["x-request-id"]), (200, &"request-of-ann".parse().unwrap()));
    assert_eq!(ann.conversation(bob.id).await.len(), 1);

    let metrics = format!("http://127.0.0.1:{}/metrics", system.metrics_port);
    let scrape = async || client.get(&metrics).send().await.unwrap().text().await.unwrap();
    let expected = [
        r#"http_requests_total{route="/api/v1/messages/send",method="POST",status="200"} 1"#,
        r#"http_request_seconds_count{route="/api/v1/messages/send"} 1"#,
        r#"ledger_appends_total{ledger="messages",outcome="stored"} 1"#,
        r#"ledger_append_batch_size_count{ledger="messages"} 1"#,
        r#"ledger_append_seconds_count{ledger="messages"} 1"#,
        r#"ledger_queue_length{ledger="messages"} 0"#,
        r#"publisher_published_total{topic="messages"} 1"#,
        r#"publisher_lag_events{topic="messages"} 0"#,
        r#"publisher_lag_seconds{topic="messages"} 0"#,
        r#"projection_applied_total{projection="conversations"} 1"#,
        r#"projection_lag_events{projection="relay"} 0"#,
        r#"projection_lag_seconds{projection="users"} 0"#,
        r#"projection_parked_keys{projection="people"} 0"#,
        r#"postgres_pool_connections{pool="messages",state="idle"}"#,
        r#"postgres_pool_connections{pool="auth_ledger",state="used"}"#,
        "hasher_queue_length 0",
        "hasher_seconds_count 2",
        "redis_up 1",
        "process_resident_memory_bytes",
    ];
    let text = wait_until("every metric is there", Duration::from_secs(20), async || {
        let text = scrape().await;
        let lacks: Vec<_> = expected.iter().filter(|line| !text.contains(**line)).collect();
        if !lacks.is_empty() {
            eprintln!("missing: {lacks:?}");
        }
        lacks.is_empty().then_some(text)
    })
    .await;
    let named = |kind: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(kind)?.split(' ').next());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(named("# TYPE "), named("# HELP "), "each has its explanation");
    for name in named("# TYPE ") {
        assert!(OPERATIONS.contains(&format!("`{name}`")), "{name} is not in docs/operations.md");
    }

    // From the request to every projection that has seen its event.
    wait_until("the request is followed to the projections", Duration::from_secs(20), async || {
        let log = system.log();
        let lines = |word: &str| {
            let of_ann = log.lines().filter(|line| line.contains(r#""correlation_id":"request-of-ann""#));
            of_ann.filter(|line| line.contains(word)).count()
        };
        (lines("answered") == 1 && lines(r#""projected""#) == 2).then_some(())
    })
    .await;
    assert!(system.log().lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "JSON lines where nobody watches");
}
