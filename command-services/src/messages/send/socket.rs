//! A send that came over a socket: the body of `POST /messages/send`, but its `message_id` may be any string.

use std::borrow::Cow;
use std::collections::BTreeMap;

use platform::auth::Caller;
use platform::http::{Problem, RequestContext, Valid, Violation};
use platform::ledger::{Committed, Context};
use schemas::messages::Via;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::Messages;
use super::body::{self, SendBody};
use super::{SendMessage, send};

/// What a client may call a message, in bytes.
const LONGEST_NAME: usize = 255;

/// Sends what a socket's `message` holds, with every check and refusal of `POST /messages/send`.
///
/// A `message_id` that is no UUID is the client's own name for the message, and comes back as its `client_id`. A repeat under such a name is the same message only
/// when everything else is the same too: names are not expected to be unique.
///
/// # Errors
/// As over HTTP.
pub async fn by_socket(messages: &Messages, caller: &Caller, request: RequestContext, payload: &str) -> Result<Committed, Problem> {
    let (name, payload) = named(payload)?;
    let Valid { body, .. } = Valid::<SendBody>::read(payload.as_bytes(), Some(caller))?;
    let mut command = SendMessage::of(caller, body, Via::Socket)?;
    if let Some(name) = name {
        command.draft.message_id = schemas::message_id_of_client(caller.user, &command.digest, &name);
        command.draft.client_id = Some(name);
        command.minted_by_client = true;
    }
    Ok(send(messages, Context::of_user(caller.user, request), command).await?)
}

/// Takes a `message_id` that is no UUID out of a payload.
fn named(payload: &str) -> Result<(Option<String>, Cow<'_, str>), Problem> {
    #[derive(Deserialize)]
    struct Named {
        message_id: Option<Value>,
    }
    let wrong = |message| vec![Violation { field: "message_id".into(), message }];
    let name = match serde_json::from_str(payload) {
        Ok(Named { message_id: Some(Value::String(name)) }) if !is_uuid(&name) => name,
        Ok(Named { message_id: Some(Value::String(_)) | None }) => return Ok((None, Cow::Borrowed(payload))),
        Ok(Named { message_id: Some(_) }) => return Err(Problem::invalid(wrong("must be a string".into()))),
        // What else may be wrong with it will be said by whoever reads all of it.
        Err(_) => return Ok((None, Cow::Borrowed(payload))),
    };
    if name.len() > LONGEST_NAME {
        return Err(body::too_large(wrong("must be at most 255 bytes".into())));
    }
    if name.contains('\0') {
        return Err(Problem::invalid(wrong("must not contain U+0000".into())));
    }
    let mut members: BTreeMap<String, &RawValue> = serde_json::from_str(payload).map_err(|_| Problem::internal())?;
    members.remove("message_id");
    let rest = serde_json::to_string(&members).map_err(|_| Problem::internal())?;
    Ok((Some(name).filter(|name| !name.is_empty()), Cow::Owned(rest)))
}

/// The hyphenated form alone: a parser of UUIDs takes others as well, and their senders would not know them again.
fn is_uuid(name: &str) -> bool {
    name.len() == 36 && uuid::Uuid::parse_str(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::named;

    fn name_of(payload: &str) -> Option<String> {
        named(payload).expect("nothing is wrong with its name").0
    }

    #[test]
    fn a_name_that_is_no_uuid_is_taken_out_and_everything_else_stays_byte_for_byte() {
        let payload = r#"{"recipient_id":"x","message_id":"temp-17 ✓","signatures":{"b":1.0, "a":null}}"#;
        let (name, rest) = named(payload).expect("nothing is wrong with it");
        assert_eq!(name.as_deref(), Some("temp-17 ✓"));
        assert_eq!(rest, r#"{"recipient_id":"x","signatures":{"b":1.0, "a":null}}"#);
        assert_eq!(name_of(r#"{"message_id":"0190a5e07c1d7c3a9d534b6f1c2d3e4f"}"#).as_deref(), Some("0190a5e07c1d7c3a9d534b6f1c2d3e4f"));
    }

    #[test]
    fn a_uuid_nothing_and_what_cannot_be_read_stay_where_they_are() {
        for payload in [
            r#"{"message_id":"0190A5E0-7C1D-7C3A-9D53-4B6F1C2D3E4F"}"#,
            r#"{"message_id":null}"#,
            r#"{"message_id":"a","message_id":"b"}"#,
            r#"{"message_id":"\ud800"}"#,
            "{}",
            "[]",
            "no JSON",
        ] {
            let (name, rest) = named(payload).expect("nothing is wrong with its name");
            assert_eq!((name, rest.as_ref()), (None, payload));
        }
        assert_eq!(name_of(r#"{"message_id":""}"#), None);
    }

    #[test]
    fn a_name_has_a_length_and_no_nul() {
        assert!(named(&format!(r#"{{"message_id":"{}"}}"#, "x".repeat(255))).is_ok());
        let codes = [format!(r#"{{"message_id":"{}"}}"#, "x".repeat(256)), r#"{"message_id":"a\u0000"}"#.to_owned()]
            .map(|payload| named(&payload).expect_err("it is none").code);
        assert_eq!(codes, ["too_large", "invalid"]);
    }

    #[test]
    fn what_is_no_string_is_refused_as_such() {
        for odd in ["7", "[]", "{}", "true"] {
            let refused = named(&format!(r#"{{"message_id":{odd}}}"#)).expect_err("it is none");
            assert_eq!(refused.detail, "message_id: must be a string", "{odd}");
        }
    }
}
