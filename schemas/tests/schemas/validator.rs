//! As much of JSON Schema as our schemas use. A keyword that it does not know fails, so that nothing is skipped in silence.

use schemas::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// What is wrong with a value, by its place.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else {
        assert_eq!(schema, &Value::Bool(true), "{place}: a schema");
        return;
    };
    for (keyword, rule) in schema {
        let holds = match keyword.as_str() {
            "$id" | "$schema" | "$defs" | "title" | "description" | "default" => true,
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                check(root, root.pointer(pointer).unwrap(), value, place, found);
                true
            }
            "type" => match rule {
                Value::Array(any) => any.iter().any(|kind| is(kind, value)),
                kind => is(kind, value),
            },
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" => matching(root, rule, value) >= 1,
            "oneOf" => matching(root, rule, value) == 1,
            "format" => value.as_str().is_none_or(|text| has_format(rule.as_str().unwrap(), text)),
            "required" => rule.as_array().unwrap().iter().all(|field| value.is_object() && value.get(field.as_str().unwrap()).is_some()),
            "properties" => {
                for (field, rule) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(field) {
                        check(root, rule, value, &format!("{place}/{field}"), found);
                    }
                }
                true
            }
            "items" => {
                for (n, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(root, rule, value, &format!("{place}/{n}"), found);
                }
                true
            }
            unknown => panic!("{place}: keyword `{unknown}` is not known to this test"),
        };
        if !holds {
            found.push(format!("{place}: {keyword}"));
        }
    }
}

fn matching(root: &Value, rules: &Value, value: &Value) -> usize {
    let holds = |rule: &&Value| {
        let mut found = Vec::new();
        check(root, rule, value, "", &mut found);
        found.is_empty()
    };
    rules.as_array().unwrap().iter().filter(holds).count()
}

fn is(kind: &Value, value: &Value) -> bool {
    match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("type `{unknown}`"),
    }
}

fn has_format(format: &str, text: &str) -> bool {
    match format {
        "uuid" => text.len() == 36 && text.parse::<Uuid>().is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        unknown => panic!("format `{unknown}`"),
    }
}
