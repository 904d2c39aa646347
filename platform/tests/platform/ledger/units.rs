//! Commands: aggregates run on the ledger, and what they answer with.

use std::time::Duration;

use platform::http::{Problem, RequestContext};
use platform::ledger::{
    Actor, AppendError, CommandRecord, CommitError, Context, Effect, ExecuteError, Ledger, LedgerConfig, Minted, NotStorable,
};
use platform::shutdown::Shutdown;
use schemas::{Event, Topic, UserId, partition};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::fixture::{DEADLINE, LedgerDatabase};
use super::tally::{Add, Added, Full, Tally};

async fn ledger(database: &LedgerDatabase) -> Ledger {
    let (url, pool) = (database.url.clone(), database.pool.clone());
    Ledger::bare(LedgerConfig { url, topic: Topic::Messages, pool, redis: None, deadline: DEADLINE }, Shutdown::new()).await.unwrap()
}

fn ann() -> UserId {
    UserId(Uuid::from_u128(7))
}

fn context() -> Context {
    let request = RequestContext { request_id: "request-1".into(), traceparent: Some("00-aa-bb-01".into()), ..RequestContext::default() };
    Context { actor: Actor::User(ann()), request, record: None }
}

fn keyed(key: &str, digest: u8) -> Context {
    let record = CommandRecord { actor: ann().to_string(), key: key.into(), digest: [digest; 32], status: 200 };
    Context { record: Some(record), ..context() }
}

fn add(limit: u32) -> Add {
    Add { by: ann(), limit }
}

#[tokio::test]
async fn a_command_founds_streams_names_and_secrets_in_one_append() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let (account, session) = (Uuid::now_v7(), Uuid::now_v7());
    let mut unit = ledger.unit(context());
    unit.create::<Tally>(account, add(1), &()).await.unwrap();
    unit.create::<Tally>(session, add(1), &()).await.unwrap();
    unit.effect(Effect::Claim { kind: "email.v1", key: "ann".into(), owner: account.to_string(), expires_at: None });
    unit.effect(Effect::Put { kind: "password", key: account.to_string(), value: vec![1, 2], expires_at: None });
    let committed = unit.commit().await.unwrap();
    assert!(!committed.again);
    assert_eq!(committed.events.len(), 2);
    assert_eq!(ledger.owner_of("email.v1", "ann").await.unwrap(), Some(account.to_string()));
    assert_eq!(ledger.secret("password", &account.to_string()).await.unwrap(), Some(vec![1, 2]));
    assert_eq!(ledger.secrets_of("password").await.unwrap(), [(account.to_string(), None)]);
    let stored = ledger.load("tally", &account.to_string()).await.unwrap();
    let metadata = &stored[0].metadata;
    assert_eq!((metadata.correlation_id.as_str(), metadata.causation_id.as_str()), ("request-1", "request-1"));
    assert_eq!((metadata.actor.clone(), metadata.traceparent.as_deref()), (ann().to_string(), Some("00-aa-bb-01")));
    assert_eq!(format!("{stored:?}"), format!("{:?}", &committed.events[..1]), "what was answered is what stands there");
    let [mark] = committed.token.marks.as_slice() else { panic!("one key, one partition: {:?}", committed.token) };
    assert_eq!(mark.partition, partition(stored[0].key_hash, Topic::PARTITIONS));
    assert_eq!((mark.generation, mark.position), (1, committed.events[1].position));
    // Somebody else cannot have the name, and nothing of that attempt stays.
    let mut second = ledger.unit(context());
    second.create::<Tally>(Uuid::now_v7(), add(1), &()).await.unwrap();
    second.effect(Effect::Claim { kind: "email.v1", key: "ann".into(), owner: "b".into(), expires_at: None });
    let refusal = second.commit().await.unwrap_err();
    assert!(matches!(&refusal, CommitError::Ledger(AppendError::Reserved { owner, .. }) if *owner == account.to_string()), "{refusal}");
    assert_eq!(database.count("events").await, 2);
    assert_eq!(Problem::from(refusal).code, "taken");
}

