//! What a socket does to find out what its client is owed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use platform::frames::{Logged, Places, Stored};
use platform::http::Problem;
use platform::log::SCAN;
use platform::marks::{Head, Known};
use schemas::Topic;
use schemas::read_models::Relay;
use tokio::time::Instant;

use super::facts::{Facts, Wants};
use super::held::Held;
use super::hub::{Hub, away};
use super::item::Item;
use super::note::Said;
use super::outbox::Live;
use super::place::{Bookmark, Place, reaches};
use super::render::{Told, resumed};
use super::waiting::{Page, Waiting, pool};

/// How long a socket waits for a database, or for Redis; then its client is to come back.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);
/// How long it waits for its log to reach what its user knows of, and how often it looks.
const FRESH: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_millis(20);
/// Events of a log that are rendered at once.
pub(super) const TOGETHER: usize = 64;

/// Something that the client is owed.
#[derive(Debug)]
pub(super) enum Owed {
    /// With the cursor of its moment.
    Marked(Told),
    /// The same, and with it an earlier cursor has been followed to its end.
    Resumed(Told),
    /// A message that waits in the queue.
    Waited(Place, Told),
    /// Everything up to there is told.
    UpTo(Box<Places>),
    /// All that waited is told.
    AllSent,
    /// An event of the log: which of its frames is next; whether it is told although the socket is further.
    Event { item: Arc<Item>, next: usize, again: bool },
    /// A word that is kept nowhere.
    Said(Said),
}

impl Owed {
    pub(super) fn live(live: Live) -> Self {
        match live {
            Live::Event(item) => Self::Event { item, next: 0, again: false },
            Live::Said(said) => Self::Said(said),
        }
    }

    /// Entries of the log.
    pub(super) fn events(entries: &[Logged]) -> Vec<Self> {
        let items = entries.iter().filter_map(|entry| Item::of(entry, None));
        items.map(|item| Self::Event { item: Arc::new(item), next: 0, again: false }).collect()
    }

    /// An entry of the log that comes before where the socket is. `was_shown`: the message in it has been told already.
    pub(super) fn again(entry: &Logged, was_shown: bool) -> Option<Self> {
        let item = Item::of(entry, None)?;
        let item = if was_shown { item.without_messages()? } else { item };
        Some(Self::Event { item: Arc::new(item), next: 0, again: true })
    }
}

/// What is to be done before the next frame is known.
#[derive(Debug)]
pub(super) enum Step {
    /// A page of the queue.
    Waiting(Waiting),
    /// The log after where the socket is.
    CatchUp,
    /// The log after a cursor; whether the socket begins with it.
    Resume(Box<Bookmark>, bool),
    /// Look-ups.
    Render(Vec<Owed>),
    /// `resumed`, `resume_reset`.
    Say(Option<Told>),
    /// `resume_reset`, for a client that asked with what is no cursor.
    Refuse,
}

impl Step {
    pub(super) fn all_that_waits(until: &Places) -> Self {
        Self::Waiting(Waiting::up_to(until.clone(), 0))
    }

    pub(super) fn rest_of_what_waits(until: &Places, behind: i64) -> Self {
        Self::Waiting(Waiting::up_to(until.clone(), behind))
    }

    pub(super) fn what_waits_between(from: &Places, until: &Places) -> Self {
        Self::Waiting(Waiting::between(from.clone(), until.clone()))
    }
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Rendered(VecDeque<Owed>),
    Page(Page),
    CaughtUp(Stored),
    /// Of a cursor; `None`: it cannot be followed.
    Log(Box<Bookmark>, Option<Stored>, bool),
}

/// While it runs.
pub(super) type Work = BoxFuture<'static, Result<Done, Problem>>;

/// Where the part of what is missing ends that no log has; `None`: nothing is.
pub(super) fn missing_before(stored: &Stored) -> Option<Places> {
    if stored.whole {
        return None;
    }
    let mut before = Places::default();
    for partition in 0..Topic::PARTITIONS {
        let entries = stored.entries.iter().filter(|entry| (entry.topic, entry.partition) == (Topic::Messages, partition));
        let first = entries.map(|entry| entry.position - 1).min();
        before.raise(Topic::Messages, partition, first.unwrap_or_else(|| stored.head.at(Topic::Messages, partition)));
    }
    Some(before)
}

