//! `postrider events`: what happened, from a ledger or a broker, as a table or as JSON lines.

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;
use schemas::{Recorded, Topic};
use serde_json::json;

/// Prints events: of a topic, or of one aggregate. Personal data stays sealed.
#[derive(Debug, Args)]
pub struct Options {
    /// `messages` or `messages.events`, `auth`, …
    #[arg(long)]
    pub topic: Topic,
    /// Only one aggregate: `message/<id>`, `account/<id>`, …
    #[arg(long, value_name = "TYPE/ID")]
    pub aggregate: Option<String>,
    /// Only what stands after this position.
    #[arg(long, default_value_t = 0)]
    pub after: i64,
    /// At most so many; without `--after` and `--follow` the newest.
    #[arg(long, default_value_t = 100)]
    pub limit: i64,
    /// Go on with what is appended.
    #[arg(long)]
    pub follow: bool,
    /// Read the topic at the broker (`KAFKA_BROKERS`) instead of the ledger.
    #[arg(long, conflicts_with = "aggregate")]
    pub broker: bool,
    /// One JSON object per line instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Reads an aggregate as it was given.
pub fn aggregate(text: &str) -> Result<(&str, &str)> {
    match text.split_once('/') {
        Some((kind, id)) if !kind.is_empty() && !id.is_empty() => Ok((kind, id)),
        _ => bail!("`{text}` is not an aggregate: write its type and id, like message/0190…"),
    }
}

/// How often a ledger is looked at while it is followed.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(200);

/// The heading of the table.
pub fn heading() -> String {
    format!("{:>10}  {:<27}  {:<22}  {:>4}  {:<36}  {:>3}  {}", "position", "time", "type", "part", "aggregate", "seq", "actor")
}

/// One event as a row, or as a JSON line.
pub fn line(event: &Recorded, json: bool) -> Result<String> {
    if json {
        let line = json!({
            "topic": event.topic.name(1),
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
        return Ok(line.to_string());
    }
    Ok(format!(
        "{:>10}  {:<27}  {:<22}  {:>4}  {:<36}  {:>3}  {}",
        event.position,
        event.recorded_at.to_string(),
        event.event_type,
        event.partition(),
        event.aggregate_id,
        event.sequence,
        event.metadata.actor
    ))
}