#[tokio::test]
async fn an_id_that_the_client_minted_is_answered_alike_for_ever_and_stands_for_one_thing_only() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let id = Uuid::now_v7();
    let send = async |digest: &str, actor: Actor| {
        let mut unit = ledger.unit(Context { actor, ..context() });
        unit.create::<Tally>(id, add(1), &()).await.unwrap();
        unit.remember(Some(digest.to_owned()), Some("queued".to_owned()));
        unit.commit_minted::<Added>(id).await
    };
    let me = Actor::User(ann());
    let first = send("d1", me).await.unwrap();
    let again = send("d1", me).await.unwrap();
    assert_eq!((first.again, again.again), (false, true));
    assert_eq!(format!("{:?}", again.events), format!("{:?}", first.events));
    assert_eq!(again.token, first.token);
    assert_eq!(again.events[0].metadata.answer.as_deref(), Some("queued"));
    for other in [send("d2", me).await, send("d1", Actor::System).await] {
        assert!(matches!(other, Err(CommitError::Ledger(AppendError::Conflict { head: 1, .. }))), "{other:?}");
    }
    // The same question before a refusal, when nothing has been decided.
    let mut refusing = ledger.unit(context());
    refusing.remember(Some("d1".into()), None);
    assert!(matches!(refusing.minted::<Added>(id).await.unwrap(), Minted::Again(_)));
    assert!(matches!(refusing.minted::<Added>(Uuid::now_v7()).await.unwrap(), Minted::Free));
    refusing.remember(Some("d2".into()), None);
    assert!(matches!(refusing.minted::<Added>(id).await.unwrap(), Minted::Taken));
    refusing.remember(None, None);
    assert!(matches!(refusing.minted::<Added>(id).await.unwrap(), Minted::Taken), "without a digest nothing is the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_meet_on_one_aggregate_are_run_again_until_each_has_its_turn() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let id = Uuid::now_v7();
    let mut tasks = JoinSet::new();
    for _ in 0..12 {
        let ledger = ledger.clone();
        tasks.spawn(async move {
            let mut unit = ledger.unit(context());
            unit.execute::<Tally>(id, add(10), &()).await.map_err(|error| format!("{error:?}"))?;
            unit.commit().await.map_err(|error| match error.refused::<Full>() {
                Ok(full) => full.to_string(),
                Err(other) => format!("{other:?}"),
            })
        });
    }
    let answers = tasks.join_all().await;
    let refusals: Vec<&String> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert!(refusals.iter().all(|refusal| refusal.contains("no more than 10") || refusal.contains("Full(10)")), "{refusals:?}");
    let totals: Vec<u32> =
        ledger.load("tally", &id.to_string()).await.unwrap().iter().map(|event| Added::decode(event).unwrap().total).collect();
    assert_eq!(totals, (1..=10).collect::<Vec<_>>(), "each decided on what the one before it had left");
}

#[tokio::test]
async fn commands_of_one_unit_see_what_the_earlier_ones_decided() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let id = Uuid::now_v7();
    let mut unit = ledger.unit(context());
    unit.create::<Tally>(id, add(3), &()).await.unwrap();
    unit.execute::<Tally>(id, add(3), &()).await.unwrap();
    unit.execute::<Tally>(id, add(3), &()).await.unwrap();
    let refusal = unit.execute::<Tally>(id, add(3), &()).await.unwrap_err();
    assert!(matches!(refusal, ExecuteError::Refused(Full(3))));
    let committed = unit.commit().await.unwrap();
    assert_eq!(committed.events.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn a_repeated_key_gets_the_first_events_and_another_body_is_told_so() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let command = async |context: Context| {
        let mut unit = ledger.unit(context);
        unit.create::<Tally>(Uuid::now_v7(), add(1), &()).await.unwrap();
        unit.commit().await
    };
    assert!(ledger.unit(keyed("k", 1)).answered().await.unwrap().is_none());
    let first = command(keyed("k", 1)).await.unwrap();
    for again in [command(keyed("k", 1)).await.unwrap(), ledger.unit(keyed("k", 1)).answered().await.unwrap().unwrap()] {
        assert!(again.again);
        assert_eq!(format!("{:?}", again.events), format!("{:?}", first.events));
        assert_eq!(again.token, first.token);
    }
    let mismatch = command(keyed("k", 2)).await.unwrap_err();
    assert!(matches!(mismatch, CommitError::Mismatch));
    assert_eq!((Problem::from(mismatch).status.as_u16(), database.count("events").await), (422, 1));
    assert!(matches!(ledger.unit(keyed("k", 2)).answered().await, Err(CommitError::Mismatch)));
    assert!(ledger.unit(context()).answered().await.unwrap().is_none(), "no key, no answer");
}

