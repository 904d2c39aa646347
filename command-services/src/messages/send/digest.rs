//! What makes two sends the same message.
//!
//! The digest stands in the event's metadata for ever, so what goes into it never changes within a version: sender, recipient and
//! content, with the contract's defaults in place of what was left out. Not the route, not how long the message waits.

use schemas::{MessageId, UserId};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::super::message::Ciphertext;

/// JSON in one form whatever its spacing and the order of its members: members sorted by name, nothing between tokens.
///
/// Its length is also its size as encoded JSON.
pub fn canonical(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(values) => {
            out.push(b'[');
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                write(value, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_str());
            out.push(b'{');
            for (n, (name, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                scalar(name, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
        value => scalar(value, out),
    }
}

fn scalar(value: impl serde::Serialize, out: &mut Vec<u8>) {
    serde_json::to_writer(out, &value).expect("a Vec takes every string, number and literal");
}

/// The digest of a send, in hex.
pub fn of(
    sender: UserId,
    recipient: UserId,
    content: &Ciphertext,
    signatures: Option<&[u8]>,
    media: &[Uuid],
    reply_to: Option<MessageId>,
) -> String {
    let mut digest = Fields(Sha256::new_with_prefix(b"postrider.message.send.v1"));
    digest.field(Some(sender.0.as_bytes()));
    digest.field(Some(recipient.0.as_bytes()));
    digest.field(Some(content.encrypted_content.as_bytes()));
    digest.field(Some(content.encrypted_session_key.as_bytes()));
    digest.field(content.sender_encrypted_content.as_deref().map(str::as_bytes));
    digest.field(Some(content.crypto_version.as_bytes()));
    digest.field(Some(content.encryption_algorithm.as_bytes()));
    digest.field(Some(content.kdf_algorithm.as_bytes()));
    digest.field(signatures);
    digest.field(reply_to.as_ref().map(|id| &id.0.as_bytes()[..]));
    for media in media {
        digest.field(Some(media.as_bytes()));
    }
    hex(&digest.0.finalize())
}

/// Each field with its length before it, so that no two lists of fields are written alike.
struct Fields(Sha256);

impl Fields {
    fn field(&mut self, value: Option<&[u8]>) {
        let length = value.map_or(u64::MAX, |bytes| u64::try_from(bytes.len()).expect("no text is that long"));
        self.0.update(length.to_be_bytes());
        self.0.update(value.unwrap_or_default());
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::super::message::tests::draft;
    use super::super::super::message::{Ciphertext, Draft};
    use super::{canonical, of};
    use proptest::prelude::*;
    use schemas::{MessageId, UserId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn digest(draft: &Draft, media: &[Uuid]) -> String {
        let signatures = draft.content.signatures.as_ref().map(canonical);
        of(draft.sender_id, draft.recipient_id, &draft.content, signatures.as_deref(), media, draft.reply_to)
    }

    #[test]
    fn the_digest_of_a_message_never_changes_between_releases() {
        assert_eq!(digest(&draft(), &[]), "1e1cf301d518a9d951500a7f5aff93e2d8ab8518e86efc98c306e81442027d8e");
    }

    #[test]
    fn everything_that_a_message_says_is_in_its_digest() {
        let content = |change: fn(&mut Ciphertext)| {
            let mut draft = draft();
            change(&mut draft.content);
            draft
        };
        let mut digests: Vec<String> = [
            draft(),
            Draft { sender_id: UserId(Uuid::from_u128(9)), ..draft() },
            Draft { recipient_id: UserId(Uuid::from_u128(9)), ..draft() },
            Draft { reply_to: Some(MessageId(Uuid::from_u128(9))), ..draft() },
            content(|c| c.encrypted_content.push('x')),
            content(|c| c.encrypted_session_key.push('x')),
            content(|c| c.sender_encrypted_content = Some(String::new())),
            content(|c| c.sender_encrypted_content = Some("x".into())),
            content(|c| c.crypto_version.push('x')),
            content(|c| c.encryption_algorithm.push('x')),
            content(|c| c.kdf_algorithm.push('x')),
            content(|c| c.signatures = Some(json!([]))),
            content(|c| c.signatures = Some(json!([1]))),
            content(|c| {
                // What one field loses its neighbour gains.
                c.encrypted_content = "conten".into();
                c.encrypted_session_key = "tkey".into();
            }),
        ]
        .iter()
        .map(|draft| digest(draft, &[]))
        .collect();
        digests.push(digest(&draft(), &[Uuid::from_u128(9)]));
        let all = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), all);
    }

    #[test]
    fn how_and_how_long_it_was_sent_is_not() {
        let elsewhere =
            Draft { via: schemas::messages::Via::Relay, expires_at: "2030-01-01T00:00:00Z".parse().expect("a time"), ..draft() };
        assert_eq!(digest(&elsewhere, &[]), digest(&draft(), &[]));
    }

    #[test]
    fn members_are_sorted_at_every_depth() {
        let value: Value = serde_json::from_str(r#" {"b": [ {"z":1, "a" : "\u00e9\n"} ], "a": 1.50, "A": null} "#).expect("JSON");
        assert_eq!(String::from_utf8(canonical(&value)).expect("text"), r#"{"A":null,"a":1.5,"b":[{"a":"é\n","z":1}]}"#);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_canonical_form_says_the_same_and_is_as_long_as_any_other(value in any_json()) {
            let form = canonical(&value);
            prop_assert_eq!(&serde_json::from_slice::<Value>(&form).expect("JSON"), &value);
            prop_assert_eq!(form.len(), value.to_string().len());
        }
    }
}
