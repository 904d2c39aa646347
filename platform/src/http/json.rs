//! From bytes to a body, and from what serde finds wrong to a sentence without a value in it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::Violation;

/// Reads a body: empty counts as `{}`, a member that is `null` as absent; U+0000 and lone surrogates are refused wherever they stand, also in what `T` ignores
/// or passes on unread.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Violation> {
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("body", "is not UTF-8"))?;
    let text = if text.trim_ascii().is_empty() { "{}" } else { text };
    // A derived type would also read itself from an array.
    if !text.trim_ascii_start().starts_with('{') {
        let json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        return Err(wrong("body", if json { "must be an object" } else { "is not JSON" }));
    }
    // Only an escape can bring U+0000 or a lone surrogate, and only few bodies hold one: the others are read once.
    if text.contains("\\u") {
        let value: Value = serde_json::from_str(text).map_err(|_| wrong("body", "is not JSON"))?;
        if let Some(field) = field_with_nul(&value) {
            return Err(wrong(field, "must not contain U+0000"));
        }
    }
    let text = if text.contains("null") { without_nulls(text)? } else { Cow::Borrowed(text) };
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let body = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let field = match error.path().iter().next() {
            Some(serde_path_to_error::Segment::Map { key }) => key.clone(),
            _ => "body".to_owned(),
        };
        explain(field, error.inner())
    })?;
    deserializer.end().map_err(|_| wrong("body", "is not JSON"))?;
    Ok(body)
}

fn wrong(field: impl Into<Cow<'static, str>>, message: impl Into<Cow<'static, str>>) -> Violation {
    Violation { field: field.into(), message: message.into() }
}

/// The first member of the body that holds U+0000; `body` when its name is nothing to repeat.
fn field_with_nul(body: &Value) -> Option<String> {
    let Value::Object(members) = body else { return None };
    members.iter().find(|(name, value)| name.contains('\0') || has_nul(value)).map(|(name, _)| {
        let plain = name.len() <= 64 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if plain { name.clone() } else { "body".to_owned() }
    })
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Drops the body's own members that are `null`; what stands deeper belongs to whoever reads that member, byte for byte.
fn without_nulls(text: &str) -> Result<Cow<'_, str>, Violation> {
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(|_| wrong("body", "is not JSON"))?;
    let before = members.len();
    members.retain(|_, value| value.get() != "null");
    if members.len() == before {
        return Ok(Cow::Borrowed(text));
    }
    serde_json::to_string(&members).map(Cow::Owned).map_err(|_| wrong("body", "is not JSON"))
}

/// serde's messages quote the value that they refuse: only what the type itself says is repeated (what was expected, which field is missing).
fn explain(field: String, error: &serde_json::Error) -> Violation {
    if error.classify() != Category::Data {
        return wrong("body", "is not JSON");
    }
    let said = error.to_string();
    let said = said.rfind(" at line ").map_or(said.as_str(), |end| &said[..end]);
    if let Some(name) = said.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return wrong(name.to_owned(), "is required");
    }
    if said.starts_with("UUID parsing failed") {
        return wrong(field, "must be a UUID");
    }
    let typed = ["invalid type: ", "invalid value: ", "invalid length ", "unknown variant "].iter().any(|start| said.starts_with(start));
    match said.rfind(", expected ") {
        // The last one: a quoted value comes before it.
        Some(start) if typed => {
            let expected = &said[start + ", expected ".len()..];
            wrong(field, format!("must be {}", if expected.starts_with("struct ") { "an object" } else { expected }))
        }
        _ => wrong(field, "is not valid"),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::value::RawValue;
    use uuid::Uuid;

    use super::read;

    #[derive(Debug, Deserialize)]
    struct Body {
        id: Uuid,
        text: Option<String>,
        #[serde(default)]
        list: Vec<String>,
        raw: Option<Box<RawValue>>,
        kind: Option<Kind>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        One,
        Two,
    }

    const ID: &str = "0190A5E0-0000-7000-8000-000000000001";

    fn refused(body: &str) -> (String, String) {
        let violation = read::<Body>(body.as_bytes()).expect_err("this body must be refused");
        (violation.field.into_owned(), violation.message.into_owned())
    }

    #[test]
    fn every_wrong_body_names_its_field_and_repeats_no_value() {
        let table = [
            (String::new(), "id", "is required"),
            ("  ".into(), "id", "is required"),
            ("{}".into(), "id", "is required"),
            (r#"{"id":null}"#.into(), "id", "is required"),
            (r#"{"id":"secret"}"#.into(), "id", "must be a UUID"),
            (r#"{"id":{"secret":1}}"#.into(), "id", "must be a formatted UUID string"),
            (format!(r#"{{"id":"{ID}","text":["secret"]}}"#), "text", "must be a string"),
            (format!(r#"{{"id":"{ID}","list":"secret, expected secret"}}"#), "list", "must be a sequence"),
            (format!(r#"{{"id":"{ID}","list":[1]}}"#), "list", "must be a string"),
            (format!(r#"{{"id":"{ID}","kind":"secret, expected secret"}}"#), "kind", "must be `one` or `two`"),
            (format!(r#"{{"id":"{ID}","text":"a\u0000secret"}}"#), "text", "must not contain U+0000"),
            (format!(r#"{{"id":"{ID}","unknown":{{"a":["\u0000"]}}}}"#), "unknown", "must not contain U+0000"),
            (format!(r#"{{"id":"{ID}","raw":{{"\u0000":1}}}}"#), "raw", "must not contain U+0000"),
            (format!(r#"{{"id":"{ID}","se cret":"\u0000"}}"#), "body", "must not contain U+0000"),
            (format!(r#"{{"id":"{ID}","text":"\ud800"}}"#), "body", "is not JSON"),
            (format!(r#"{{"id":"{ID}","raw":"\ud800"}}"#), "body", "is not JSON"),
            (format!(r#"{{"id":"{ID}"}} trailing"#), "body", "is not JSON"),
            ("secret".into(), "body", "is not JSON"),
            (r#"{"id":"#.into(), "body", "is not JSON"),
            (format!(r#"["{ID}", null, []]"#), "body", "must be an object"),
            (r#""secret""#.into(), "body", "must be an object"),
            ("null".into(), "body", "must be an object"),
            ("[".repeat(100_000), "body", "is not JSON"),
        ];
        for (body, field, message) in table {
            let (named, said) = refused(&body);
            let shown: String = body.chars().take(60).collect();
            assert!(!named.contains("secret") && !said.contains("secret"), "{shown}: {named}: {said}");
            assert_eq!((named.as_str(), said.as_str()), (field, message), "{shown}");
        }
    }

    #[test]
    fn null_is_absent_unknown_fields_are_ignored_and_what_is_opaque_stays_byte_for_byte() {
        let body: Body = read(format!(r#"{{"id":"{ID}","text":null,"list":null,"raw":{{"b":null, "a":1.0}},"more":[null]}}"#).as_bytes())
            .expect("a good body");
        assert_eq!(body.id, Uuid::parse_str(ID).expect("a UUID"));
        assert_eq!((body.text, body.list, body.kind), (None, vec![], None));
        assert_eq!(body.raw.expect("it was sent").get(), r#"{"b":null, "a":1.0}"#);
    }

    #[test]
    fn an_escaped_character_beyond_the_basic_plane_is_read_as_one() {
        let body: Body = read(format!(r#"{{"id":"{ID}","text":"\ud83d\ude00 null"}}"#).as_bytes()).expect("a good body");
        assert_eq!(body.text.as_deref(), Some("😀 null"));
    }
}
