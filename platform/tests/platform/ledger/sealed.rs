//! Personal data and marks: what a unit does with the vault before an append, and with Redis after it.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use platform::http::RequestContext;
use platform::ledger::{Actor, CommandRecord, Context, Ledger, LedgerConfig};
use platform::marks::Marks;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use platform::vault::Vault;
use schemas::auth::{AccountEvent, AccountRegistered, Origin, Role};
use schemas::{Personal, Topic, UserId};
use serde::{Deserialize, Serialize};
use sqlx::Executor;
use testkit::wait_until;
use uuid::Uuid;

use super::fixture::{BOUND, DEADLINE, LedgerDatabase};
use super::tally::{Add, Full, Tally};

/// Registers, and then refuses to do so again, naming whom it found.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Account {
    name: Option<String>,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is here already")]
struct Here(String);

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = UserId;
    type Event = AccountEvent;
    type Error = Here;
    type Services = ();

    async fn handle(&mut self, user_id: UserId, (): &(), sink: &EventSink<Self>) -> Result<(), Here> {
        if let Some(name) = &self.name {
            return Err(Here(name.clone()));
        }
        let registered = AccountRegistered {
            user_id,
            email: None,
            username: Personal::of(user_id, "Annabel"),
            full_name: None,
            role: Role::User,
            public_keys: vec![],
            origin: Origin::Registered,
        };
        sink.write(AccountEvent::Registered(registered), self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        let AccountEvent::Registered(registered) = event else { return };
        self.name = registered.username.reveal().ok().flatten().map(str::to_owned);
    }
}

async fn open(database: &LedgerDatabase) -> (Ledger, Redis) {
    let mut connection = database.connection().await;
    connection.execute("CREATE SCHEMA keys; SET search_path = keys").await.unwrap();
    connection.execute(include_str!("../../../../migrations/keys/0001_keys.sql")).await.unwrap();
    let vault = Vault::open(database.pool.clone(), None).await.unwrap();
    let shutdown = Shutdown::new();
    let redis = Redis::connect(&testkit::servers::redis_url().await, shutdown.clone()).unwrap();
    wait_until("redis is up", BOUND, async || redis.is_up().then_some(())).await;
    let marks = Marks::new(redis.clone(), &shutdown);
    let config = LedgerConfig {
        url: database.url.clone(),
        topic: Topic::Messages,
        pool: database.pool.clone(),
        redis: Some(redis.clone()),
        deadline: DEADLINE,
    };
    (Ledger::open(config, vault, marks, shutdown).await.unwrap(), redis)
}

fn by(user: UserId, record: Option<CommandRecord>) -> Context {
    Context { actor: Actor::User(user), request: RequestContext::default(), record }
}

#[tokio::test]
async fn personal_data_is_sealed_in_the_ledger_and_open_to_the_aggregate_that_loads_it() {
    let database = LedgerDatabase::new().await;
    let (ledger, _) = open(&database).await;
    let ann = UserId(Uuid::now_v7());
    let mut unit = ledger.unit(by(ann, None));
    unit.create::<Account>(ann, ann, &()).await.unwrap();
    unit.commit().await.unwrap();
    let stored: String = sqlx::query_scalar("SELECT payload::text FROM events").fetch_one(&database.pool).await.unwrap();
    assert!(!stored.contains("Annabel") && stored.contains("sealed"), "{stored}");
    let refusal = ledger.unit(by(ann, None)).execute::<Account>(ann, ann, &()).await.unwrap_err();
    assert_eq!(refusal.to_string(), "Annabel is here already");
}

#[tokio::test]
async fn a_commit_leaves_marks_for_its_actor_and_for_whom_its_events_name_and_so_does_a_repeat() {
    let database = LedgerDatabase::new().await;
    let (ledger, redis) = open(&database).await;
    let (ann, bob) = (UserId(Uuid::now_v7()), UserId(Uuid::now_v7()));
    let record = CommandRecord { actor: ann.to_string(), key: "k".into(), digest: [1; 32], status: 200 };
    let command = async || -> Result<_, Full> {
        let mut unit = ledger.unit(by(ann, Some(record.clone())));
        let tally = Uuid::now_v7();
        unit.create::<Tally>(tally, Add { by: bob, limit: 1 }, &()).await.unwrap();
        Ok(unit.commit().await.unwrap())
    };
    let committed = command().await.unwrap();
    let mark = committed.token.marks[0];
    let field = format!("messages/{}/{}", mark.generation, mark.partition);
    let left = async |user: UserId| -> Option<i64> {
        let mut pipeline = ::redis::pipe();
        pipeline.cmd("HGET").arg(format!("mark:{user}")).arg(&field);
        redis.query::<(Option<i64>,)>(&pipeline).await.unwrap().0
    };
    assert_eq!((left(ann).await, left(bob).await), (Some(mark.position), Some(mark.position)));
    // As if the process had died between the commit and the marks.
    let mut pipeline = ::redis::pipe();
    pipeline.cmd("DEL").arg(format!("mark:{ann}"));
    redis.query::<(i64,)>(&pipeline).await.unwrap();
    let again = command().await.unwrap();
    assert!(again.again);
    assert_eq!(again.token, committed.token);
    assert_eq!(left(ann).await, Some(mark.position));
}
