//! The OpenAPI 3.1 document of all routes.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Api;
use super::operation::{Field, Operation};
use super::responses::{header_components, headers, problem_schema, problems};
use super::route::Described;
use crate::http::Problem;

const SCHEMAS: &str = "/components/schemas";

/// What stands above the routes.
#[derive(Debug, Clone)]
pub struct Info {
    /// The name of it all.
    pub title: &'static str,
    /// Of the software.
    pub version: &'static str,
    /// What every caller must know, once (CommonMark).
    pub text: &'static str,
    /// The groups of operations, in their order.
    pub tags: &'static [TagInfo],
    /// What every route may answer instead of what was asked.
    pub everywhere: Vec<Problem>,
}

/// A group of operations.
#[derive(Debug, Clone, Copy)]
pub struct TagInfo {
    /// As operations name it.
    pub name: &'static str,
    /// What belongs to it.
    pub text: &'static str,
}

/// Bodies that arrive and bodies that leave differ: a field that may be left out is always there in an answer.
struct Schemas {
    arriving: SchemaGenerator,
    leaving: SchemaGenerator,
}

impl Api {
    /// The document, in full.
    ///
    /// # Panics
    /// When one name means two schemas, or an operation leaves out what it must say: a mistake in the program, which the document's test finds.
    #[must_use]
    pub fn document(&self, info: &Info) -> Value {
        let settings = || SchemaSettings::draft2020_12().with(|settings| settings.definitions_path = SCHEMAS.into());
        let mut schemas = Schemas { arriving: settings().into_generator(), leaving: settings().for_serialize().into_generator() };
        let mut paths = BTreeMap::<&str, Map<String, Value>>::new();
        for route in &self.routes {
            let operation = operation(route, info, &mut schemas);
            paths.entry(&route.path).or_default().insert(route.method.to_owned(), operation);
        }
        let tags: Vec<Value> = info.tags.iter().map(|tag| json!({"name": tag.name, "description": tag.text})).collect();
        json!({
            "openapi": "3.1.0",
            "info": {"title": info.title, "version": info.version, "description": info.text},
            "servers": [{"url": "/", "description": "Where this document came from"}],
            "tags": tags,
            "paths": paths,
            "components": {
                "schemas": schemas.components(),
                "headers": header_components(),
                "securitySchemes": {"token": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "The `access_token` that registration and sign-in answer.",
                }},
            },
        })
    }
}

impl Schemas {
    fn components(mut self) -> Value {
        let mut all = self.arriving.take_definitions(true);
        for (name, schema) in self.leaving.take_definitions(true) {
            if let Some(other) = all.insert(name.clone(), schema.clone()) {
                assert_eq!(
                    other, schema,
                    "`{name}` means one thing in a body that arrives and another in one that leaves: rename one of them"
                );
            }
        }
        all.insert("Problem".into(), problem_schema());
        Value::Object(all)
    }
}

fn operation(route: &Described, info: &Info, schemas: &mut Schemas) -> Value {
    let Operation { id, tag, summary, text, secured, body, example, .. } = &route.operation;
    let place = format!("{} {}", route.method, route.path);
    assert!(info.tags.iter().any(|known| known.name == *tag), "{place}: `{tag}` is no group that the document knows");
    let mut refusals = route.operation.problems.clone();
    refusals.extend(info.everywhere.iter().cloned());
    let mut responses = problems(&refusals);
    let (status, answer) = good(&route.operation, schemas);
    responses.insert(status, answer);
    for (status, meaning, schema_of) in &route.operation.others {
        let schema = schema_of(&mut schemas.leaving);
        let other = json!({"description": meaning, "headers": headers(&[]), "content": {"application/json": {"schema": schema}}});
        // Where a problem has the same status, either may come.
        match responses.get_mut(&status.to_string()) {
            Some(problem) => problem["content"]["application/json"] = other["content"]["application/json"].clone(),
            None => drop(responses.insert(status.to_string(), other)),
        }
    }
    let mut described = json!({
        "operationId": id,
        "tags": [tag],
        "summary": summary,
        "description": text,
        "parameters": parameters(route),
        "responses": responses,
        // None at all is a statement, too: public.
        "security": if *secured { json!([{"token": []}]) } else { json!([]) },
    });
    if let Some(schema_of) = body {
        let schema = schema_of(&mut schemas.arriving);
        let wants = is_wanting(&schema, &schemas.arriving);
        let mut media = json!({"schema": schema});
        if let Some(example) = example {
            media["example"] = example.clone();
        }
        described["requestBody"] = json!({"required": wants, "content": {"application/json": media}});
    }
    described
}

fn good(operation: &Operation, schemas: &mut Schemas) -> (String, Value) {
    let status = operation.status.unwrap_or(if !operation.answer.is_empty() { 200 } else { 204 });
    let mut answer = json!({"description": "Done.", "headers": headers(&operation.headers)});
    for (media_type, schema_of) in &operation.answer {
        let schema = schema_of(&mut schemas.leaving);
        if let Some(text) = description_of(&schema, &schemas.leaving) {
            answer["description"] = json!(text);
        }
        answer["content"][*media_type] = json!({"schema": schema});
    }
    if !operation.links.is_empty() {
        let links = operation.links.iter().map(|(to, parameter, pointer)| {
            let link = json!({"operationId": to, "parameters": {*parameter: format!("$response.body#{pointer}")}});
            ((*to).to_owned(), link)
        });
        answer["links"] = Value::Object(links.collect());
    }
    (status.to_string(), answer)
}

/// Whether a body wants anything at all: where it does not, none is as good as an empty one.
fn is_wanting(schema: &schemars::Schema, generator: &SchemaGenerator) -> bool {
    let wants = |schema: &Value| schema["required"].as_array().is_some_and(|fields| !fields.is_empty());
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| Some(path.rsplit_once('/')?.1));
    name.map_or_else(|| wants(schema.as_value()), |name| generator.definitions().get(name).is_some_and(wants))
}

fn description_of(schema: &schemars::Schema, generator: &SchemaGenerator) -> Option<String> {
    let direct = schema.get("description").and_then(Value::as_str);
    let named = || {
        let name = schema.get("$ref")?.as_str()?.rsplit_once('/')?.1;
        generator.definitions().get(name)?.get("description")?.as_str()
    };
    direct.or_else(named).map(str::to_owned)
}

fn parameters(route: &Described) -> Vec<Value> {
    let Operation { path, path_schema, query, header, .. } = &route.operation;
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(|name| {
        let meaning = path.iter().find(|(known, _)| *known == name).map(|(_, meaning)| *meaning);
        let meaning = meaning.unwrap_or_else(|| panic!("{} {}: nothing is said of `{name}`", route.method, route.path));
        let schema = path_schema.clone().unwrap_or_else(|| json!({"type": "string"}));
        json!({"name": name, "in": "path", "required": true, "description": meaning, "schema": schema})
    });
    let field = |place: &'static str| move |field: &Field| json!({"name": field.name, "in": place, "required": field.required, "description": field.meaning, "schema": field.schema});
    in_path.chain(query.iter().map(field("query"))).chain(header.iter().map(field("header"))).collect()
}
