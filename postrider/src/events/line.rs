//! One event, for people or for machines.

use schemas::Recorded;
use serde_json::json;

/// The heading of the table.
pub fn heading() -> String {
    row(["position", "time", "event", "part", "aggregate", "seq", "actor"])
}

/// One event as a row, or as a JSON line. What is sealed stays sealed.
pub fn line(event: &Recorded, json: bool) -> String {
    if json {
        let line = json!({
            "topic": event.topic.service(),
            "partition": event.partition(),
            "position": event.position,
            "prev_position": event.prev_position,
            "incarnation": event.incarnation,
            "type": event.event_type,
            "version": event.event_version,
            "aggregate_type": event.aggregate_type,
            "aggregate_id": event.aggregate_id,
            "sequence": event.sequence,
            "event_id": event.event_id,
            "time": event.recorded_at,
            "partition_key": event.partition_key,
            "metadata": event.metadata,
            "payload": event.payload,
        });
        return line.to_string();
    }
    row([
        &event.position.to_string(),
        &event.recorded_at.to_string(),
        &format!("{}.v{}", event.event_type, event.event_version),
        &event.partition().to_string(),
        &format!("{}/{}", event.aggregate_type, event.aggregate_id),
        &event.sequence.to_string(),
        &event.metadata.actor,
    ])
}

fn row([position, time, kind, part, aggregate, sequence, actor]: [&str; 7]) -> String {
    format!("{position:>9}  {time:<27}  {kind:<22}  {part:>4}  {aggregate:<44}  {sequence:>3}  {actor}")
}
