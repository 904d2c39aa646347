//! The people who write to each other.

use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use futures::stream::{self, StreamExt, TryStreamExt};
use hyper::Method;
use indicatif::ProgressBar;
use serde_json::json;
use uuid::Uuid;

use crate::client::Client;

/// Of everybody that a bench registers.
pub const PASSWORD: &str = "a bench password";
/// Registrations under way at a time: more than the hasher has threads, so that it never waits for us, and far fewer than may queue for it.
const AT_ONCE: usize = 4;

/// How many of them write, and how.
#[derive(Debug, Args)]
pub struct WritingOptions {
    /// Pairs, each with connections of its own.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pairs: u32,
    /// How long to send.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Open loop: this many messages per second, whatever the answers do; latency counts from when a message was due. Without it each pair sends as soon as it has its answer.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Bytes of `encrypted_content`.
    #[arg(long, default_value_t = 600)]
    pub bytes: usize,
}

/// Who writes, and to whom; each with a connection of their own.
pub struct Pair {
    pub sender: Client,
    pub sender_id: Uuid,
    pub recipient: Client,
    pub recipient_id: Uuid,
}

/// The address of the `n`-th person of a run.
pub fn email(run: &str, n: u32) -> String {
    format!("bench-{run}-{n}@example.org")
}

/// Registers so many pairs of new people.
pub async fn register(url: &str, run: &str, pairs: u32, bar: &ProgressBar) -> Result<Vec<Pair>> {
    bar.set_length(u64::from(pairs) * 2);
    let url: Arc<str> = url.into();
    let people: Vec<(Client, Uuid)> = stream::iter(0..pairs * 2)
        .map(|n| {
            let url = url.clone();
            async move {
                let person = one(&url, run, n).await;
                bar.inc(1);
                person
            }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await
        .with_context(|| format!("people cannot be registered at {url}"))?;
    let mut people = people.into_iter();
    let mut made = Vec::new();
    while let (Some((sender, sender_id)), Some((recipient, recipient_id))) = (people.next(), people.next()) {
        made.push(Pair { sender, sender_id, recipient, recipient_id });
    }
    Ok(made)
}

async fn one(url: &str, run: &str, n: u32) -> Result<(Client, Uuid)> {
    let mut client = Client::new(url)?;
    let account = json!({ "email": email(run, n), "username": format!("bench-{run}-{n}"), "password": PASSWORD });
    let answer = client.json(Method::POST, "/api/v1/auth/register", Some(account)).await?;
    let token = answer["access_token"].as_str().context("no access_token")?;
    let id = answer["user"]["id"].as_str().context("no user.id")?.parse()?;
    Ok((client.with_token(token), id))
}
