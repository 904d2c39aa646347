//! Writes `schemas/json/`: one JSON Schema (draft 2020-12) for every event type and version, and the AsyncAPI document of all topics.
//! With `--check` it changes nothing and fails when a file is missing, stale or left over.
//!
//! Schemas of versions that are no longer written stay: a file is left over when there is no golden sample of its name either.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use schemas::{CLOUD_EVENTS_TYPE_PREFIX, EventType, Topic, event_types};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let check = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("usage: generate [--check]");
            return ExitCode::FAILURE;
        }
    };
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    match run(&home.join("json"), &home.join("golden"), check) {
        Ok(wrong) if wrong.is_empty() => ExitCode::SUCCESS,
        Ok(wrong) => {
            for line in wrong {
                eprintln!("schemas/json/{line}");
            }
            eprintln!("run: cargo run -p schemas --bin generate");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("schemas/json: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is wrong; after a run without `check`, nothing.
fn run(json: &Path, golden: &Path, check: bool) -> std::io::Result<Vec<String>> {
    std::fs::create_dir_all(json)?;
    let mut wrong = Vec::new();
    let mut documents = documents();
    for (name, document) in &mut documents {
        // In one order, whatever features other crates switch on.
        document.sort_all_objects();
        let (path, text) = (json.join(name), format!("{document:#}\n"));
        match std::fs::read_to_string(&path) {
            Ok(there) if there == text => {}
            there if check => wrong.push(format!("{name}: {}", if there.is_ok() { "stale" } else { "missing" })),
            _ => std::fs::write(&path, text)?,
        }
    }
    for entry in std::fs::read_dir(json)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if documents.contains_key(&name) || golden.join(&name).exists() {
            continue;
        }
        if check {
            wrong.push(format!("{name}: left over"));
        } else {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(wrong)
}

/// By file name.
fn documents() -> BTreeMap<String, Value> {
    let types = event_types();
    let mut documents: BTreeMap<String, Value> =
        types.iter().map(|event| (format!("{}.json", event.label()), event.schema.as_value().clone())).collect();
    documents.insert("asyncapi.json".to_owned(), async_api(&types));
    documents
}

fn async_api(types: &[EventType]) -> Value {
    let name = |topic: Topic| topic.name(1);
    let channels: BTreeMap<String, Value> = (Topic::ALL.iter()).map(|topic| (name(*topic), channel(*topic, types))).collect();
    let operations: BTreeMap<String, Value> = (Topic::ALL.iter())
        .map(|topic| {
            (format!("publish.{topic}"), json!({ "action": "send", "channel": { "$ref": format!("#/channels/{}", name(*topic)) } }))
        })
        .collect();
    let messages: BTreeMap<String, Value> = types.iter().map(|event| (event.label(), message(event))).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Postrider events",
            "version": "1",
            "description": "Every change, in order per key, at least once. Consumers drop what is at or below the last position they know of a partition, apply what follows it (`ce_prevposition`), and stop at a gap."
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages, "schemas": { "Headers": headers() } }
    })
}

fn channel(topic: Topic, types: &[EventType]) -> Value {
    let messages: BTreeMap<String, Value> = (types.iter().filter(|event| event.topic == topic))
        .map(|event| (event.label(), json!({ "$ref": format!("#/components/messages/{}", event.label()) })))
        .collect();
    json!({
        "address": topic.name(1),
        "description": format!("Events of the {topic} service, keyed by {}.", key(topic)),
        "messages": messages,
        "bindings": { "kafka": { "topic": topic.name(1), "partitions": Topic::PARTITIONS, "bindingVersion": "0.5.0" } }
    })
}

fn message(event: &EventType) -> Value {
    json!({
        "name": format!("{CLOUD_EVENTS_TYPE_PREFIX}{}", event.label()),
        "title": event.label(),
        "contentType": "application/json",
        "headers": { "$ref": "#/components/schemas/Headers" },
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": { "$ref": format!("./{}.json", event.label()) }
        },
        "bindings": { "kafka": { "key": { "type": "string", "format": "uuid", "description": key(event.topic) }, "bindingVersion": "0.5.0" } }
    })
}

fn key(topic: Topic) -> &'static str {
    match topic {
        Topic::Auth => "user id",
        Topic::Users => "owner's user id",
        Topic::Messages => "conversation id",
    }
}

/// CloudEvents 1.0, Kafka binding, binary mode.
fn headers() -> Value {
    let described: &[(&str, &str)] = &[
        ("content-type", "`application/json`"),
        ("ce_specversion", "`1.0`"),
        ("ce_id", "the event's id, a UUIDv7"),
        ("ce_type", "`postrider.message.sent.v1`"),
        ("ce_source", "`/messages`"),
        ("ce_subject", "the aggregate's id"),
        ("ce_time", "the event's time, RFC 3339; also the record's timestamp"),
        ("ce_dataschema", "the `$id` of the payload's JSON Schema"),
        ("ce_aggregatetype", "`message`"),
        ("ce_sequence", "place in the aggregate's stream, from 1"),
        ("ce_position", "rising strictly within a topic, comparable only there"),
        ("ce_prevposition", "the position before it in its partition of this generation, 0 for the first"),
        ("ce_incarnation", "the ledger's life in which positions count"),
        ("ce_correlationid", "follows one request through everything that it causes"),
        ("ce_causationid", "the request or event that caused this one"),
        ("ce_actor", "the acting user's id, or `system`"),
        ("traceparent", "W3C trace context, when the request carried one"),
    ];
    let properties: BTreeMap<&str, Value> =
        described.iter().map(|(name, meaning)| (*name, json!({ "type": "string", "description": meaning }))).collect();
    let required: Vec<&str> = described.iter().map(|(name, _)| *name).filter(|name| *name != "traceparent").collect();
    json!({ "type": "object", "properties": properties, "required": required })
}