/// Begins a step. `Err`: there was nothing to wait for, and this is owed.
pub(super) fn begin(step: Step, hub: &Hub, held: &Arc<Held>, places: &Places) -> Result<Work, VecDeque<Owed>> {
    let (hub, held) = (hub.clone(), held.clone());
    Ok(match step {
        Step::Say(told) => return Err(told.into_iter().map(Owed::Resumed).collect()),
        Step::Refuse => return Err(resumed(true).into_iter().map(Owed::Resumed).collect()),
        Step::Waiting(waiting) => Box::pin(async move { Ok(Done::Page(page(&hub, &held, &waiting).await?)) }),
        Step::CatchUp => {
            let places = places.clone();
            Box::pin(async move { Ok(Done::CaughtUp(read(&hub, &held, &places).await?)) })
        }
        Step::Resume(bookmark, begins) => Box::pin(async move {
            let places = &bookmark.cursor.places;
            let mut stored = None;
            if hub.inner.below.log.may_resume(&bookmark.cursor) {
                let ends = ends(&hub).await?;
                // Nobody has seen what has not happened.
                if places.iter().all(|(topic, _, position)| ends.iter().any(|(of, end)| *of == topic && position <= end.head)) {
                    stored = Some(read_fresh(&hub, &held, places, &ends).await?);
                }
            }
            Ok(Done::Log(bookmark, stored, begins))
        }),
        Step::Render(mut owed) => {
            let mut wants = Wants::default();
            for item in items(&owed) {
                item.render_alone(held.user, &mut wants);
            }
            if wants.is_empty() {
                return Err(owed.into());
            }
            Box::pin(async move {
                // One socket of a user looks it up for all of them.
                let _turn = held.rendering.lock().await;
                for together in owed.chunks_mut(TOGETHER) {
                    let mut wants = Wants::default();
                    items(together).for_each(|item| item.render_alone(held.user, &mut wants));
                    let mut facts = if wants.is_empty() { Facts::default() } else { facts(&hub, &held, &wants).await? };
                    items(together).for_each(|item| item.render(held.user, &mut facts));
                }
                Ok(Done::Rendered(owed.into()))
            })
        }
    })
}

fn items(owed: &[Owed]) -> impl Iterator<Item = &Item> {
    owed.iter().filter_map(|owed| match owed {
        Owed::Event { item, .. } => Some(&**item),
        _ => None,
    })
}

/// A Redis that came back with an older state has less than what had been passed on before: what it lacks is appended again, and not passed on again by the hub. Whoever reads
/// waits for it.
async fn read(hub: &Hub, held: &Held, places: &Places) -> Result<Stored, Problem> {
    let patience = Patience::new();
    let passed_on = held.heard();
    loop {
        let answer = match hub.inner.below.log.after(held.user, places).await {
            Ok(stored) if reaches(&stored.head, &passed_on) => Ok(stored),
            Ok(_) | Err(_) => Err(away()),
        };
        if let Some(answer) = patience.or_again(answer).await {
            return answer;
        }
    }
}

/// Where the ledgers end now.
async fn ends(hub: &Hub) -> Result<Vec<(Topic, Head)>, Problem> {
    let (heads, patience) = (&hub.inner.below.freshness.heads, Patience::new());
    loop {
        let both = futures::future::try_join(heads.head(Topic::Messages), heads.head(Topic::Users)).await;
        let answer = both.map(|(messages, users)| vec![(Topic::Messages, messages), (Topic::Users, users)]).map_err(|_| away());
        if let Some(answer) = patience.or_again(answer).await {
            return answer;
        }
    }
}

/// As [`read`], once the log has reached what its user did, or was named in, so that nothing comes of a message that was deleted before. Where Redis may have forgotten what that was, it
/// is where the ledger ends. When the log does not get there in time, it comes once more, as it would from a list.
async fn read_fresh(hub: &Hub, held: &Held, places: &Places, ends: &[(Topic, Head)]) -> Result<Stored, Problem> {
    let mut needed = Places::default();
    match hub.inner.below.freshness.marks.of(&[held.user]).await {
        Known::Marks(marks) => {
            for mark in marks.into_iter().filter(|mark| mark.topic == Topic::Messages) {
                needed.raise(mark.topic, mark.partition, mark.position);
            }
        }
        Known::Unsure => {
            for (_, end) in ends.iter().filter(|(topic, _)| *topic == Topic::Messages) {
                match &end.published {
                    None => drop(needed.raise(Topic::Messages, SCAN, end.head)),
                    Some((_, partitions)) => {
                        for (partition, position) in (0..).zip(partitions) {
                            needed.raise(Topic::Messages, partition, *position);
                        }
                    }
                }
            }
        }
    }
    let began = Instant::now();
    loop {
        let stored = read(hub, held, places).await?;
        if reaches(&stored.head, &needed) || began.elapsed() > FRESH {
            return Ok(stored);
        }
        tokio::time::sleep(SOON).await;
    }
}

async fn page(hub: &Hub, held: &Held, waiting: &Waiting) -> Result<Page, Problem> {
    let patience = Patience::new();
    loop {
        // What they have acknowledged, or others have deleted, waits no more.
        let settled = !waiting.begins() || hub.inner.below.freshness.settle::<Relay>(&[held.user]).await;
        let answer = if settled { waiting.clone().page(pool(&hub.inner.sources), held.user).await } else { Err(away()) };
        if let Some(answer) = patience.or_again(answer).await {
            return answer;
        }
    }
}

async fn facts(hub: &Hub, held: &Held, wants: &Wants) -> Result<Facts, Problem> {
    let patience = Patience::new();
    loop {
        let answer = hub.inner.sources.of(held.user, wants).await;
        if let Some(answer) = patience.or_again(answer).await {
            return answer;
        }
    }
}

/// Asks again for a while: a server that is away for a moment ends no socket.
struct Patience(Instant);

impl Patience {
    fn new() -> Self {
        Self(Instant::now())
    }

    /// The answer, when it is one; `None`, after a moment: it is to be asked for again.
    async fn or_again<T>(&self, answer: Result<T, Problem>) -> Option<Result<T, Problem>> {
        match answer {
            Err(problem) if self.0.elapsed() < PATIENCE && problem.status.is_server_error() => {
                tokio::time::sleep(AGAIN).await;
                None
            }
            answer => Some(answer),
        }
    }
}
