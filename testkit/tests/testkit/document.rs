//! What the API says of itself is whole, and true.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person, http};
use testkit::system::System;
use uuid::Uuid;

use crate::refusals;

async fn document() -> Value {
    let answer = Answer::to(http().get(System::shared().await.url("/api/v1/openapi.json"))).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, Some("application/json")));
    answer.json()
}

/// Every operation: method, path, and what is said of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let of_path = |(path, methods): (&String, &Value)| {
        let of_method = |(method, operation): (&String, &Value)| (method.to_uppercase(), path.clone(), operation.clone());
        methods.as_object().expect("methods").iter().map(of_method).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// A path with every variable called alike, without method and query.
fn shape(path: &str) -> String {
    let path = path.split_once(' ').map_or(path, |(_, path)| path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_that_wants_a_caller_is_described_and_stands_in_the_table_of_refusals() {
    let described: BTreeSet<(String, String)> = operations(&document().await)
        .into_iter()
        .filter(|(_, _, operation)| operation["security"] != json!([]))
        .map(|(method, path, _)| (method, shape(&path)))
        .collect();
    let refused: BTreeSet<(String, String)> =
        refusals::routes().into_iter().map(|(method, path, _)| (method.to_string(), shape(path))).collect();
    assert_eq!(described, refused);
}

#[tokio::test]
async fn every_body_of_which_something_is_required_stands_in_the_table_of_refusals() {
    let document = document().await;
    let bodies: Vec<(String, bool)> = operations(&document)
        .into_iter()
        .filter_map(|(_, path, operation)| {
            let name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str()?.rsplit('/').next()?.to_owned();
            let required = document["components"]["schemas"][name]["required"].as_array().is_some_and(|fields| !fields.is_empty());
            Some((shape(&path), required))
        })
        .collect();
    let described: BTreeSet<&str> = bodies.iter().map(|(path, _)| path.as_str()).collect();
    let refused = refusals::bodies(Uuid::nil(), Uuid::nil());
    let refused: BTreeSet<String> = refused.into_iter().map(|(path, ..)| shape(path)).collect();
    for (path, required) in &bodies {
        assert!(!required || refused.contains(path), "{path} is missing among the refusals");
    }
    for path in &refused {
        assert!(described.contains(path.as_str()), "{path} is not described");
    }
}

#[tokio::test]
async fn every_operation_says_what_it_does_and_is_named_once() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let place = format!("{method} {path}");
        for field in ["operationId", "summary", "description"] {
            assert!(operation[field].as_str().is_some_and(|text| !text.is_empty()), "{place}: {field}");
        }
        assert!(ids.insert(operation["operationId"].to_string()), "{place}: its operationId is another's");
        assert!(operation["security"].is_array(), "{place}: whether it is public");
        for parameter in operation["parameters"].as_array().expect("parameters") {
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{place}: {parameter}");
        }
        for (status, response) in operation["responses"].as_object().expect("responses") {
            for header in ["X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"] {
                assert!(response["headers"][header].is_object(), "{place}: {status}: {header}");
            }
            if status.starts_with(['4', '5']) && response["content"]["application/problem+json"].is_object() {
                let problem = &response["content"]["application/problem+json"];
                let codes = problem["schema"]["properties"]["code"]["enum"].as_array().expect("codes");
                for code in codes {
                    let example = &problem["examples"][code.as_str().expect("text")]["value"];
                    assert_eq!((&example["code"], example["status"].to_string()), (code, status.clone()), "{place}");
                }
            }
        }
    }
}

/// Every field below a schema that has no meaning.
fn meaningless(schema: &Value, place: &str, found: &mut Vec<String>) {
    match schema {
        Value::Object(members) => {
            for (name, field) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let said = field["description"].as_str().is_some_and(|text| !text.is_empty());
                // Narrows what another schema says.
                let narrows = members.contains_key("allOf");
                if !said && !narrows {
                    found.push(format!("{place}/{name}"));
                }
            }
            for (name, member) in members {
                if !["examples", "example", "enum"].contains(&name.as_str()) {
                    meaningless(member, &format!("{place}/{name}"), found);
                }
            }
        }
        Value::Array(members) => members.iter().for_each(|member| meaningless(member, place, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_field_has_a_meaning() {
    let document = document().await;
    let mut found = Vec::new();
    meaningless(&document["components"]["schemas"], "", &mut found);
    for (method, path, operation) in operations(&document) {
        meaningless(&operation, &format!("{method} {path}"), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|member| references(member, found));
            }
            Value::Array(members) => members.iter().for_each(|member| references(member, found)),
            _ => {}
        }
    }
    let document = document().await;
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let ids: BTreeSet<String> = operations(&document).into_iter().map(|(.., operation)| operation["operationId"].to_string()).collect();
    for (.., operation) in operations(&document) {
        for response in operation["responses"].as_object().into_iter().flat_map(|all| all.values()) {
            for link in response["links"].as_object().into_iter().flat_map(|all| all.values()) {
                assert!(ids.contains(&link["operationId"].to_string()), "{link}");
            }
        }
    }
}

#[tokio::test]
async fn every_example_works_as_it_stands_once_its_people_and_messages_exist() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let signed_in = eve.post("/api/v1/auth/login", json!({"email": eve.email, "password": eve.password})).await.json();
    let unique = Uuid::now_v7().simple().to_string();
    let mut tried = 0;
    for (method, path, operation) in operations(&document().await) {
        let mut body = operation["requestBody"]["content"]["application/json"]["example"].clone();
        if body.is_null() || path.contains('{') || path == "/api/v1/auth/logout" {
            continue;
        }
        for (field, real) in [
            ("recipient_id", json!(bob.id)),
            ("message_id", json!(Uuid::now_v7())),
            ("token", json!(ann.token)),
            ("refresh_token", signed_in["refresh_token"].clone()),
            ("current_password", json!(ann.password)),
            ("contact_email", json!(if path.ends_with("/add") { &bob.email } else { &eve.email })),
            ("username", json!(format!("ann-{tried}-{unique}"))),
        ] {
            if body.get(field).is_some() {
                body[field] = real;
            }
        }
        if path.ends_with("/register") {
            body["email"] = json!(format!("{unique}@example.org"));
        } else if path.ends_with("/login") {
            (body["email"], body["password"]) = (json!(ann.email), json!(ann.password));
        }
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let answer = ann.ask(method, &path, Some(body)).await.expect("an answer");
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text);
        tried += 1;
    }
    assert!(tried >= 14, "{tried}");
}

#[tokio::test]
async fn the_page_asks_nobody_but_us() {
    let system = System::shared().await;
    let get = async |path: &str| Answer::to(http().get(system.url(path))).await.expect("an answer");
    let page = get("/docs").await;
    assert_eq!((page.status.as_u16(), page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").expect("a policy").to_owned();
    assert!(policy.contains("default-src 'none'") && policy.contains("connect-src 'self'") && !policy.contains("http"), "{policy}");
    assert!(!page.text.contains("//"), "an address of somebody else");
    let parts: Vec<&str> = page.text.split('"').filter(|part| part.starts_with("/docs/")).collect();
    assert_eq!(parts.len(), 4, "{parts:?}");
    for part in parts {
        let answer = http().get(system.url(part)).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{part}");
        assert!(answer.bytes().await.expect("whole").len() > 100, "{part}");
    }
    assert_eq!(get("/docs/../Cargo.toml").await.status.as_u16(), 404);
    assert_eq!(get("/docs/none").await.status.as_u16(), 404);
}
