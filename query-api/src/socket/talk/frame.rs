//! A client's frame, read; and `error`, which says what was wrong with one.

use platform::auth::Caller;
use platform::http::{Problem, Valid, Validate, Violation, Violations};
use schemas::{MessageId, UserId};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// As long as a client's own name for a message may be. A longer one is said back by its beginning: that is enough to find it by, and no client can have megabytes of its own names wait for it.
const LONGEST_NAME: usize = 255;

/// What a client asks.
#[derive(Debug)]
pub enum Asked<'a> {
    /// To send this.
    Message(&'a RawValue),
    /// `None`: of a message that cannot exist.
    Read(Option<MessageId>),
    /// `None`: of a message that cannot exist.
    Delivered(Option<MessageId>),
    /// `None`: to a group.
    Typing(Option<UserId>, bool),
    /// Whether we are there.
    Ping,
    /// What came after this cursor; empty when it was none at all.
    Resume(String),
    /// Nothing that a server would do.
    Nothing,
}

/// Why a frame is refused.
#[derive(Debug)]
pub struct Refusal {
    pub problem: Problem,
    /// What the client called the message that it is about.
    pub client_id: Option<String>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    r#type: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Receipt {
    message_id: String,
}

#[derive(Deserialize)]
struct Typing {
    recipient_id: Option<UserId>,
    group_id: Option<IgnoredAny>,
    is_typing: bool,
}

impl Validate for Receipt {
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

impl Validate for Typing {
    fn validate(&self) -> Result<(), Violations> {
        Violations::new().when(self.recipient_id.is_none() && self.group_id.is_none(), "recipient_id", "is required").finish()
    }
}

/// Reads a frame. The type comes first, as a label for what is counted.
pub fn read<'a>(caller: &Caller, text: &'a str) -> (&'static str, Result<Asked<'a>, Refusal>) {
    let Envelope { r#type, payload } = match envelope(text) {
        Ok(envelope) => envelope,
        Err(problem) => return ("unreadable", Err(Refusal { problem, client_id: None })),
    };
    let Some(known) = r#type.as_deref().and_then(known) else {
        let problem = match r#type {
            Some(_) => Problem::bad_request("unknown_type", "There is no such type of frame"),
            None => invalid("type", "is required"),
        };
        return ("unknown", Err(Refusal { problem, client_id: client_id(payload) }));
    };
    (known, asked(caller, known, payload).map_err(|problem| Refusal { problem, client_id: client_id(payload) }))
}

/// Every type that clients send; groups' frames come with groups.
fn known(name: &str) -> Option<&'static str> {
    const KNOWN: [&str; 9] =
        ["message", "delivery_confirmation", "read", "read_confirmation", "typing", "contact_added", "ack", "ping", "resume"];
    KNOWN.into_iter().find(|known| *known == name)
}

fn asked<'a>(caller: &Caller, known: &str, payload: Option<&'a RawValue>) -> Result<Asked<'a>, Problem> {
    Ok(match known {
        "message" => Asked::Message(payload.ok_or_else(|| invalid("payload", "is required"))?),
        "read" | "read_confirmation" => Asked::Read(message(payload)?),
        "delivery_confirmation" | "ack" => Asked::Delivered(message(payload)?),
        "typing" => {
            let Valid { body: Typing { recipient_id, is_typing, .. }, .. } = Valid::read(bytes(payload), Some(caller))?;
            Asked::Typing(recipient_id, is_typing)
        }
        "ping" => Asked::Ping,
        "resume" => Asked::Resume(cursor(payload)),
        _ => Asked::Nothing,
    })
}

/// Derived types would read themselves from an array as well.
fn envelope(text: &str) -> Result<Envelope<'_>, Problem> {
    let wrong = |message| Problem::bad_request("invalid", message);
    if let Ok(envelope) = serde_json::from_str(text)
        && text.trim_ascii_start().starts_with('{')
    {
        return Ok(envelope);
    }
    let json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    Err(wrong(if json { "A frame is an object with a `type` and a `payload`" } else { "The frame is not JSON" }))
}

