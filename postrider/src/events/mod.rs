//! `postrider events`: what happened, from a ledger or a broker, as a table or as JSON lines.

mod aggregate;
mod line;
pub mod source;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args};
use platform::telemetry;
use schemas::Topic;
use tokio::signal::unix::{SignalKind, signal};

use self::aggregate::Aggregate;
use self::source::Source;
use crate::output;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// How often it is looked for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// How many are shown when nobody says.
const SHOWN: u32 = 100;

/// Which events, from where, and how they look.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("what").required(true).multiple(true).args(["topic", "aggregate"])))]
pub struct Options {
    /// All events of a service: `messages` or `messages.events`, `users`, `auth`
    #[arg(long)]
    topic: Option<Topic>,
    /// The events of one aggregate, e.g. `message/<id>`, `account/<user id>`, `profile/<user id>`, `contact/<row id>`, `receipt/<id>`
    #[arg(long, value_name = "TYPE/ID")]
    aggregate: Option<Aggregate>,
    /// Begin after this position [default: so that the newest are shown]
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(0..))]
    after: Option<i64>,
    /// Show at most so many [default: 100; with --after and --follow: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Go on with what is appended, until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Read the topic at the broker (KAFKA_BROKERS) instead of the ledger
    #[arg(long, conflicts_with = "aggregate")]
    broker: bool,
    /// Print one JSON object per line, with the payload, instead of a table
    #[arg(long)]
    json: bool,
}

impl Options {
    /// Where to look. An aggregate knows its topic.
    fn topic(&self) -> Result<Topic> {
        match (self.topic, &self.aggregate) {
            (Some(topic), Some(aggregate)) if topic != aggregate.topic => {
                bail!("{aggregate} is in the topic {}, not in {}: leave --topic away", aggregate.topic.name(1), topic.name(1))
            }
            (_, Some(aggregate)) => Ok(aggregate.topic),
            (Some(topic), None) => Ok(topic),
            (None, None) => bail!("name a --topic or an --aggregate"),
        }
    }

    /// How many to show before the end; `None`: no end.
    fn bound(&self) -> Option<u32> {
        match (self.after, self.follow) {
            (Some(_), true) => self.limit,
            // What is appended later comes on top.
            (None, true) => None,
            (_, false) => Some(self.limit.unwrap_or(SHOWN)),
        }
    }
}

/// Prints them; ends when all are printed, or with Ctrl-C.
pub async fn events(flags: Flags, options: Options) -> Result<()> {
    let topic = options.topic()?;
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    if options.broker {
        let source = Source::broker(&config, topic).await?;
        return print(source, topic, &options).await;
    }
    let beside = PostgresBeside::look(&config).await?;
    let printed = async {
        let source = Source::ledger(&beside, &config, topic, options.aggregate.clone()).await?;
        print(source, topic, &options).await
    }
    .await;
    beside.close().await;
    printed
}

/// Until everything is printed, or somebody ends it.
async fn print(source: Option<Source>, topic: Topic, options: &Options) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        printed = print_all(source, topic, options) => printed,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    }
}

async fn print_all(source: Option<Source>, topic: Topic, options: &Options) -> Result<()> {
    let place = if options.broker { "topic" } else { "ledger" };
    let Some(mut source) = source else {
        bail!("there is no {place} of {topic} yet: `postrider up` makes it");
    };
    let mut position = match options.after {
        Some(position) => position,
        None => source.before_newest(options.limit.unwrap_or(SHOWN)).await?,
    };
    let mut left = options.bound();
    let mut any = false;
    loop {
        let events = source.after(position).await?;
        let waits = events.is_empty();
        for event in events {
            if left == Some(0) {
                return Ok(());
            }
            if !any && !options.json {
                output::line(&line::heading())?;
            }
            any = true;
            output::line(&line::line(&event, options.json))?;
            position = event.position;
            left = left.map(|left| left - 1);
        }
        match (waits, options.follow) {
            _ if left == Some(0) => return Ok(()),
            (true, false) => break,
            (true, true) => {
                output::must_be_open()?;
                tokio::time::sleep(FOLLOW_EVERY).await;
            }
            (false, _) => {}
        }
    }
    if !any {
        let what = options.aggregate.as_ref().map_or_else(|| topic.name(1), ToString::to_string);
        let after = options.after.map(|position| format!(" after position {position}")).unwrap_or_default();
        eprintln!("no events of {what}{after} in the {place}");
    }
    Ok(())
}
