//! What frames are rendered from, looked up for many of them at once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use platform::clock;
use platform::frames::FrameLog;
use platform::fresh::{Freshness, Wanted};
use platform::http::Problem;
use platform::marks::Known;
use quick_cache::sync::Cache;
use schemas::frames::{Body, Frame};
use schemas::read_models::{Conversations, Profiles, ReadModel, Relay, Users};
use schemas::{MessageId, Timestamp, Topic, UserId};
use sqlx::types::Json;
use tokio::time::Instant;
use uuid::Uuid;

use super::Attendance;
use super::hub::away;
use crate::database::ask;

/// How many people's wish to show what they have read is remembered.
const REMEMBERED: usize = 65_536;
/// How long it holds: whoever changes it leaves a mark that is kept for half as long again.
const HOLDS: Duration = Duration::from_secs(20);

/// Looks things up. Clones share what is remembered.
#[derive(Debug, Clone)]
pub(super) struct Sources {
    pub(super) freshness: Freshness,
    pub(super) attendance: Attendance,
    log: FrameLog,
    readers: Arc<Cache<UserId, (bool, Instant)>>,
}

/// Somebody, as a new contact is shown them.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) username: Option<String>,
    pub(super) email: Option<String>,
    pub(super) full_name: Option<String>,
    pub(super) public_key: Option<String>,
    pub(super) is_online: bool,
}

/// What frames need beside what the log says of them.
#[derive(Debug, Default)]
pub(super) struct Wants {
    bodies: Vec<Uuid>,
    readers: Vec<UserId>,
    people: Vec<UserId>,
    peers: Vec<UserId>,
}

impl Wants {
    /// With what this frame needs; `has_body`: a message's came with it.
    pub(super) fn add(&mut self, frame: &Frame, has_body: bool) {
        match frame {
            Frame::Message { id, .. } if !has_body => self.bodies.push(id.0),
            Frame::Read { by, .. } if !self.readers.contains(by) => self.readers.push(*by),
            Frame::Contact { about } if !self.people.contains(about) => self.people.push(*about),
            Frame::Lifted { between } if !self.peers.contains(between) => self.peers.push(*between),
            _ => {}
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bodies.is_empty() && self.readers.is_empty() && self.people.is_empty() && self.peers.is_empty()
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Facts {
    bodies: HashMap<Uuid, Arc<str>>,
    readers: HashMap<UserId, bool>,
    people: HashMap<UserId, Person>,
    waits: HashMap<UserId, Timestamp>,
    uncovered: HashMap<UserId, Option<i64>>,
}

impl Facts {
    /// Of a message whose body came with it.
    pub(super) fn put_body(&mut self, id: MessageId, body: Arc<str>) {
        self.bodies.insert(id.0, body);
    }

    /// `None`: the message is gone.
    pub(super) fn body(&self, id: MessageId) -> Option<&str> {
        self.bodies.get(&id.0).map(|body| &**body)
    }

    pub(super) fn shows_reading(&self, reader: UserId) -> bool {
        self.readers.get(&reader).copied().unwrap_or(false)
    }

    /// Whether the block that ended then, at this position, has kept something of this peer's from the receiver. What waits counts as well, and what was noted in the very moment of its end.
    pub(super) fn was_hidden(&self, peer: UserId, ended: Timestamp, position: i64) -> bool {
        self.waits.get(&peer).is_some_and(|oldest| *oldest < ended)
            || self.uncovered.get(&peer).is_some_and(|ended| ended.is_none_or(|ended| ended == position))
    }

    pub(super) fn person(&self, id: UserId) -> Option<&Person> {
        self.people.get(&id)
    }
}

fn behind() -> Problem {
    Problem::unavailable("projection_behind", "This is not up to date yet; please try again in a moment")
}

impl Sources {
    pub(super) fn new(freshness: Freshness, attendance: Attendance, log: FrameLog) -> Self {
        Self { freshness, attendance, log, readers: Arc::new(Cache::new(REMEMBERED)) }
    }

    /// Everything that is wanted, as this receiver may see it.
    ///
    /// # Errors
    /// 503, when some of it cannot be learned now.
    pub(super) async fn of(&self, receiver: UserId, wants: &Wants) -> Result<Facts, Problem> {
        let (bodies, readers, people, waits, uncovered) = tokio::try_join!(
            self.bodies(receiver, &wants.bodies),
            self.readers(&wants.readers),
            self.people(receiver, &wants.people),
            self.waits(receiver, &wants.peers),
            async { self.log.uncovered(receiver, &wants.peers).await.map_err(|_| away()) }
        )?;
        Ok(Facts { bodies, readers, people, waits, uncovered })
    }

    /// Since when something waits of these senders, as of everything that the receiver has acknowledged.
    async fn waits(&self, receiver: UserId, senders: &[UserId]) -> Result<HashMap<UserId, Timestamp>, Problem> {
        if senders.is_empty() {
            return Ok(HashMap::new());
        }
        if !self.freshness.settle::<Relay>(&[receiver]).await {
            return Err(behind());
        }
        let (senders, now): (Vec<Uuid>, _) = (senders.iter().map(|sender| sender.0).collect(), clock::now().into_inner());
        let rows = ask(&self.freshness.pools[Relay::SERVICE], move |db| {
            let senders = senders.clone();
            Box::pin(async move {
                sqlx::query!(
                    r#"SELECT sender_id, min(recorded_at) AS "oldest!" FROM relay.relay_pending
                        WHERE recipient_id = $1 AND sender_id = ANY ($2) AND expires_at > $3 GROUP BY sender_id"#,
                    receiver.0,
                    &senders,
                    now
                )
                .fetch_all(db)
                .await
            })
        })
        .await?;
        Ok(rows.into_iter().map(|row| (UserId(row.sender_id), row.oldest.into())).collect())
    }

    /// What does not come with its event is looked up where it rests, as of everything that the receiver did or was named in: it may have been deleted meanwhile, and the log not know it
    /// yet.
    async fn bodies(&self, receiver: UserId, ids: &[Uuid]) -> Result<HashMap<Uuid, Arc<str>>, Problem> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        if !self.freshness.settle::<Conversations>(&[receiver]).await {
            return Err(behind());
        }
        let mut found = HashMap::with_capacity(ids.len());
        for body in self.history(ids.to_vec()).await? {
            let text = serde_json::to_string(&body).map_err(|_| Problem::internal())?;
            found.insert(body.message_id.0, text.into());
        }
        Ok(found)
    }

    async fn history(&self, ids: Vec<Uuid>) -> Result<Vec<Body>, Problem> {
        let pool = &self.freshness.pools[Conversations::SERVICE];
        let rows = ask(pool, move |db| {
            let ids = ids.clone();
            Box::pin(async move {
                sqlx::query!(
                    r#"SELECT message_id, sender_id, recipient_id, encrypted_content, encrypted_session_key, crypto_version, encryption_algorithm,
                              kdf_algorithm, signatures AS "signatures: Json<Box<serde_json::value::RawValue>>", recorded_at
                         FROM conversations.messages WHERE message_id = ANY ($1)"#,
                    &ids
                )
                .fetch_all(db)
                .await
            })
        })
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| Body {
                message_id: row.message_id.into(),
                sender_id: row.sender_id.into(),
                recipient_id: row.recipient_id.into(),
                encrypted_content: row.encrypted_content,
                encrypted_session_key: row.encrypted_session_key,
                crypto_version: row.crypto_version,
                encryption_algorithm: row.encryption_algorithm,
                kdf_algorithm: row.kdf_algorithm,
                signatures: row.signatures.map(|Json(raw)| raw),
                at: row.recorded_at.into(),
            })
            .collect())
    }

