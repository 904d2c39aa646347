//! From the versions that were written to the versions that are read.
//!
//! An upcaster lifts one event type from the versions below its own to its own (cqrs-es' trait). They run in the order of
//! the list, on reading only: what is stored never changes.

use cqrs_es::persist::{EventUpcaster, SerializedEvent};
use serde_json::value::{RawValue, to_raw_value};

use crate::{DecodeError, Recorded};

/// Every upcaster of this release. None yet: every event type is in its first version.
static UPCASTERS: &[&(dyn EventUpcaster + Sync)] = &[];

/// Lifts an event to its newest version; `None` when it is there already, which costs nothing.
pub(crate) fn lift(recorded: &Recorded) -> Result<Option<(String, Box<RawValue>)>, DecodeError> {
    lift_through(UPCASTERS, recorded)
}

fn lift_through(upcasters: &[&(dyn EventUpcaster + Sync)], recorded: &Recorded) -> Result<Option<(String, Box<RawValue>)>, DecodeError> {
    if !upcasters.iter().any(|u| u.can_upcast(&recorded.event_type, &recorded.event_version)) {
        return Ok(None);
    }
    let mut event = SerializedEvent {
        aggregate_id: recorded.aggregate_id.clone(),
        sequence: usize::try_from(recorded.sequence).unwrap_or(0),
        aggregate_type: recorded.aggregate_type.clone(),
        event_type: recorded.event_type.clone(),
        event_version: recorded.event_version.clone(),
        payload: serde_json::from_str(recorded.payload.get()).map_err(|e| DecodeError::malformed(recorded, &e))?,
        metadata: serde_json::Value::Null,
    };
    for upcaster in upcasters {
        if upcaster.can_upcast(&event.event_type, &event.event_version) {
            event = upcaster.upcast(event);
        }
    }
    let payload = to_raw_value(&event.payload).map_err(|e| DecodeError::malformed(recorded, &e))?;
    Ok(Some((event.event_version, payload)))
}

#[cfg(test)]
mod tests {
    use cqrs_es::persist::{EventUpcaster, SerializedEvent};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::lift_through;
    use crate::{Metadata, Recorded, Topic};

    /// Lifts `tea.made` by one version, noting it in the payload.
    struct Lifts(&'static str, &'static str);

    impl EventUpcaster for Lifts {
        fn can_upcast(&self, event_type: &str, event_version: &str) -> bool {
            event_type == "tea.made" && event_version == self.0
        }
        fn upcast(&self, mut event: SerializedEvent) -> SerializedEvent {
            if let Some(steps) = event.payload["steps"].as_array_mut() {
                steps.push(json!(format!("{} to {}", self.0, self.1)));
            }
            self.1.clone_into(&mut event.event_version);
            event
        }
    }

    static UPCASTERS: &[&(dyn EventUpcaster + Sync)] = &[&Lifts("1", "2"), &Lifts("2", "3")];

    fn recorded(event_type: &str, version: &str, payload: &str) -> Recorded {
        Recorded {
            topic: Topic::Messages,
            incarnation: Uuid::nil(),
            position: 1,
            prev_position: None,
            aggregate_type: "tea".to_owned(),
            aggregate_id: Uuid::nil().to_string(),
            sequence: 1,
            event_type: event_type.to_owned(),
            event_version: version.to_owned(),
            payload: serde_json::value::RawValue::from_string(payload.to_owned()).expect("JSON"),
            metadata: Metadata::default(),
            partition_key: String::new(),
            key_hash: 0,
            event_id: Uuid::nil(),
            recorded_at: "2026-01-31T09:30:00Z".parse().expect("a time"),
        }
    }

    fn lifted(event_type: &str, version: &str) -> Option<(String, Value)> {
        let lifted = lift_through(UPCASTERS, &recorded(event_type, version, r#"{"steps":[]}"#)).expect("it can be lifted");
        lifted.map(|(version, payload)| (version, serde_json::from_str(payload.get()).expect("JSON")))
    }

    #[test]
    fn an_old_event_is_lifted_step_by_step_to_the_newest_version() {
        assert_eq!(lifted("tea.made", "1"), Some(("3".to_owned(), json!({"steps": ["1 to 2", "2 to 3"]}))));
        assert_eq!(lifted("tea.made", "2"), Some(("3".to_owned(), json!({"steps": ["2 to 3"]}))));
    }

    #[test]
    fn what_is_newest_or_of_another_type_is_left_as_it_is() {
        assert_eq!(lifted("tea.made", "3"), None);
        assert_eq!(lifted("tea.drunk", "1"), None);
    }

    #[test]
    fn lifting_keeps_what_was_stored() {
        let event = recorded("tea.made", "1", r#"{"steps":[]}"#);
        let before = event.payload.get().to_owned();
        lift_through(UPCASTERS, &event).expect("it can be lifted");
        assert_eq!(event.payload.get(), before);
        let none: &[&(dyn EventUpcaster + Sync)] = &[];
        assert!(lift_through(none, &event).expect("nothing to do").is_none());
    }
}
