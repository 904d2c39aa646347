use std::process::Command;

use schemas::{event_types, schema_id};
use serde_json::Value;

#[test]
fn what_is_generated_is_current() {
    let check = Command::new(env!("CARGO_BIN_EXE_generate")).arg("--check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
}

#[test]
fn every_schema_has_its_id_and_draft() {
    for event in event_types() {
        let schema = event.schema.as_value();
        assert_eq!(schema["$id"], schema_id(event.name, event.version));
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    }
}

#[test]
fn every_event_type_is_announced_once() {
    let mut labels: Vec<String> = event_types().iter().map(schemas::EventType::label).collect();
    labels.sort();
    let count = labels.len();
    labels.dedup();
    assert_eq!(labels.len(), count);
    let document: Value = serde_json::from_str(include_str!("../../json/asyncapi.json")).unwrap();
    for event in event_types() {
        let message = &document["channels"][event.topic.name(1)]["messages"][event.label()]["$ref"];
        let (_, pointer) = message.as_str().unwrap().split_once('#').unwrap();
        assert_eq!(document.pointer(pointer).unwrap()["payload"]["schema"]["$ref"], format!("./{}.json", event.label()));
    }
}
