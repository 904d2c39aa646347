//! What a client sends, and what is wrong with it.

use std::borrow::Cow;

use axum::http::StatusCode;
use platform::http::{Problem, Validate, Violation, Violations};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use schemas::{MessageId, UserId};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use uuid::Uuid;

use super::super::message::Ciphertext;

/// A message as it is sent. Fields that only some routes know are ignored by the others.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct SendBody {
    /// Chosen by the client, so that it can repeat the request. Left out: the server chooses.
    pub message_id: Option<MessageId>,
    /// To whom.
    pub recipient_id: UserId,
    /// Opaque text, at most 256 KiB; may be empty when the message is only a file.
    #[schemars(length(max = 262_144))]
    pub encrypted_content: String,
    /// Opaque text, at most 16 KiB.
    #[schemars(length(max = 16_384))]
    pub encrypted_session_key: String,
    /// The same content, readable for its sender: opaque text, at most 256 KiB.
    #[schemars(length(max = 262_144))]
    pub sender_encrypted_content: Option<String>,
    /// Left out: `v1`.
    #[schemars(length(max = 255))]
    pub crypto_version: Option<String>,
    /// Left out: `ECDH-AES256-GCM`.
    #[schemars(length(max = 255))]
    pub encryption_algorithm: Option<String>,
    /// Left out: `HKDF-SHA256`.
    #[schemars(length(max = 255))]
    pub kdf_algorithm: Option<String>,
    /// Any JSON of at most 32 KiB; comes back as it was sent.
    pub signatures: Option<Value>,
    /// The message that this one answers.
    pub reply_to: Option<MessageId>,
    /// Ids of the sender's own uploads. What is no id of one is dropped.
    pub media_ids: Option<Vec<Value>>,
    /// The same in the frontend's form: objects with an `id`.
    #[schemars(skip)]
    pub media_refs: Option<Vec<Value>>,
    #[expect(dead_code, reason = "checked for its type only: whether there are media, the server knows better")]
    #[schemars(skip)]
    pub has_media: Option<bool>,
    /// Of the relay's routes: see [`SendBody::ttl_days`].
    #[schemars(skip)]
    pub ttl_days: Option<Value>,
    #[schemars(skip)]
    pub sender_id: Option<UserId>,
    #[schemars(skip)]
    pub user_id: Option<UserId>,
    #[schemars(skip)]
    #[serde(default, deserialize_with = "when_it_is_one")]
    pub current_user_id: Option<UserId>,
}

/// A [`SendBody`] of the relay's routes, which know a few fields more.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct RelayBody(pub SendBody);

/// What only the relay's routes know.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is shown")]
struct OfRelay {
    /// For how many days it waits for its recipient. Left out: 7.
    #[schemars(range(min = 1, max = 30))]
    ttl_days: Option<u8>,
    /// Uploads in the frontend's form: objects with an `id`, which attach what `media_ids` would. Everything else in them is dropped.
    media_refs: Option<Vec<Value>>,
    /// Whether the sender attaches something. The server knows better.
    has_media: Option<bool>,
}

impl JsonSchema for RelayBody {
    fn schema_name() -> Cow<'static, str> {
        "RelayBody".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = SendBody::json_schema(generator);
        let more = OfRelay::json_schema(generator);
        if let (Some(fields), Some(more)) =
            (schema.ensure_object().get_mut("properties").and_then(Value::as_object_mut), more.get("properties").and_then(Value::as_object))
        {
            fields.extend(more.clone());
        }
        schema
    }
}

/// Old clients send whatever they have there: only a UUID says anything.
pub(crate) fn when_it_is_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UserId>, D::Error> {
    Ok(Value::deserialize(deserializer)?.as_str().and_then(|text| text.parse().ok()))
}

impl Validate for RelayBody {
    fn validate(&self) -> Result<(), Violations> {
        self.0.validate()
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        self.0.must_be_caller()
    }
}

impl Validate for SendBody {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.sender_id, self.user_id, self.current_user_id]
    }
}

const KIB: usize = 1024;
const DEFAULT_TTL_DAYS: i64 = 7;

impl SendBody {
    /// How many days the message waits: an integer from 1 to 30, 7 when none is named.
    ///
    /// # Errors
    /// 422
    pub fn ttl_days(&self) -> Result<i64, Problem> {
        match &self.ttl_days {
            None => Ok(DEFAULT_TTL_DAYS),
            Some(days) => whole(days).filter(|days| (1..=30).contains(days)).ok_or_else(|| {
                Problem::invalid(vec![Violation { field: "ttl_days".into(), message: "must be an integer from 1 to 30".into() }])
            }),
        }
    }