#[tokio::test]
async fn a_command_that_changes_nothing_is_recorded_all_the_same() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let mut unit = ledger.unit(keyed("k", 1));
    unit.execute::<Tally>(Uuid::now_v7(), add(0), &()).await.unwrap();
    assert!(unit.is_empty());
    let committed = unit.commit().await.unwrap();
    assert!(committed.events.is_empty() && committed.token.marks.is_empty());
    assert!(ledger.unit(keyed("k", 1)).answered().await.unwrap().is_some());
    assert!(matches!(ledger.unit(keyed("k", 2)).answered().await, Err(CommitError::Mismatch)));
}

#[tokio::test]
async fn look_ups_that_get_no_answer_are_unavailable_in_time() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let mut locker = database.connection().await;
    sqlx::query("SET lock_timeout = 0").execute(&mut locker).await.unwrap();
    sqlx::query("BEGIN").execute(&mut locker).await.unwrap();
    sqlx::query("LOCK TABLE events IN ACCESS EXCLUSIVE MODE").execute(&mut locker).await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(4), ledger.first("tally", "x")).await.expect("bounded");
    assert_eq!(answer.unwrap_err(), AppendError::Unavailable);
    let problem = Problem::from(AppendError::Unavailable);
    assert_eq!((problem.status.as_u16(), problem.code, problem.retry_after.is_some()), (503, "unavailable", true));
}

#[tokio::test]
async fn housekeeping_removes_what_has_lapsed_and_nothing_else() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    for (key, age) in [("old", "25 hours"), ("young", "23 hours")] {
        ledger.unit(keyed(key, 1)).commit().await.unwrap();
        sqlx::query("UPDATE command_results SET recorded_at = recorded_at - $1::text::interval WHERE command_key = $2")
            .bind(age)
            .bind(key)
            .execute(&database.pool)
            .await
            .unwrap();
    }
    let mut unit = ledger.unit(context());
    for (key, end) in [("lapsed", "2020-01-01T00:00:00Z"), ("kept", "2999-01-01T00:00:00Z")] {
        let expires_at = Some(end.parse().unwrap());
        unit.effect(Effect::Put { kind: "revoked", key: key.into(), value: vec![], expires_at });
        unit.effect(Effect::Claim { kind: "name.v1", key: key.into(), owner: "a".into(), expires_at });
    }
    unit.effect(Effect::Put { kind: "revoked", key: "for ever".into(), value: vec![], expires_at: None });
    unit.commit().await.unwrap();
    assert_eq!(ledger.housekeeping().await.unwrap(), 3);
    assert_eq!(ledger.housekeeping().await.unwrap(), 0);
    assert_eq!(database.count("command_results WHERE command_key = 'young'").await, 1);
    assert_eq!(database.count("reservations WHERE key = 'kept'").await, 1);
    assert_eq!(ledger.secrets_of("revoked").await.unwrap().len(), 2);
    assert_eq!(ledger.owner_of("name.v1", "kept").await.unwrap().as_deref(), Some("a"));
}

#[tokio::test]
async fn personal_data_never_reaches_a_ledger_that_cannot_seal_it() {
    let database = LedgerDatabase::new().await;
    let ledger = ledger(&database).await;
    let mut unit = ledger.unit(context());
    let refusal = unit.create::<super::tally::Person>(Uuid::now_v7(), (), &()).await.unwrap_err();
    assert!(matches!(refusal, ExecuteError::Ledger(AppendError::Rejected(NotStorable::Encoding(_)))), "{refusal:?}");
}
