//! `postrider verify`: what read models show, against a plain fold over the log.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use platform::config::Config;
use platform::postgres::Pools;
use platform::telemetry;
use schemas::messages::{MessageEvent, MessagesEvent, ReceiptEvent};
use schemas::{ConversationId, MessageId, Recorded, Topic, UserId, partition};
use sqlx::{Connection, PgConnection};

use crate::events::source::Source;
use crate::output;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// What to compare.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Compare the unread counts of all inboxes with the log; safe beside a running `up`
    ///
    /// Counts what every user has not read in every conversation twice: once as clients are shown it, once by reading every event of `messages.events` up to
    /// the checkpoint that these counts stand at. Prints a line for each conversation that differs (user, conversation, count shown, count by the log), and then
    /// how much was compared. Exit code 0: nothing differs. 1: something does, or could not be compared. Memory grows with the number of unread messages.
    ///
    /// A conversation whose key is parked differs until it is retried: see `postrider parked list`. Otherwise a difference is a fault of the projection.
    Unread(Options),
}

/// Where the log is.
#[derive(Debug, Args)]
pub struct Options {
    /// Read the topic at the broker (KAFKA_BROKERS) instead of the ledger
    #[arg(long)]
    broker: bool,
}

/// Compares.
pub async fn verify(flags: Flags, what: What) -> Result<()> {
    let What::Unread(options) = what;
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let beside = PostgresBeside::look(&config).await?;
    let compared = unread(&beside, &config, &options).await;
    beside.close().await;
    compared
}

async fn unread(beside: &PostgresBeside, config: &Config, options: &Options) -> Result<()> {
    let Some(databases) = beside.found(config).await? else { bail!("nothing has been made on this server yet: `postrider up` does") };
    let pools = Pools::small(&databases, &config.postgres)?;
    // What is shown comes first: the log then holds everything that it is made of.
    let shown = Shown::look(&mut *pools.messages.acquire().await?)
        .await
        .context("the read model cannot be read; after `ledger new-incarnation` or a restore the next `postrider up` makes it");
    pools.close().await;
    let shown = shown?;
    let source = match options.broker {
        true => Source::broker(config, Topic::Messages).await?,
        false => Source::ledger(beside, config, Topic::Messages, None).await?,
    };
    let Some(mut source) = source else { bail!("there is no log of messages yet: `postrider up` makes it") };
    let told = told(&mut source, &shown).await?;

    let counts = told.counts();
    let mut differing = 0;
    let all: std::collections::BTreeSet<_> = shown.counts.keys().chain(counts.keys()).collect();
    for key @ (user, conversation) in &all {
        let (shown, told) = (shown.counts.get(*key).copied().unwrap_or(0), counts.get(*key).copied().unwrap_or(0));
        if shown != told {
            if differing == 0 {
                output::line(&format!("{:<36}  {:<36}  {:>8}  {:>8}", "user", "conversation", "shown", "log"))?;
            }
            differing += 1;
            output::line(&format!(
                "{user:<36}  {conversation:<36}  {shown:>8}  {told:>8}",
                user = user.to_string(),
                conversation = conversation.to_string()
            ))?;
        }
    }
    if shown.parked > 0 {
        eprintln!("{} keys of this read model are parked: `postrider parked list` shows which", shown.parked);
    }
    if differing > 0 {
        bail!("{differing} conversations differ in what is unread, after {} events", told.events);
    }
    let unread: i64 = counts.values().sum();
    output::line(&format!("{unread} unread messages in {} conversations: as {} events tell", counts.len(), told.events))
}

/// Of whom, in which conversation.
type Counts = BTreeMap<(UserId, ConversationId), i64>;

/// What clients are shown, at one moment.
struct Shown {
    counts: Counts,
    /// How far the read model is: partition → position.
    reached: HashMap<i32, i64>,
    /// Keys that wait.
    parked: i64,
}

