//! Processes with sockets, over one Redis and one database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::frames::{FrameLog, Heard, Kept, Pusher};
use platform::fresh::{Freshness, Reached};
use platform::marks::{Heads, Marks};
use platform::presence::Presence;
use platform::private::PrivateRedis;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::UserId;
use schemas::users::LastSeen::{Contacts, Everybody, Nobody};
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Attendance;
use crate::socket::Said;
use crate::testing::Tables;

const BOUND: Duration = Duration::from_secs(20);
/// The grace is a twelfth of it.
const LEASE: Duration = Duration::from_secs(6);
const GRACE: Duration = Duration::from_millis(500);

/// What processes have in common: whoever comes or goes on one Redis is told by whichever process there asks first.
struct Common {
    tables: Tables,
    redis: PrivateRedis,
}

impl std::ops::Deref for Common {
    type Target = Tables;
    fn deref(&self) -> &Tables {
        &self.tables
    }
}

async fn common() -> Common {
    let tables = Tables::of("contacts", include_str!("../../../../projectors/src/contacts/schema.sql")).await;
    tables.also("profiles", include_str!("../../../../projectors/src/profiles/schema.sql")).await;
    tables.also("blocks", include_str!("../../../../projectors/src/blocks/schema.sql")).await;
    Common { tables, redis: testkit::servers::own_redis().await }
}

fn user() -> UserId {
    UserId(Uuid::now_v7())
}

impl Tables {
    async fn holds(&self, owner: UserId, contact: UserId) {
        let sql = "INSERT INTO contacts.contacts VALUES ($1, $2, gen_random_uuid(), NULL, now(), 1)";
        sqlx::query(sql).bind(owner.0).bind(contact.0).execute(&self.pool).await.expect("a row");
    }
    async fn shows_to(&self, user: UserId, whom: &str) {
        let sql = "INSERT INTO profiles.profiles (user_id, last_seen) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET last_seen = $2";
        sqlx::query(sql).bind(user.0).bind(whom).execute(&self.pool).await.expect("a row");
    }
    async fn blocks(&self, blocker: UserId, blocked: UserId) {
        sqlx::query("INSERT INTO blocks.blocks VALUES ($1, $2)").bind(blocker.0).bind(blocked.0).execute(&self.pool).await.expect("a row");
    }
}

/// A process, and what it hears for those whom it holds.
struct Process {
    attendance: Attendance,
    presence: Presence,
    log: FrameLog,
    pusher: Pusher,
    heard: mpsc::Receiver<Heard>,
    runs: tokio::task::JoinHandle<()>,
    shutdown: Shutdown,
}

impl Process {
    async fn over(common: &Common) -> Self {
        let shutdown = Shutdown::new();
        let redis = Redis::connect(common.redis.url(), shutdown.clone()).expect("a URL");
        wait_until("redis is up", BOUND, async || redis.is_up().then_some(())).await;
        let freshness = Freshness {
            marks: Marks::kept_for(Duration::ZERO, redis.clone(), &shutdown),
            heads: Heads::new(BTreeMap::new()),
            reached: Reached::new(redis.clone(), BTreeMap::new(), shutdown.clone()),
            pools: Arc::new(BTreeMap::from([("users", common.tables.pool.clone()), ("messages", common.tables.pool.clone())])),
        };
        let (presence, log) = (Presence::leased_for(LEASE, redis.clone()), FrameLog::new(redis, Kept::default()));
        let (pusher, heard) = log.pusher();
        let attendance = Attendance::new(presence.clone(), freshness, log.clone());
        let runs = tokio::spawn(attendance.clone().run(shutdown.clone()));
        Self { attendance, presence, log, pusher, heard, runs, shutdown }
    }

    /// Holds somebody from now on: what is told them is heard here.
    async fn listens_for(&mut self, users: &[UserId]) {
        for user in users {
            wait_until("they are held, and heard of", BOUND, async || {
                // Where no log has begun it is an error, but held they are.
                let _ = self.pusher.hold(*user).await;
                self.log.note(&[*user], "are you there").await.ok()?;
                matches!(self.heard.try_recv(), Ok(Heard::Note(_, text)) if &*text == "are you there").then_some(())
            })
            .await;
        }
    }

    /// Who is told next of whom that they came (or left).
    async fn told(&mut self) -> (BTreeSet<UserId>, UserId, bool) {
        loop {
            let heard = tokio::time::timeout(BOUND, self.heard.recv()).await.expect("somebody is told").expect("it hears");
            let Heard::Note(users, text) = heard else { continue };
            let Some(said) = Said::read(&text) else { continue };
            let frame: Value = serde_json::from_str(&said.frame).expect("JSON");
            assert_eq!(frame["user_id"], json!(said.peer));
            return (users.into_iter().collect(), said.peer, frame["type"] == "user_online");
        }
    }

