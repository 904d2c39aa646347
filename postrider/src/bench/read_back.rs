//! Reading back what was written, through the API, as those who may.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hyper::Method;
use indicatif::ProgressBar;
use serde::Deserialize;
use uuid::Uuid;

use crate::client::Client;

/// The largest page that the API gives.
const PAGE: usize = 1_000;
/// How long projections may stand still.
const STALLED: Duration = Duration::from_secs(60);

/// What was written into one conversation.
#[derive(Debug, Clone, Default)]
pub struct Written {
    ids: HashSet<Uuid>,
    /// The one with the highest position.
    newest: Option<(i64, Uuid)>,
}

impl Written {
    /// One more.
    pub fn add(&mut self, id: Uuid, position: i64) {
        self.ids.insert(id);
        self.newest = self.newest.max(Some((position, id)));
    }
}

#[derive(Debug, Deserialize)]
struct Row {
    id: Uuid,
}

/// Waits until the newest message can be read; projections keep their order, so then all others can.
pub async fn visible(reader: &mut Client, with: Uuid, written: &Written) -> Result<()> {
    let Some((_, newest)) = written.newest else { return Ok(()) };
    let (mut seen, mut moved) = (None, Instant::now());
    loop {
        let last = page(reader, with, 1, None).await?.last().map(|row| row.id);
        if last == Some(newest) {
            return Ok(());
        }
        if last != seen {
            (seen, moved) = (last, Instant::now());
        }
        ensure!(moved.elapsed() < STALLED, "message {newest} was written but cannot be read, and nothing has come for a minute");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Reads the conversation from its newest page to its oldest: exactly what was written stands there.
pub async fn whole(reader: &mut Client, with: Uuid, written: &Written, bar: &ProgressBar) -> Result<()> {
    let mut missing = written.ids.clone();
    let mut before = None;
    loop {
        let rows = page(reader, with, PAGE, before).await?;
        for row in &rows {
            ensure!(missing.remove(&row.id), "message {} stands twice, or was never written", row.id);
        }
        bar.inc(rows.len() as u64);
        before = rows.first().map(|row| row.id);
        if rows.len() < PAGE {
            break;
        }
    }
    match missing.len() {
        0 => Ok(()),
        n => bail!("{n} of {} messages that were written cannot be read", written.ids.len()),
    }
}

/// Median time of reading the newest thousand.
pub async fn newest_ms(reader: &mut Client, with: Uuid) -> Result<f64> {
    let mut times = Vec::new();
    for _ in 0..21 {
        let begin = Instant::now();
        let (status, _) = reader.request(Method::GET, &path(with, PAGE, None), None).await?;
        ensure!(status == 200, "the newest messages cannot be read: {status}");
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

async fn page(reader: &mut Client, with: Uuid, limit: usize, before: Option<Uuid>) -> Result<Vec<Row>> {
    let path = path(with, limit, before);
    let (status, body) = reader.request(Method::GET, &path, None).await?;
    ensure!(status == 200, "GET {path} answered {status}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).with_context(|| format!("GET {path} is not what the contract says"))
}

fn path(with: Uuid, limit: usize, before: Option<Uuid>) -> String {
    let before = before.map(|id| format!("&before={id}")).unwrap_or_default();
    format!("/api/v1/messages/conversation/{with}?limit={limit}{before}")
}