    /// Who lets others see what they have read, as of everything that they have done.
    async fn readers(&self, ids: &[UserId]) -> Result<HashMap<UserId, bool>, Problem> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let began = Instant::now();
        let known = self.freshness.marks.of(ids).await;
        let unchanged = matches!(&known, Known::Marks(marks) if !marks.iter().any(|mark| mark.topic == Topic::Users));
        let mut found = HashMap::with_capacity(ids.len());
        if unchanged {
            let remembered = ids.iter().filter_map(|id| Some((*id, self.readers.get(id)?)));
            found.extend(remembered.filter(|(_, (_, since))| since.elapsed() < HOLDS).map(|(id, (shows, _))| (id, shows)));
        }
        let asked: Vec<Uuid> = ids.iter().filter(|id| !found.contains_key(*id)).map(|id| id.0).collect();
        if asked.is_empty() {
            return Ok(found);
        }
        if self.freshness.reach(&[Wanted::of::<Profiles>()], &known).await != [true] {
            return Err(behind());
        }
        let rows = ask(&self.freshness.pools[Profiles::SERVICE], move |db| {
            let asked = asked.clone();
            Box::pin(async move {
                sqlx::query!(
                    r#"SELECT asked.id AS "id!", coalesce(p.read_receipts, true) AS "shows!"
                         FROM unnest($1::uuid[]) AS asked(id) LEFT JOIN profiles.profiles p ON p.user_id = asked.id"#,
                    &asked
                )
                .fetch_all(db)
                .await
            })
        })
        .await?;
        for row in rows {
            self.readers.insert(row.id.into(), (row.shows, began));
            found.insert(row.id.into(), row.shows);
        }
        Ok(found)
    }

    /// Whom a contact is shown as: as of everything that they have done.
    async fn people(&self, receiver: UserId, ids: &[UserId]) -> Result<HashMap<UserId, Person>, Problem> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        if self.freshness.settle_each(&[Wanted::of::<Users>(), Wanted::of::<Profiles>()], ids).await != [true, true] {
            return Err(behind());
        }
        let here = self.attendance.seen(receiver, ids).await;
        let here: HashMap<UserId, bool> = ids.iter().copied().zip(here).collect();
        let asked: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows = ask(&self.freshness.pools[Users::SERVICE], move |db| {
            let asked = asked.clone();
            Box::pin(async move {
                sqlx::query!(
                    r#"SELECT u.user_id AS "user_id!", u.username, u.email, u.public_key, CASE WHEN p.full_name_set THEN p.full_name ELSE u.full_name END AS full_name
                         FROM users.users u LEFT JOIN profiles.profiles p ON p.user_id = u.user_id WHERE u.user_id = ANY ($1)"#,
                    &asked
                )
                .fetch_all(db)
                .await
            })
        })
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| {
                let id = UserId(row.user_id);
                let is_online = here.get(&id).copied().unwrap_or(false);
                (id, Person { username: row.username, email: row.email, full_name: row.full_name, public_key: row.public_key, is_online })
            })
            .collect())
    }
}
