//! Checking what was counted: every acknowledged message is in its conversation exactly once, and pending for its recipient.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Client;

#[derive(Deserialize)]
struct Row {
    id: Uuid,
}

#[derive(Deserialize)]
struct Pending {
    messages: Vec<Row>,
}

/// Asks until all `acknowledged` messages from `sender` stand in the recipient's history and queue, for at most a minute; a message that stands twice is an error at once.
pub async fn settled(recipient: &mut Client, sender: Uuid, acknowledged: &[Uuid]) -> Result<()> {
    let begin = Instant::now();
    loop {
        let missing = missing(recipient, sender, acknowledged).await?;
        if missing.is_empty() {
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(60) {
            bail!("after a minute {} of {} acknowledged messages are missing, {} first", missing.len(), acknowledged.len(), missing[0]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn missing(recipient: &mut Client, sender: Uuid, acknowledged: &[Uuid]) -> Result<Vec<Uuid>> {
    let history: Vec<Row> = read(recipient, &format!("/api/v1/messages/conversation/{sender}")).await?;
    let pending: Pending = read(recipient, "/api/v1/relay/pending").await?;
    let (history, pending) = (counted(history.iter(), "history")?, counted(pending.messages.iter(), "the queue")?);
    Ok(acknowledged.iter().filter(|id| !history.contains_key(*id) || !pending.contains_key(*id)).copied().collect())
}

async fn read<T: serde::de::DeserializeOwned>(client: &mut Client, path: &str) -> Result<T> {
    let (status, body) = client.request(Method::GET, path, None).await?;
    if status != 200 {
        bail!("GET {path} answered {status}: {}", String::from_utf8_lossy(&body));
    }
    serde_json::from_slice(&body).with_context(|| format!("GET {path} is not what the contract says"))
}

fn counted<'a>(rows: impl Iterator<Item = &'a Row>, place: &str) -> Result<HashMap<Uuid, u32>> {
    let mut count = HashMap::new();
    for row in rows {
        let n = count.entry(row.id).or_insert(0);
        *n += 1;
        if *n > 1 {
            bail!("message {} stands twice in {place}", row.id);
        }
    }
    Ok(count)
}
