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
