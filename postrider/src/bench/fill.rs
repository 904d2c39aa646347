//! `postrider bench fill`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use futures::stream::{self, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use platform::config::{Config, ServerUrl, Sources};
use platform::ledger::{Append, Ledger, LedgerConfig, NewEvent, lookup_options};
use platform::postgres::{Databases, Service};
use platform::private::DataDir;
use platform::shutdown::Shutdown;
use schemas::messages::{MessageEvent, MessageSent, Via};
use schemas::{Event, MessageId, Metadata, Timestamp, Topic, UserId, conversation_id};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use time::OffsetDateTime;
use uuid::Uuid;

use super::TargetOptions;
use super::pairs::{self, Pair};
use super::read_back::{self, Written};
use super::report::Filled;
use super::target::Target;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// Appends under way: two batches of the writer, so that one is encoded while the other commits.
const AT_ONCE: usize = 2_000;
/// How long the configured database may take to know the people whom the running system has registered.
const SAME_SYSTEM: Duration = Duration::from_secs(10);

/// Writes messages between registered people straight into the ledger, and waits until they can be read through the API.
///
/// Without `--url` into a system of its own, which is removed afterwards unless `--keep` names a directory; with it, into the database of a running one,
/// which is found as `up` finds it (settings, or the private server of the data directory). At the end every message that was written has been read back.
#[derive(Debug, Args)]
pub struct Options {
    #[command(flatten)]
    target: TargetOptions,
    /// Messages to write.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    /// So many of them in one conversation; the others are spread over the pairs.
    #[arg(long, value_name = "N", default_value_t = 0)]
    conversation_of: u64,
    /// Pairs of people, registered first.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pairs: u32,
    /// Bytes of `encrypted_content`.
    #[arg(long, default_value_t = 600)]
    bytes: usize,
    /// Keep the data of the system that is started, in this directory: `postrider up --data-dir DIR` goes on with it.
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    keep: Option<PathBuf>,
}

/// Runs it.
pub async fn run(options: Options, flags: Flags) -> Result<()> {
    if let Some(keep) = &options.keep {
        std::fs::create_dir_all(keep).with_context(|| format!("{} cannot be made", keep.display()))?;
    }
    let keep = options.keep.as_ref().map(std::fs::canonicalize).transpose()?;
    let mut target = Target::open_on(&options.target, keep).await?;
    let filled = fill(&options, flags, &mut target).await;
    target.close().await?;
    let filled = filled?;
    if options.target.json {
        println!("{}", serde_json::to_string(&filled)?);
    } else {
        print!("{}", filled.table());
    }
    Ok(())
}

async fn fill(options: &Options, flags: Flags, target: &mut Target) -> Result<Filled> {
    let run = Uuid::now_v7().simple().to_string();
    let registering = options.target.bar(0, "registering");
    let mut pairs = pairs::register(&target.url, &run, options.pairs, &registering).await?;
    registering.finish_and_clear();

    let shares = shares(options);
    let (written, begin) = into(options, flags, target, &pairs, &shares).await?;
    let seconds = begin.elapsed().as_secs_f64();

    let reading = options.target.bar(options.events, "reading back");
    for (pair, written) in pairs.iter_mut().zip(&written) {
        read_back::visible(&mut pair.recipient, pair.sender_id, written).await?;
    }
    let projected = begin.elapsed().as_secs_f64();
    for (pair, written) in pairs.iter_mut().zip(&written) {
        read_back::whole(&mut pair.recipient, pair.sender_id, written, &reading).await?;
    }
    reading.finish_and_clear();
    let largest = &mut pairs[0];
    let newest_1000_ms = read_back::newest_ms(&mut largest.recipient, largest.sender_id).await?;
    let ready_again_ms = target.restart().await?.map(|after| after.as_secs_f64() * 1000.0);
    #[expect(clippy::cast_precision_loss, reason = "a display figure")]
    let events = options.events as f64;
    Ok(Filled {
        events: options.events,
        largest_conversation: shares[0],
        seconds,
        rate: events / seconds,
        projected_rate: events / projected,
        newest_1000_ms,
        ready_again_ms,
        resident_mib_by_process: target.resident_mib(),
        read_as: pairs::email(&run, 1),
        password: pairs::PASSWORD.to_owned(),
        with: pairs[0].sender_id,
    })
}

impl Options {
    /// So many messages into what is measured.
    pub fn of(target: &TargetOptions, events: u64) -> Self {
        Self { target: target.clone(), events, conversation_of: 0, pairs: 1, bytes: 600, keep: None }
    }
}

/// Writes each pair's share into the target's ledger; what was written, and since when.
pub async fn into(options: &Options, flags: Flags, target: &Target, pairs: &[Pair], shares: &[u64]) -> Result<(Vec<Written>, Instant)> {
    let (config, beside) = database(flags, target).await?;
    let written = async {
        let databases = beside.databases(&config).await?;
        append(options, &databases, &config, pairs, shares).await
    };
    let written = written.await;
    beside.close().await;
    written
}

/// How many messages each pair gets.
fn shares(options: &Options) -> Vec<u64> {
    let pairs = u64::from(options.pairs);
    let one = options.conversation_of.min(options.events);
    let rest = options.events - one;
    (0..pairs).map(|n| rest / pairs + u64::from(n < rest % pairs) + if n == 0 { one } else { 0 }).collect()
}