    /// Every upload that the message asks to carry, however it was named.
    pub fn media(&self) -> Vec<Uuid> {
        let ids = self.media_ids.iter().flatten();
        let refs = self.media_refs.iter().flatten().filter_map(|media| media.get("id"));
        let mut media: Vec<Uuid> = ids.chain(refs).filter_map(|id| id.as_str()?.parse().ok()).collect();
        media.sort_unstable();
        media.dedup();
        media
    }

    /// The message itself, with the contract's defaults for what was left out, when nothing of it is too large. `signatures` is their length as JSON.
    ///
    /// # Errors
    /// 422 `too_large`
    pub fn into_content(self, signatures: usize) -> Result<Ciphertext, Problem> {
        let content = Ciphertext {
            encrypted_content: self.encrypted_content,
            encrypted_session_key: self.encrypted_session_key,
            sender_encrypted_content: self.sender_encrypted_content,
            crypto_version: self.crypto_version.unwrap_or_else(|| "v1".into()),
            encryption_algorithm: self.encryption_algorithm.unwrap_or_else(|| "ECDH-AES256-GCM".into()),
            kdf_algorithm: self.kdf_algorithm.unwrap_or_else(|| "HKDF-SHA256".into()),
            signatures: self.signatures,
        };
        let mut large = Violations::new();
        let mut at_most = |field: &'static str, text: &str, limit: usize, sentence: &'static str| {
            large.when(is_longer(text, limit), field, sentence);
        };
        at_most("encrypted_content", &content.encrypted_content, 256 * KIB, "must be at most 256 KiB");
        at_most("encrypted_session_key", &content.encrypted_session_key, 16 * KIB, "must be at most 16 KiB");
        at_most(
            "sender_encrypted_content",
            content.sender_encrypted_content.as_deref().unwrap_or(""),
            256 * KIB,
            "must be at most 256 KiB",
        );
        at_most("crypto_version", &content.crypto_version, 255, "must be at most 255 bytes");
        at_most("encryption_algorithm", &content.encryption_algorithm, 255, "must be at most 255 bytes");
        at_most("kdf_algorithm", &content.kdf_algorithm, 255, "must be at most 255 bytes");
        large.when(signatures > 32 * KIB, "signatures", "must be at most 32 KiB");
        large.finish().map_err(|Violations(errors)| too_large(errors))?;
        Ok(content)
    }
}

/// A whole number, also one that is written `7.0`: JSON has no other kind.
fn whole(number: &Value) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "between -100 and 100")]
    number.as_i64().or_else(|| number.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 100.0).map(|number| number as i64))
}

/// More than a message may weigh.
pub fn too_large(errors: Vec<Violation>) -> Problem {
    Problem { status: StatusCode::UNPROCESSABLE_ENTITY, code: "too_large", ..Problem::invalid(errors) }
}

/// Whether a text is longer than a limit once it is JSON, its quotes not counted: every control character becomes six bytes there.
fn is_longer(text: &str, limit: usize) -> bool {
    if text.len() > limit {
        return true;
    }
    // Most are so short that no escaping could make them too long.
    text.len() * 6 > limit && text.len() + text.bytes().map(added_by_escaping).sum::<usize>() > limit
}

