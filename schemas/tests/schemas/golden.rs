use std::path::Path;

use schemas::auth::AuthEvent;
use schemas::messages::MessagesEvent;
use schemas::users::UsersEvent;
use schemas::{Event, Metadata, Personal, Recorded, Timestamp, Topic, UserId, event_types, key_hash};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::validator::violations;

/// An event as it was recorded, as a file.
#[derive(Deserialize)]
struct Sample {
    topic: String,
    incarnation: Uuid,
    position: i64,
    prev_position: Option<i64>,
    aggregate_type: String,
    aggregate_id: String,
    sequence: i64,
    event_type: String,
    event_version: String,
    payload: Box<RawValue>,
    metadata: Metadata,
    partition_key: String,
    key_hash: i32,
    event_id: Uuid,
    recorded_at: Timestamp,
}

impl From<Sample> for Recorded {
    fn from(sample: Sample) -> Self {
        Self {
            topic: sample.topic.parse().unwrap(),
            incarnation: sample.incarnation,
            position: sample.position,
            prev_position: sample.prev_position,
            aggregate_type: sample.aggregate_type,
            aggregate_id: sample.aggregate_id,
            sequence: sample.sequence,
            event_type: sample.event_type,
            event_version: sample.event_version,
            payload: sample.payload,
            metadata: sample.metadata,
            partition_key: sample.partition_key,
            key_hash: sample.key_hash,
            event_id: sample.event_id,
            recorded_at: sample.recorded_at,
        }
    }
}

fn home() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every sample with its file's name, without `.json`.
fn samples() -> Vec<(String, Recorded)> {
    let files = std::fs::read_dir(home().join("golden")).unwrap().map(|file| file.unwrap().path());
    let mut all: Vec<_> = files
        .map(|path| {
            let sample: Sample = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            (path.file_stem().unwrap().to_string_lossy().into_owned(), sample.into())
        })
        .collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

/// What every event says about itself.
struct Decoded {
    label: String,
    partition_key: String,
    names: Vec<UserId>,
    personal: Vec<Personal>,
    payload: Value,
}

fn describe<E: Event>(mut event: E) -> Decoded {
    let mut personal = Vec::new();
    event.personal(&mut |_, field| personal.push(field.clone()));
    Decoded {
        label: format!("{}.v{}", event.name(), event.version()),
        partition_key: event.partition_key(),
        names: event.names(),
        personal,
        payload: serde_json::from_str(event.payload().unwrap().get()).unwrap(),
    }
}

fn decode(name: &str, recorded: &Recorded) -> Decoded {
    match recorded.topic {
        Topic::Auth => match AuthEvent::decode(recorded) {
            Ok(AuthEvent::Account(event)) => describe(event),
            Ok(AuthEvent::Session(event)) => describe(event),
            Err(error) => panic!("{name}: {error}"),
        },
        Topic::Users => match UsersEvent::decode(recorded) {
            Ok(UsersEvent::Profile(event)) => describe(event),
            Ok(UsersEvent::Contact(event)) => describe(event),
            Ok(UsersEvent::Block(event)) => describe(event),
            Err(error) => panic!("{name}: {error}"),
        },
        Topic::Messages => match MessagesEvent::decode(recorded) {
            Ok(MessagesEvent::Message(event)) => describe(event),
            Ok(MessagesEvent::Receipt(event)) => describe(event),
            Err(error) => panic!("{name}: {error}"),
        },
    }
}

#[test]
fn every_event_type_has_a_sample_of_the_version_that_is_written() {
    let there: Vec<String> = samples().into_iter().map(|(name, _)| name).collect();
    for event in event_types() {
        assert!(there.contains(&event.label()), "schemas/golden/{}.json is missing", event.label());
    }
}

#[test]
fn every_sample_ever_released_decodes_through_the_upcasters() {
    let written = event_types();
    for (name, recorded) in samples() {
        assert_eq!(name, format!("{}.v{}", recorded.event_type, recorded.event_version));
        let decoded = decode(&name, &recorded);
        let now = written.iter().find(|event| event.name == recorded.event_type).unwrap_or_else(|| panic!("{name} is no longer known"));
        assert_eq!(decoded.label, now.label(), "{name} is lifted to the newest version");
        assert_eq!((recorded.topic, recorded.aggregate_type.as_str()), (now.topic, now.aggregate), "{name}");
        assert_eq!(decoded.partition_key, recorded.partition_key, "{name}");
        assert_eq!(key_hash(&recorded.partition_key), recorded.key_hash, "{name}");
        assert!(!decoded.names.is_empty(), "{name} names somebody");
        assert!(decoded.personal.iter().all(|field| matches!(field, Personal::Sealed { .. })), "{name} holds personal data in the clear");
    }
}

#[test]
fn a_sample_of_the_written_version_loses_nothing_when_it_is_read_and_written() {
    for (name, recorded) in samples() {
        let decoded = decode(&name, &recorded);
        if decoded.label == name {
            let stored: Value = serde_json::from_str(recorded.payload.get()).unwrap();
            assert_eq!(decoded.payload, stored, "{name}");
        }
    }
}

#[test]
fn every_sample_has_its_aggregates_id_in_the_payload() {
    for (name, recorded) in samples() {
        let payload: Value = serde_json::from_str(recorded.payload.get()).unwrap();
        let ids: Vec<&str> = payload.as_object().unwrap().values().filter_map(Value::as_str).collect();
        assert!(ids.contains(&recorded.aggregate_id.as_str()), "{name}");
    }
}

#[test]
fn every_sample_is_valid_under_its_own_schema() {
    for (name, recorded) in samples() {
        let schema = std::fs::read_to_string(home().join("json").join(format!("{name}.json"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (schema, payload) = (serde_json::from_str(&schema).unwrap(), serde_json::from_str(recorded.payload.get()).unwrap());
        assert_eq!(violations(&schema, &payload), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn a_payload_without_a_field_or_with_one_in_the_clear_is_not_valid() {
    let (_, recorded) = samples().into_iter().find(|(name, _)| name == "account.registered.v1").unwrap();
    let schema = event_types().into_iter().find(|event| event.name == "account.registered").unwrap().schema;
    let wrong = |change: fn(&mut serde_json::Map<String, Value>)| {
        let mut payload: Value = serde_json::from_str(recorded.payload.get()).unwrap();
        change(payload.as_object_mut().unwrap());
        violations(schema.as_value(), &payload)
    };
    assert_eq!(wrong(|_| {}), Vec::<String>::new());
    assert_ne!(wrong(|payload| drop(payload.remove("origin"))), Vec::<String>::new());
    assert_ne!(wrong(|payload| drop(payload.insert("email".into(), "ann@example.org".into()))), Vec::<String>::new());
    assert_ne!(wrong(|payload| drop(payload.insert("role".into(), "king".into()))), Vec::<String>::new());
    assert_ne!(wrong(|payload| drop(payload.insert("user_id".into(), "ann".into()))), Vec::<String>::new());
}