/// The message that a receipt is for. Clients invent names for messages: one that is no UUID is none of ours.
fn message(payload: Option<&RawValue>) -> Result<Option<MessageId>, Problem> {
    let Valid { body: Receipt { message_id }, .. } = Valid::read(bytes(payload), None)?;
    Ok(message_id.parse().ok())
}

fn cursor(payload: Option<&RawValue>) -> String {
    #[derive(Deserialize)]
    struct After {
        cursor: String,
    }
    payload.and_then(|payload| serde_json::from_str(payload.get()).ok()).map(|After { cursor }| cursor).unwrap_or_default()
}

/// What the client calls the message that a frame is about, if it says so: the first [`LONGEST_NAME`] bytes of it.
pub fn client_id(payload: Option<&RawValue>) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        message_id: String,
    }
    let Named { mut message_id } = serde_json::from_str(payload?.get()).ok()?;
    message_id.truncate(message_id.floor_char_boundary(LONGEST_NAME));
    (!message_id.is_empty()).then_some(message_id)
}

fn bytes(payload: Option<&RawValue>) -> &[u8] {
    payload.map_or(b"{}", |payload| payload.get().as_bytes())
}

fn invalid(field: &'static str, message: &'static str) -> Problem {
    Problem::invalid(vec![Violation { field: field.into(), message: message.into() }])
}

