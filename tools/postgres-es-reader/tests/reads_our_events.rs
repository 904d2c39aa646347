use std::collections::HashMap;

use cqrs_es::event_sink::EventSink;
use cqrs_es::persist::{PersistedEventRepository, PersistedEventStore};
use cqrs_es::{Aggregate, DomainEvent, EventStore};
use postgres_es::PostgresEventRepository;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Executor, PgPool};

/// Any payload, as it stands in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
struct Raw(Value);

impl DomainEvent for Raw {
    fn event_type(&self) -> String {
        "raw".to_owned()
    }
    fn event_version(&self) -> String {
        "1".to_owned()
    }
}

/// The payloads of a message's stream.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Message(Vec<Value>);

impl Aggregate for Message {
    const TYPE: &'static str = "message";
    type Command = ();
    type Event = Raw;
    type Error = std::convert::Infallible;
    type Services = ();

    async fn handle(&mut self, (): (), (): &(), _: &EventSink<Self>) -> Result<(), Self::Error> {
        Ok(())
    }
    fn apply(&mut self, event: Raw) {
        self.0.push(event.0);
    }
}

const STREAM: &str = "0197a5a0-0000-7000-8000-000000000001";

/// Two events, appended as a writer appends them.
const APPEND: &str = r#"SELECT outcome FROM append_batch(1, 1, NULL, NULL, NULL, NULL,
    '{1,1}', '{0,1}', '{message,message}', '{0197a5a0-0000-7000-8000-000000000001,0197a5a0-0000-7000-8000-000000000001}', '{1,2}',
    '{message.sent,message.sent}', '{1,1}', ARRAY['{"text":"one"}', '{"text":"two"}']::json[],
    ARRAY['{"correlation_id":"r1","causation_id":"r1","actor":"system"}', '{"correlation_id":"r2","causation_id":"r2","actor":"system"}']::json[],
    '{k,k}', '{7,7}', '{0197a5a0-0000-7000-8000-00000000000a,0197a5a0-0000-7000-8000-00000000000b}', NULL,
    NULL, NULL, NULL, NULL, NULL, NULL, NULL)"#;

async fn ledger() -> PgPool {
    let url = std::env::var("DATABASE_URL").expect("DATABASE_URL names a Postgres server");
    let server: PgConnectOptions = url.parse().unwrap();
    let name = format!("postgres_es_reader_{}", std::process::id());
    let mut admin = server.clone().connect().await.unwrap();
    admin.execute(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)").as_str()).await.unwrap();
    admin.execute(format!("CREATE DATABASE {name}").as_str()).await.unwrap();
    let options = server.database(&name).options([("search_path", "messages_ledger")]);
    let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.unwrap();
    pool.execute("CREATE SCHEMA messages_ledger").await.unwrap();
    pool.execute(include_str!("../../../migrations/ledger/0001_ledger.sql")).await.unwrap();
    pool.execute(APPEND).await.unwrap();
    pool
}

#[tokio::test]
async fn postgres_es_reads_events_metadata_and_aggregates_from_our_ledger() {
    let pool = ledger().await;
    let repository = PostgresEventRepository::new(pool);

    let rows = repository.get_events::<Message>(STREAM).await.unwrap();
    let places: Vec<_> = rows.iter().map(|row| (row.sequence, row.event_type.as_str(), row.event_version.as_str())).collect();
    assert_eq!(places, [(1, "message.sent", "1"), (2, "message.sent", "1")]);
    assert_eq!(rows[1].payload, json!({"text": "two"}));

    let later = repository.get_last_events::<Message>(STREAM, 1).await.unwrap();
    assert_eq!(later.len(), 1);

    let mut all = repository.stream_all_events::<Message>().await.unwrap();
    let mut streamed = 0;
    while let Some(event) = all.next::<Message>(&[]).await {
        streamed += 1;
        assert_eq!(event.unwrap().sequence, streamed);
    }
    assert_eq!(streamed, 2);

    let store = PersistedEventStore::<_, Message>::new_event_store(repository);
    let events = store.load_events(STREAM).await.unwrap();
    let metadata =
        HashMap::from([("correlation_id", "r2"), ("causation_id", "r2"), ("actor", "system")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    assert_eq!(events[1].metadata, metadata);
    let aggregate = store.load_aggregate(STREAM).await.unwrap();
    assert_eq!(aggregate.aggregate.0, [json!({"text": "one"}), json!({"text": "two"})]);
}