fn added_by_escaping(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\x08' | b'\t' | b'\n' | b'\x0c' | b'\r' => 1,
        0..=0x1f => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{SendBody, is_longer};
    use platform::http::Validate;
    use schemas::UserId;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn parsed(change: Value) -> Result<SendBody, serde_json::Error> {
        let mut body = json!({"recipient_id": Uuid::from_u128(2), "encrypted_content": "c", "encrypted_session_key": "k"});
        for (name, value) in change.as_object().expect("an object") {
            body[name] = value.clone();
        }
        serde_json::from_value(body)
    }

    #[test]
    fn what_the_frontend_sends_is_taken_as_it_comes() {
        for body in [
            json!({}),
            json!({"encrypted_content": "", "encrypted_session_key": ""}),
            json!({"message_id": null, "sender_encrypted_content": null, "crypto_version": null, "signatures": null, "reply_to": null, "media_ids": null}),
            json!({"signatures": []}),
            json!({"signatures": {"any": [1, null]}}),
            json!({"signatures": "text"}),
            json!({"media_ids": [], "media_refs": [], "has_media": true}),
            json!({"media_ids": ["no uuid", 7], "media_refs": [{"no": "id"}, "x", {"id": 5}]}),
            json!({"current_user_id": "undefined"}),
            json!({"current_user_id": 7}),
            json!({"message_id": "F47AC10B-58CC-4372-A567-0E02B2C3D479"}),
            json!({"something": "else"}),
        ] {
            let parsed = parsed(body.clone()).unwrap_or_else(|error| panic!("{body}: {error}"));
            assert!(parsed.into_content(0).is_ok(), "{body}");
        }
    }

    #[test]
    fn what_has_the_wrong_shape_is_not() {
        for body in [
            json!({"recipient_id": null}),
            json!({"recipient_id": "bob"}),
            json!({"encrypted_content": null}),
            json!({"encrypted_content": 5}),
            json!({"encrypted_session_key": {}}),
            json!({"message_id": "1"}),
            json!({"message_id": 1}),
            json!({"reply_to": "that one"}),
            json!({"has_media": "yes"}),
            json!({"sender_id": "me"}),
            json!({"media_ids": "one"}),
            json!({"media_refs": {}}),
            json!({"crypto_version": 1}),
        ] {
            assert!(parsed(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn every_field_that_could_name_the_caller_is_held_against_them() {
        let (me, you) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let body = parsed(json!({"sender_id": me, "user_id": you, "current_user_id": me})).expect("it is one");
        assert_eq!(body.must_be_caller(), [Some(UserId(me)), Some(UserId(you)), Some(UserId(me))]);
    }

    #[test]
    fn a_message_waits_for_1_to_30_days() {
        for (days, expected) in [
            (json!({}), Some(7)),
            (json!({"ttl_days": null}), Some(7)),
            (json!({"ttl_days": 1}), Some(1)),
            (json!({"ttl_days": 30}), Some(30)),
            (json!({"ttl_days": 0}), None),
            (json!({"ttl_days": 31}), None),
            (json!({"ttl_days": -1}), None),
            (json!({"ttl_days": 1.5}), None),
            (json!({"ttl_days": 7.0}), Some(7)),
            (json!({"ttl_days": "7"}), None),
            (json!({"ttl_days": true}), None),
            (json!({"ttl_days": 18_446_744_073_709_551_615_u64}), None),
        ] {
            let answer = parsed(days.clone()).expect("it is one").ttl_days();
            assert_eq!(answer.as_ref().ok(), expected.as_ref(), "{days}");
            assert!(answer.err().is_none_or(|problem| problem.status.as_u16() == 422));
        }
    }

    #[test]
    fn uploads_are_named_by_id_or_by_reference_and_count_once() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let body = parsed(json!({"media_ids": [b, "x"], "media_refs": [{"id": a}, {"id": b}, {}]})).expect("it is one");
        assert_eq!(body.media(), [a, b]);
    }

    #[test]
    fn sizes_are_measured_as_encoded_json() {
        for text in ["", "plain", "\"\\/\u{8}\t\n\u{c}\r", "\u{1}\u{1f}\u{7f}", "grüße ✓ 👍"] {
            let encoded = serde_json::to_string(text).expect("a string").len() - 2;
            assert!(!is_longer(text, encoded), "{text:?}");
            assert!(encoded == 0 || is_longer(text, encoded - 1), "{text:?}");
        }
    }

    #[test]
    fn each_field_has_its_own_limit() {
        let kib = |n: usize| "x".repeat(n * 1024);
        for (field, limit) in [
            ("encrypted_content", kib(256)),
            ("sender_encrypted_content", kib(256)),
            ("encrypted_session_key", kib(16)),
            ("crypto_version", "x".repeat(255)),
            ("encryption_algorithm", "x".repeat(255)),
            ("kdf_algorithm", "x".repeat(255)),
        ] {
            assert!(parsed(json!({field: limit})).expect("it is one").into_content(0).is_ok(), "{field}");
            let problem = parsed(json!({field: limit.clone() + "x"})).expect("it is one").into_content(0).expect_err("too large");
            assert_eq!((problem.status.as_u16(), problem.code, problem.errors[0].field.as_ref()), (422, "too_large", field));
            let escaped = format!("{}\u{1}", &limit[6..]);
            assert!(parsed(json!({field: escaped})).expect("it is one").into_content(0).is_ok(), "{field}");
            let escaped = format!("{}\u{1}", &limit[5..]);
            assert!(parsed(json!({field: escaped})).expect("it is one").into_content(0).is_err(), "{field}");
        }
        assert!(parsed(json!({})).expect("it is one").into_content(32 * 1024).is_ok());
        assert_eq!(parsed(json!({})).expect("it is one").into_content(32 * 1024 + 1).expect_err("too large").code, "too_large");
    }
}