impl Refusal {
    /// The frame that says so.
    pub fn frame(&self) -> String {
        #[derive(Serialize)]
        struct Error<'a> {
            r#type: &'static str,
            code: &'a str,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            client_id: Option<&'a str>,
        }
        let Problem { code, detail, .. } = &self.problem;
        let error = Error { r#type: "error", code, detail, client_id: self.client_id.as_deref() };
        serde_json::to_string(&error).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::read;
    use platform::auth::Caller;
    use schemas::{SessionId, UserId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    const ID: Uuid = Uuid::from_u128(7);

    fn caller() -> Caller {
        Caller { user: UserId(Uuid::from_u128(1)), session: SessionId(Uuid::from_u128(2)), role: "user".into(), token_ends: 0 }
    }

    fn said(frame: &str) -> String {
        match read(&caller(), frame) {
            (label, Ok(asked)) => format!("{label}: {asked:?}"),
            (label, Err(refusal)) => {
                let frame: Value = serde_json::from_str(&refusal.frame()).expect("JSON");
                format!("{label}! {} {} {}", frame["code"], frame["detail"], frame["client_id"]).replace('"', "")
            }
        }
    }

    #[test]
    fn every_frame_of_the_contract_is_known() {
        let table = [
            (json!({"type": "message", "payload": {"a": 1}}), r#"message: Message(RawValue({"a":1}))"#.to_owned()),
            (json!({"type": "read", "payload": {"message_id": ID, "sender_id": "?"}}), format!("read: Read(Some({ID}))")),
            (json!({"type": "read_confirmation", "payload": {"message_id": ID}}), format!("read_confirmation: Read(Some({ID}))")),
            (json!({"type": "ack", "payload": {"message_id": ID}}), format!("ack: Delivered(Some({ID}))")),
            (
                json!({"type": "delivery_confirmation", "payload": {"message_id": ID, "group_id": null}}),
                format!("delivery_confirmation: Delivered(Some({ID}))"),
            ),
            (json!({"type": "typing", "payload": {"recipient_id": ID, "is_typing": true}}), format!("typing: Typing(Some({ID}), true)")),
            (json!({"type": "typing", "payload": {"group_id": "g", "is_typing": false}}), "typing: Typing(None, false)".to_owned()),
            (json!({"type": "contact_added", "payload": {"inviter_id": 1}}), "contact_added: Nothing".to_owned()),
            (json!({"type": "ping"}), "ping: Ping".to_owned()),
            (json!({"type": "ping", "payload": null, "more": []}), "ping: Ping".to_owned()),
            (json!({"type": "resume", "payload": {"cursor": "c"}}), "resume: Resume(\"c\")".to_owned()),
            (json!({"type": "resume", "payload": {"cursor": 5}}), "resume: Resume(\"\")".to_owned()),
            (json!({"type": "resume"}), "resume: Resume(\"\")".to_owned()),
        ];
        for (frame, expected) in table {
            assert_eq!(said(&frame.to_string()), expected);
        }
    }

    #[test]
    fn names_that_clients_invent_are_receipts_for_nothing() {
        assert_eq!(said(r#"{"type":"read","payload":{"message_id":"temp-1"}}"#), "read: Read(None)");
        assert_eq!(said(r#"{"type":"ack","payload":{"message_id":""}}"#), "ack: Delivered(None)");
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name_and_repeats_nothing_but_the_clients_own_id() {
        let table = [
            ("", "unreadable! invalid The frame is not JSON null"),
            ("secret", "unreadable! invalid The frame is not JSON null"),
            ("{\"type\":\"ping\"", "unreadable! invalid The frame is not JSON null"),
            ("{\"type\":\"ping\"} x", "unreadable! invalid The frame is not JSON null"),
            ("[\"ping\", {}]", "unreadable! invalid A frame is an object with a `type` and a `payload` null"),
            ("7", "unreadable! invalid A frame is an object with a `type` and a `payload` null"),
            (r#"{"type":7}"#, "unreadable! invalid A frame is an object with a `type` and a `payload` null"),
            ("{}", "unknown! invalid type: is required null"),
            (r#"{"type":"secret"}"#, "unknown! unknown_type There is no such type of frame null"),
            (r#"{"type":"Ping"}"#, "unknown! unknown_type There is no such type of frame null"),
            (r#"{"type":"group_message","payload":{"message_id":"m-1"}}"#, "unknown! unknown_type There is no such type of frame m-1"),
            (r#"{"type":"message"}"#, "message! invalid payload: is required null"),
            (r#"{"type":"read","payload":{}}"#, "read! invalid message_id: is required null"),
            (r#"{"type":"read","payload":[1]}"#, "read! invalid body: must be an object null"),
            (r#"{"type":"ack","payload":{"message_id":7}}"#, "ack! invalid message_id: must be a string null"),
            (r#"{"type":"typing","payload":{"is_typing":true}}"#, "typing! invalid recipient_id: is required null"),
            (r#"{"type":"typing","payload":{"recipient_id":"bob","is_typing":true}}"#, "typing! invalid recipient_id: must be a UUID null"),
            (
                r#"{"type":"typing","payload":{"recipient_id":"00000000-0000-0000-0000-000000000007"}}"#,
                "typing! invalid is_typing: is required null",
            ),
        ];
        for (frame, expected) in table {
            assert_eq!(said(frame), expected, "{frame}");
        }
        let deep = format!("{{\"type\":\"ping\",\"payload\":{}", "[".repeat(100_000));
        assert_eq!(said(&deep), "unreadable! invalid The frame is not JSON null");
    }

    #[test]
    fn a_refusal_names_what_the_client_named_and_of_a_name_that_is_too_long_the_beginning() {
        let named = |name: &str| said(&json!({"type": "?", "payload": {"message_id": name}}).to_string());
        let (whole, umlauts) = ("x".repeat(255), "ä".repeat(128));
        for (name, back) in [(whole.clone(), whole.as_str()), ("x".repeat(1 << 20), &whole), (umlauts.clone(), &umlauts[..254])] {
            assert_eq!(named(&name), format!("unknown! unknown_type There is no such type of frame {back}"));
        }
        assert_eq!(named(""), "unknown! unknown_type There is no such type of frame null");
    }
}
