//! The answers of an operation, good and bad, in the form of OpenAPI.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};

use crate::http::Problem;

/// Every header that an answer can bear, with its schema, an example and its meaning.
pub(super) const HEADERS: [(&str, &str, &str, &str); 13] = [
    (
        "X-Request-Id",
        "string",
        "0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f",
        "Names this request in our logs: the client's own `X-Request-Id` when it was sane (1 to 64 of `A-Za-z0-9._-`), else a new one.",
    ),
    ("X-RateLimit-Limit", "integer", "500", "How many requests of this kind may come at once."),
    ("X-RateLimit-Remaining", "integer", "499", "How many of them are left."),
    ("X-RateLimit-Reset", "integer", "1", "Seconds until all of them are there again."),
    ("Retry-After", "integer", "1", "Seconds after which it is worth trying again."),
    ("X-Consistency-Token", "string", "eyJhIjoxfQ", "Sent with a read, from anywhere, it makes that read contain what this command did."),
    (
        "X-Projection-Behind",
        "string",
        "true",
        "`true` when the answer may lack something that the caller has just done: the read model did not catch up within 2 s.",
    ),
    (
        "Link",
        "string",
        "</api/v1/messages/conversation/0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e50?limit=50&before=0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f>; rel=\"next\"",
        "`rel=\"next\"`: where the list goes on (RFC 8288). Absent on the last page.",
    ),
    ("Location", "string", "/api/v1/groups/0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f", "Where what was made can be found."),
    (
        "Set-Cookie",
        "string",
        "access_token=…; HttpOnly; Secure; SameSite=Strict",
        "The access token once more, for the few requests that a browser makes by itself.",
    ),
    ("WWW-Authenticate", "string", "Bearer", "How to authenticate (RFC 6750)."),
    ("Cache-Control", "string", "no-store", "Nothing that is personal is kept by anybody."),
    ("Vary", "string", "Origin", "What else the answer depends on."),
];

const ALWAYS: [&str; 4] = ["X-Request-Id", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"];

/// `#/components/headers`
pub(super) fn header_components() -> Value {
    let described = HEADERS.iter().map(|(name, kind, example, meaning)| {
        let example = if *kind == "integer" { example.parse::<u32>().map_or(Value::Null, Value::from) } else { json!(example) };
        ((*name).to_owned(), json!({"description": meaning, "schema": {"type": kind}, "example": example}))
    });
    Value::Object(described.collect())
}

/// References to headers, those of every answer among them.
pub(super) fn headers(own: &[&'static str]) -> Value {
    let named = ALWAYS.iter().chain(own).map(|name| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")})));
    Value::Object(named.collect())
}

/// `#/components/schemas/Problem`, RFC 9457.
pub(super) fn problem_schema() -> Value {
    json!({
        "type": "object",
        "title": "Problem",
        "description": "Why something was not done (RFC 9457). Clients decide by `code`, and may show `detail`.",
        "required": ["type", "title", "status", "detail", "code", "request_id"],
        "properties": {
            "type": {"type": "string", "format": "uri", "description": "`urn:postrider:problem:` and the code.", "examples": ["urn:postrider:problem:unauthenticated"]},
            "title": {"type": "string", "description": "The status in words.", "examples": ["Unauthorized"]},
            "status": {"type": "integer", "minimum": 400, "maximum": 599, "description": "The status once more.", "examples": [401]},
            "detail": {"type": "string", "description": "One sentence that a person can read.", "examples": ["Not authenticated"]},
            "code": {"type": "string", "description": "What happened, for machines. Never changes its meaning.", "examples": ["unauthenticated"]},
            "request_id": {"type": "string", "description": "Names the request in our logs.", "examples": ["0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f"]},
            "errors": {
                "type": "array",
                "description": "With 422: what is wrong, field by field.",
                "items": {
                    "type": "object",
                    "required": ["field", "message"],
                    "properties": {
                        "field": {"type": "string", "description": "The field; `body` for the whole.", "examples": ["email"]},
                        "message": {"type": "string", "description": "What is wrong with it.", "examples": ["is required"]},
                    },
                },
            },
        },
    })
}

/// By status: every code that can come with it, each with an example that is the answer itself.
pub(super) fn problems(all: &[Problem]) -> Map<String, Value> {
    let mut by_status = BTreeMap::<StatusCode, Vec<&Problem>>::new();
    for problem in all {
        by_status.entry(problem.status).or_default().push(problem);
    }
    by_status.into_iter().map(|(status, problems)| (status.as_str().to_owned(), of_status(status, &problems))).collect()
}

fn of_status(status: StatusCode, problems: &[&Problem]) -> Value {
    let lines: Vec<String> = problems.iter().map(|problem| format!("* `{}`: {}", problem.code, problem.detail)).collect();
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    let examples: Map<String, Value> = problems
        .iter()
        .map(|problem| {
            let value = problem.value("0190a5e0-7c1d-7c3a-9d53-4b6f1c2d3e4f");
            (problem.code.to_owned(), json!({"summary": problem.detail, "value": value}))
        })
        .collect();
    let mut own = Vec::new();
    if problems.iter().any(|problem| problem.retry_after.is_some()) {
        own.push("Retry-After");
    }
    if status == StatusCode::UNAUTHORIZED {
        own.push("WWW-Authenticate");
    }
    json!({
        "description": lines.join("\n"),
        "headers": headers(&own),
        "content": {"application/problem+json": {
            "schema": {
                "allOf": [{"$ref": "#/components/schemas/Problem"}],
                "properties": {"status": {"const": status.as_u16()}, "code": {"enum": codes}},
            },
            "examples": examples,
        }},
    })
}