/// The database of the target: the private one of what was started, or what the settings say of the one that runs.
async fn database(flags: Flags, target: &Target) -> Result<(Config, PostgresBeside)> {
    let config = match target.data_dir() {
        None => flags.load(Vec::new())?.config,
        Some(data) => {
            let running = DataDir::open(data)?.running()?.and_then(|running| running.postgres());
            let url: ServerUrl = running.context("the system that was started has no Postgres of its own")?;
            let sources = Sources::of_variables([]).with_flag("--keep", "server.data_dir", data.display().to_string());
            sources.with_flag("its own", "postgres.url", url.expose()).load()?.config
        }
    };
    let beside = PostgresBeside::find(&config).await?;
    Ok((config, beside))
}

async fn append(
    options: &Options,
    databases: &Databases,
    config: &Config,
    pairs: &[Pair],
    shares: &[u64],
) -> Result<(Vec<Written>, Instant)> {
    let url = databases.url(Service::Messages).expose().to_owned();
    let pool = PgPoolOptions::new().max_connections(2).connect_lazy_with(lookup_options(&url, Topic::Messages)?);
    must_know(&pool, pairs[0].recipient_id).await?;
    let shutdown = Shutdown::new();
    let ledger = LedgerConfig { url, topic: Topic::Messages, pool: pool.clone(), redis: None, deadline: config.limits.command_deadline };
    let ledger = Ledger::bare(ledger, shutdown.clone()).await?;
    let bar = options.target.bar(options.events, "writing");
    let begin = Instant::now();
    let written = write(&ledger, options, pairs, shares, &bar).await;
    bar.finish_and_clear();
    drop(ledger);
    shutdown.drain();
    shutdown.finished().await;
    pool.close().await;
    Ok((written?, begin))
}

/// Nothing is written into the database of another system.
async fn must_know(pool: &PgPool, person: Uuid) -> Result<()> {
    let begin = Instant::now();
    loop {
        let known = sqlx::query_scalar!(r#"SELECT EXISTS (SELECT FROM people.people WHERE user_id = $1) AS "exists!""#, person);
        if known.fetch_one(pool).await.context("the database that is configured is none of a running system")? {
            return Ok(());
        }
        ensure!(
            begin.elapsed() < SAME_SYSTEM,
            "the database that is configured is not the one of the system at --url: nothing was written (name the same --data-dir, --config or DATABASE_URL as that system has)"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Writes every pair's share, the pairs taking turns as people do.
async fn write(ledger: &Ledger, options: &Options, pairs: &[Pair], shares: &[u64], bar: &ProgressBar) -> Result<Vec<Written>> {
    let content = "m".repeat(options.bytes);
    let most = shares.iter().copied().max().unwrap_or_default();
    let turns = (0..most).flat_map(|turn| (0..pairs.len()).filter(move |pair| turn < shares[*pair]));
    let mut written = vec![Written::default(); pairs.len()];
    let mut appends = stream::iter(turns)
        .map(|n| {
            let message = message(&pairs[n], &content);
            async move {
                let (id, event) = message?;
                let stored = ledger.append(Append { events: vec![event], ..Append::default() }).await?;
                let [stored] = stored[..] else { bail!("one event was appended, {} were stored", stored.len()) };
                Ok((n, id, stored.position))
            }
        })
        .buffer_unordered(AT_ONCE);
    while let Some((pair, id, position)) = appends.try_next().await.context("the ledger did not store a message")? {
        written[pair].add(id, position);
        bar.inc(1);
    }
    Ok(written)
}

/// As `POST /messages/send` would append it.
fn message(pair: &Pair, content: &str) -> Result<(Uuid, NewEvent)> {
    let id = Uuid::now_v7();
    let (sender, recipient) = (UserId(pair.sender_id), UserId(pair.recipient_id));
    let event = MessageEvent::Sent(MessageSent {
        message_id: MessageId(id),
        conversation_id: conversation_id(sender, recipient),
        sender_id: sender,
        recipient_id: recipient,
        encrypted_content: content.to_owned(),
        encrypted_session_key: "k".to_owned(),
        sender_encrypted_content: None,
        crypto_version: "v1".to_owned(),
        encryption_algorithm: "ECDH-AES256-GCM".to_owned(),
        kdf_algorithm: "HKDF-SHA256".to_owned(),
        signatures: None,
        media_ids: Vec::new(),
        reply_to: None,
        client_id: None,
        via: Via::Send,
        expires_at: Some(Timestamp::from(OffsetDateTime::from(platform::clock::now()) + time::Duration::days(7))),
    });
    let correlation = format!("bench-fill-{id}");
    Ok((
        id,
        NewEvent {
            aggregate_type: MessageEvent::AGGREGATE,
            aggregate_id: id.to_string(),
            sequence: 1,
            event_id: Uuid::now_v7(),
            event_type: event.name().to_owned(),
            event_version: event.version().to_owned(),
            payload: event.payload()?,
            metadata: Metadata {
                correlation_id: correlation.clone(),
                causation_id: correlation,
                actor: sender.to_string(),
                ..Metadata::default()
            },
            partition_key: event.partition_key(),
            at: None,
        },
    ))
}
