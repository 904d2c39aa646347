//! An event as a Kafka record: CloudEvents 1.0, Kafka binding, binary mode.

use std::str::FromStr;

use rdkafka::Message;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use schemas::{CLOUD_EVENTS_TYPE_PREFIX, Metadata, Recorded, Topic, key_hash, schema_id};
use serde_json::value::RawValue;

/// The headers of an event whose predecessor in its partition stands at `prev`.
pub(crate) fn headers(event: &Recorded, prev: i64) -> OwnedHeaders {
    fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
        headers.insert(Header { key, value: Some(value) })
    }
    let (sequence, position, prev) = (event.sequence.to_string(), event.position.to_string(), prev.to_string());
    let mut headers = OwnedHeaders::new_with_capacity(17);
    for (key, value) in [
        ("content-type", "application/json"),
        ("ce_specversion", "1.0"),
        ("ce_id", &event.event_id.to_string()),
        ("ce_type", &format!("{CLOUD_EVENTS_TYPE_PREFIX}{}.v{}", event.event_type, event.event_version)),
        ("ce_source", &format!("/{}", event.topic.service())),
        ("ce_subject", &event.aggregate_id),
        ("ce_time", &event.recorded_at.to_string()),
        ("ce_dataschema", &schema_id(&event.event_type, &event.event_version)),
        ("ce_aggregatetype", &event.aggregate_type),
        ("ce_sequence", &sequence),
        ("ce_position", &position),
        ("ce_prevposition", &prev),
        ("ce_incarnation", &event.incarnation.to_string()),
        ("ce_correlationid", &event.metadata.correlation_id),
        ("ce_causationid", &event.metadata.causation_id),
        ("ce_actor", &event.metadata.actor),
    ] {
        headers = with(headers, key, value);
    }
    match &event.metadata.traceparent {
        Some(traceparent) => with(headers, "traceparent", traceparent),
        None => headers,
    }
}

/// Why a record is no event of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A header of the contract is missing.
    #[error("the header {0} is missing")]
    Missing(&'static str),
    /// A header, the key or the value cannot be read.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
}

/// Reads an event from a record.
///
/// # Errors
/// [`RecordError`]
pub fn decode(topic: Topic, message: &impl Message) -> Result<Recorded, RecordError> {
    let headers = Found::of(message)?;
    let event = headers.text("ce_type")?;
    let (event_type, event_version) =
        event.strip_prefix(CLOUD_EVENTS_TYPE_PREFIX).and_then(|name| name.rsplit_once(".v")).ok_or(RecordError::Unreadable("ce_type"))?;
    let key = message.key().and_then(|key| std::str::from_utf8(key).ok()).ok_or(RecordError::Unreadable("the key"))?;
    let value = message.payload().and_then(|value| std::str::from_utf8(value).ok()).ok_or(RecordError::Unreadable("the value"))?;
    Ok(Recorded {
        topic,
        incarnation: headers.read("ce_incarnation")?,
        position: headers.read("ce_position")?,
        prev_position: Some(headers.read("ce_prevposition")?),
        aggregate_type: headers.text("ce_aggregatetype")?.to_owned(),
        aggregate_id: headers.text("ce_subject")?.to_owned(),
        sequence: headers.read("ce_sequence")?,
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        payload: RawValue::from_string(value.to_owned()).map_err(|_| RecordError::Unreadable("the value"))?,
        metadata: Metadata {
            correlation_id: headers.text("ce_correlationid")?.to_owned(),
            causation_id: headers.text("ce_causationid")?.to_owned(),
            actor: headers.text("ce_actor")?.to_owned(),
            traceparent: headers.text("traceparent").ok().map(str::to_owned),
            digest: None,
            answer: None,
        },
        partition_key: key.to_owned(),
        key_hash: key_hash(key),
        event_id: headers.read("ce_id")?,
        recorded_at: headers.read("ce_time")?,
    })
}

/// All headers of a record, walked once.
struct Found<'m>(Vec<(&'m str, &'m [u8])>);

impl<'m> Found<'m> {
    fn of<M: Message>(message: &'m M) -> Result<Self, RecordError> {
        let headers = message.headers().ok_or(RecordError::Missing("ce_specversion"))?;
        Ok(Self(headers.iter().filter_map(|header| Some((header.key, header.value?))).collect()))
    }

    fn text(&self, name: &'static str) -> Result<&'m str, RecordError> {
        let (_, value) = self.0.iter().find(|(key, _)| *key == name).ok_or(RecordError::Missing(name))?;
        std::str::from_utf8(value).map_err(|_| RecordError::Unreadable(name))
    }

    fn read<T: FromStr>(&self, name: &'static str) -> Result<T, RecordError> {
        self.text(name)?.parse().map_err(|_| RecordError::Unreadable(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;
    use uuid::Uuid;

    fn event() -> Recorded {
        Recorded {
            topic: Topic::Messages,
            incarnation: Uuid::from_u128(7),
            position: 42,
            prev_position: None,
            aggregate_type: "message".into(),
            aggregate_id: Uuid::from_u128(1).to_string(),
            sequence: 3,
            event_type: "message.sent".into(),
            event_version: "12".into(),
            payload: RawValue::from_string(r#"{"a": "ü"}"#.into()).unwrap(),
            metadata: Metadata {
                correlation_id: "c".into(),
                causation_id: "d".into(),
                actor: "system".into(),
                traceparent: Some("00-1-2-01".into()),
                ..Metadata::default()
            },
            partition_key: "key".into(),
            key_hash: key_hash("key"),
            event_id: Uuid::from_u128(9),
            recorded_at: "2026-01-31T09:30:00.123456Z".parse().unwrap(),
        }
    }

    fn message(event: &Recorded, headers: Option<OwnedHeaders>) -> OwnedMessage {
        OwnedMessage::new(
            Some(event.payload.get().as_bytes().to_vec()),
            Some(event.partition_key.clone().into_bytes()),
            "messages.events".into(),
            Timestamp::NotAvailable,
            0,
            0,
            headers,
        )
    }

    #[test]
    fn an_event_survives_the_way_through_a_record_and_gains_its_predecessor() {
        let sent = event();
        let read = decode(Topic::Messages, &message(&sent, Some(headers(&sent, 40)))).unwrap();
        let expected = Recorded { prev_position: Some(40), ..sent };
        assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    }

    #[test]
    fn the_headers_are_those_of_the_contract() {
        let headers = headers(&event(), 40);
        let names: Vec<_> = headers.iter().map(|h| format!("{}={}", h.key, String::from_utf8_lossy(h.value.unwrap()))).collect();
        for expected in [
            "ce_specversion=1.0",
            "ce_type=postrider.message.sent.v12",
            "ce_source=/messages",
            "ce_prevposition=40",
            "ce_time=2026-01-31T09:30:00.123456Z",
        ] {
            assert!(names.iter().any(|name| name == expected), "{expected} in {names:?}");
        }
    }

    #[test]
    fn a_record_without_our_headers_is_no_event() {
        assert_eq!(decode(Topic::Messages, &message(&event(), None)).unwrap_err(), RecordError::Missing("ce_specversion"));
        assert_eq!(decode(Topic::Messages, &message(&event(), Some(OwnedHeaders::new()))).unwrap_err(), RecordError::Missing("ce_type"));
    }
}