    fn hears_nothing(&mut self) {
        while let Ok(heard) = self.heard.try_recv() {
            if let Heard::Note(users, text) = heard
                && let Some(said) = Said::read(&text)
            {
                panic!("{users:?} are told {said:?}");
            }
        }
    }

    async fn is_online(&self, user: UserId) -> bool {
        self.presence.is_online(user).await
    }
}

fn set<const N: usize>(users: [UserId; N]) -> BTreeSet<UserId> {
    users.into()
}

#[tokio::test]
async fn those_whose_list_holds_somebody_are_told_of_the_first_socket_and_the_last_and_of_nothing_between() {
    let common = common().await;
    let (mut one, two) = (Process::over(&common).await, Process::over(&common).await);
    let (ann, bob, carl, dora) = (user(), user(), user(), user());
    common.holds(bob, ann).await;
    common.holds(carl, ann).await;
    common.holds(ann, dora).await;
    one.listens_for(&[ann, bob, carl, dora]).await;

    let phone = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob, carl]), ann, true));
    let desk = two.attendance.opened(ann);
    let laptop = one.attendance.opened(ann);
    drop((phone, laptop));
    // Longer than the lease of the first process holds.
    tokio::time::sleep(GRACE * 3).await;
    assert!(two.is_online(ann).await, "at the desk");
    one.hears_nothing();
    let left = Instant::now();
    drop(desk);
    assert_eq!(one.told().await, (set([bob, carl]), ann, false));
    assert!(left.elapsed() >= GRACE, "who comes back at once has not been away");
}

#[tokio::test]
async fn a_reconnect_is_no_change_on_whichever_process() {
    let common = common().await;
    let (mut one, two) = (Process::over(&common).await, Process::over(&common).await);
    let (ann, bob) = (user(), user());
    common.holds(bob, ann).await;
    one.listens_for(&[bob]).await;
    let mut here = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob]), ann, true));
    for round in 0..6 {
        drop(here);
        tokio::time::sleep(GRACE / 5).await;
        here = if round % 2 == 0 { &two } else { &one }.attendance.opened(ann);
        tokio::time::sleep(GRACE / 5).await;
    }
    one.hears_nothing();
    drop(here);
    assert_eq!(one.told().await, (set([bob]), ann, false));
}

#[tokio::test]
async fn leases_are_renewed_for_as_long_as_a_socket_is_open_and_end_with_their_process() {
    let common = common().await;
    let (mut one, two) = (Process::over(&common).await, Process::over(&common).await);
    let (ann, bob) = (user(), user());
    common.holds(bob, ann).await;
    one.listens_for(&[bob]).await;
    let _here = two.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob]), ann, true));
    tokio::time::sleep(LEASE + LEASE / 2).await;
    one.hears_nothing();
    assert!(one.is_online(ann).await);
    // As if it had been killed.
    two.runs.abort();
    assert_eq!(one.told().await, (set([bob]), ann, false));
}

#[tokio::test]
async fn a_process_that_stops_gives_its_users_a_while_to_find_another() {
    let common = common().await;
    let (mut one, two) = (Process::over(&common).await, Process::over(&common).await);
    let (ann, bob, carl) = (user(), user(), user());
    common.holds(bob, ann).await;
    common.holds(bob, carl).await;
    one.listens_for(&[bob]).await;
    let (ann_here, carl_here) = (two.attendance.opened(ann), two.attendance.opened(carl));
    let came = set([one.told().await.1, one.told().await.1]);
    assert_eq!(came, set([ann, carl]));
    two.shutdown.drain();
    two.runs.await.expect("it ends");
    drop((ann_here, carl_here));
    let _back = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob]), carl, false), "carl did not come back");
    assert!(one.is_online(ann).await);
    one.hears_nothing();
}

#[tokio::test]
async fn nobody_is_told_of_those_who_do_not_let_them_see() {
    let common = common().await;
    let mut one = Process::over(&common).await;
    let (ann, bob, carl) = (user(), user(), user());
    common.holds(bob, ann).await;
    common.holds(carl, ann).await;
    common.holds(ann, bob).await;
    common.shows_to(ann, "contacts").await;
    one.listens_for(&[bob, carl]).await;
    let here = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob]), ann, true), "only bob is in her list");
    common.shows_to(ann, "nobody").await;
    drop(here);
    wait_until("she has gone", BOUND, async || (!one.is_online(ann).await).then_some(())).await;
    common.shows_to(ann, "everybody").await;
    let _here = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob, carl]), ann, true));
}