impl Shown {
    async fn look(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let mut moment = connection.begin().await?;
        sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '10min'")
            .execute(&mut *moment)
            .await?;
        let reached =
            sqlx::query!("SELECT partition, last_position FROM conversations.checkpoints WHERE topic = 'messages' AND partition >= 0")
                .fetch_all(&mut *moment)
                .await?;
        let parked = sqlx::query_scalar!(r#"SELECT count(DISTINCT partition_key) AS "keys!" FROM conversations.parked"#)
            .fetch_one(&mut *moment)
            .await?;
        let counts = sqlx::query!(
            r#"SELECT recipient_id, conversation_id, count(*) AS "unread!" FROM conversations.messages
                WHERE read_at IS NULL AND sender_id <> recipient_id GROUP BY recipient_id, conversation_id"#
        )
        .fetch_all(&mut *moment)
        .await?;
        moment.rollback().await?;
        Ok(Self {
            counts: counts.into_iter().map(|row| ((UserId(row.recipient_id), ConversationId(row.conversation_id)), row.unread)).collect(),
            reached: reached.into_iter().map(|row| (row.partition, row.last_position)).collect(),
            parked,
        })
    }

    /// Whether an event is in what is shown.
    fn holds(&self, event: &Recorded) -> bool {
        let partition = partition(event.key_hash, Topic::PARTITIONS);
        self.reached.get(&partition).is_some_and(|reached| event.position <= *reached)
    }
}

/// What the log tells: every message that was sent, not read, and not deleted.
#[derive(Debug, Default)]
struct Told {
    /// Of each reader in each conversation: by position.
    unread: BTreeMap<(UserId, ConversationId), BTreeMap<i64, MessageId>>,
    places: HashMap<MessageId, (UserId, ConversationId, i64)>,
    events: u64,
}

async fn told(source: &mut Source, shown: &Shown) -> Result<Told> {
    let end = shown.reached.values().copied().max().unwrap_or(0);
    let (mut told, mut position) = (Told::default(), 0);
    while position < end {
        let events = source.after(position).await?;
        let Some(last) = events.last() else {
            bail!("the log ends at position {position}, but the read model has reached {end}: they are not of the same ledger");
        };
        position = last.position;
        for event in events.iter().filter(|event| shown.holds(event)) {
            told.tell(event).with_context(|| format!("the event at position {} cannot be read", event.position))?;
        }
    }
    Ok(told)
}

impl Told {
    fn tell(&mut self, event: &Recorded) -> Result<()> {
        self.events += 1;
        match MessagesEvent::decode(event)? {
            MessagesEvent::Message(MessageEvent::Sent(sent)) if sent.sender_id != sent.recipient_id => {
                let (reader, conversation) = (sent.recipient_id, sent.conversation_id);
                self.places.insert(sent.message_id, (reader, conversation, event.position));
                self.unread.entry((reader, conversation)).or_default().insert(event.position, sent.message_id);
            }
            MessagesEvent::Message(MessageEvent::Deleted(deleted)) => self.no_longer(deleted.message_id),
            MessagesEvent::Receipt(ReceiptEvent::Read(read)) => self.no_longer(read.message_id),
            MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(read)) => {
                if let Some(unread) = self.unread.get_mut(&(read.user_id, read.conversation_id)) {
                    let later = unread.split_off(&(read.up_to_position + 1));
                    for message in std::mem::replace(unread, later).into_values() {
                        self.places.remove(&message);
                    }
                }
            }
            MessagesEvent::Message(MessageEvent::Sent(_)) | MessagesEvent::Receipt(ReceiptEvent::Delivered(_)) => {}
        }
        Ok(())
    }

    fn no_longer(&mut self, message: MessageId) {
        let Some((reader, conversation, position)) = self.places.remove(&message) else { return };
        if let Some(unread) = self.unread.get_mut(&(reader, conversation)) {
            unread.remove(&position);
        }
    }

    fn counts(&self) -> Counts {
        let counted = self.unread.iter().map(|(key, unread)| (*key, i64::try_from(unread.len()).unwrap_or(i64::MAX)));
        counted.filter(|(_, unread)| *unread > 0).collect()
    }
}