#[tokio::test]
async fn one_sees_those_of_ones_contacts_who_are_here_and_let_one_see() {
    let common = common().await;
    let one = Process::over(&common).await;
    let (ann, bob, carl, dora, eve, away) = (user(), user(), user(), user(), user(), user());
    for contact in [bob, carl, dora, eve, away] {
        common.holds(ann, contact).await;
    }
    common.holds(bob, ann).await;
    common.shows_to(bob, "contacts").await;
    common.shows_to(carl, "contacts").await;
    common.shows_to(dora, "nobody").await;
    let stranger = user();
    let _here: Vec<_> = [bob, carl, dora, eve, stranger].map(|user| one.attendance.opened(user)).into();
    wait_until("all have come", BOUND, async || (one.is_online(eve).await && one.is_online(stranger).await).then_some(())).await;
    let online = async |user| one.attendance.online_users(user).await.expect("it is known").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(online(ann).await, set([bob, eve]));
    assert_eq!(one.attendance.seen(ann, &[bob, carl, dora, eve, away, stranger]).await, [true, false, false, true, false, true]);
    common.blocks(eve, ann).await;
    assert_eq!(online(ann).await, set([bob]));
    common.blocks(ann, bob).await;
    assert_eq!(online(ann).await, set([]));
    assert_eq!(one.attendance.seen(ann, &[bob, eve, stranger]).await, [false, false, true]);
}

#[tokio::test]
async fn who_came_by_a_session_is_told_like_who_came_by_a_socket() {
    let common = common().await;
    let mut one = Process::over(&common).await;
    let (ann, bob) = (user(), user());
    common.holds(bob, ann).await;
    one.listens_for(&[bob]).await;
    one.presence.online(ann, "session:1").await;
    assert_eq!(one.told().await, (set([bob]), ann, true));
    let here = one.attendance.opened(ann);
    one.presence.offline(ann, "session:1").await;
    drop(here);
    assert_eq!(one.told().await, (set([bob]), ann, false));
}

#[tokio::test]
async fn whoever_may_no_longer_see_somebody_is_told_that_they_left_and_whoever_may_again_that_they_are_here() {
    let common = common().await;
    let mut one = Process::over(&common).await;
    let (ann, bob, carl) = (user(), user(), user());
    common.holds(bob, ann).await;
    common.holds(carl, ann).await;
    common.holds(ann, bob).await;
    one.listens_for(&[bob, carl]).await;
    let _here = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob, carl]), ann, true));
    let steps = [
        (Everybody, Contacts, set([carl]), false),
        (Contacts, Nobody, set([bob]), false),
        (Nobody, Contacts, set([bob]), true),
        (Contacts, Everybody, set([carl]), true),
        (Everybody, Nobody, set([bob, carl]), false),
        (Nobody, Everybody, set([bob, carl]), true),
    ];
    for (was, is, whom, online) in steps {
        common.shows_to(ann, is.as_str()).await;
        one.presence.shown_otherwise(ann, was).await;
        assert_eq!(one.told().await, (whom, ann, online), "{was:?} {is:?}");
    }
    one.hears_nothing();
}

#[tokio::test]
async fn of_whom_is_not_here_nobody_is_told_that_they_are() {
    let common = common().await;
    let mut one = Process::over(&common).await;
    let (ann, bob) = (user(), user());
    common.holds(bob, ann).await;
    common.holds(bob, bob).await;
    one.listens_for(&[bob]).await;
    common.shows_to(ann, "everybody").await;
    one.presence.shown_otherwise(ann, Nobody).await;
    // What comes after it is told after it.
    let _here = one.attendance.opened(ann);
    assert_eq!(one.told().await, (set([bob]), ann, true));
    one.hears_nothing();
}

#[tokio::test]
async fn what_a_block_hides_is_what_its_two_people_saw_of_each_other() {
    let common = common().await;
    let one = Process::over(&common).await;
    let (ann, bob, carl, dora, away) = (user(), user(), user(), user(), user());
    for contact in [bob, dora, away] {
        common.holds(ann, contact).await;
    }
    common.shows_to(dora, "nobody").await;
    let _here: Vec<_> = [bob, carl, dora].map(|user| one.attendance.opened(user)).into();
    wait_until("all have come", BOUND, async || (one.is_online(bob).await && one.is_online(dora).await).then_some(())).await;
    for (peer, why) in [(carl, "she does not have him in her list"), (dora, "she never saw her"), (away, "he is not here")] {
        assert_eq!(one.attendance.told_apart(ann, peer, true).await, None, "{why}");
        assert_eq!(one.attendance.told_apart(ann, peer, false).await, None, "{why}");
    }
    let frame = async |apart| {
        let said = one.attendance.told_apart(ann, bob, apart).await?;
        let frame: Value = serde_json::from_str(&said.frame).expect("JSON");
        assert_eq!((frame["user_id"].clone(), said.peer, said.apart), (json!(bob), bob, apart));
        Some(frame["type"].clone())
    };
    assert_eq!((frame(true).await, frame(false).await), (Some(json!("user_offline")), Some(json!("user_online"))));
    common.blocks(bob, ann).await;
    assert_eq!(frame(false).await, None, "the other's block stands");
}
