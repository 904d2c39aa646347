//! Lost connections, held lanes, orphans: the outcome is known, or said to be unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use platform::ledger::{Append, AppendError, Effect, Writer};
use platform::shutdown::Shutdown;
use schemas::Topic;
use testkit::wait_until;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::fixture::{BOUND, DEADLINE, LedgerDatabase, founding, recorded};
use super::wire::{Mode, Wire};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_backends_lose_and_double_nothing() {
    let database = Arc::new(LedgerDatabase::new().await);
    let writers = [database.writer_within(BOUND).await, database.writer_within(BOUND).await];
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn({
        let (database, done) = (Arc::clone(&database), Arc::clone(&done));
        async move {
            let (mut kills, mut seen) = (0, 0);
            while !done.load(Ordering::Acquire) {
                // Twice after something was stored, the second time while they come back: so that there is progress, however slow the machine is.
                let commits = database.commits.load(Ordering::Acquire);
                if commits > seen {
                    seen = commits;
                    kills += database.kill_writers().await;
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    kills += database.kill_writers().await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            kills
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..64_usize {
        let writer = writers[task % 2].clone();
        tasks.spawn(async move {
            let mut stored = Vec::new();
            for round in 0..40 {
                let stream = Uuid::now_v7();
                let append = if round % 4 == 0 { recorded(founding(stream), &stream.to_string(), 1) } else { founding(stream) };
                stored.push((stream.to_string(), writer.append(append).await.unwrap()[0].position));
            }
            stored
        });
    }
    let mut answered: Vec<(String, i64)> = tasks.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Release);
    let kills = killer.await.unwrap();
    assert!(kills >= 10, "only {kills} backends were killed");
    let mut rows: Vec<(String, i64)> = sqlx::query_as("SELECT aggregate_id, position FROM events").fetch_all(&database.pool).await.unwrap();
    answered.sort_unstable();
    rows.sort_unstable();
    assert_eq!(rows, answered, "every event that was acknowledged is there once, at the position that was answered, and no other");
    assert_eq!(database.count("command_results").await, 640);
}

#[tokio::test]
async fn a_lane_held_beyond_the_deadline_leaves_the_outcome_unknown_and_the_retry_finds_it() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer_within(Duration::from_secs(2)).await;
    let holder = database.hold_lane().await;
    let command = recorded(founding(Uuid::now_v7()), "key", 1);
    let begin = Instant::now();
    let submitted = {
        let (writer, command) = (writer.clone(), command.clone());
        tokio::spawn(async move { writer.append(command).await })
    };
    wait_until("the batch at the lane", BOUND, async || (!database.parked().await.is_empty()).then_some(())).await;
    let queued = writer.append(founding(Uuid::now_v7())).await;
    assert_eq!(queued, Err(AppendError::Unavailable), "what was still queued is certain");
    assert_eq!(submitted.await.unwrap(), Err(AppendError::OutcomeUnknown));
    assert!(begin.elapsed() < Duration::from_secs(4), "callers never wait beyond their deadline");
    drop(holder);
    let again = writer.append(recorded(founding(Uuid::now_v7()), "key", 1)).await;
    assert!(matches!(again, Err(AppendError::Duplicate { .. })), "{again:?}");
    assert_eq!(database.count("events").await, 1, "and what was dropped from the queue never came");
}

#[tokio::test]
async fn an_orphaned_backend_cannot_commit_what_its_writer_was_told_is_refused() {
    let database = LedgerDatabase::new().await;
    let wire = Wire::to(&database.url).await;
    let (writer, other) = (database.writer_over(&wire.url, DEADLINE).await, database.writer().await);
    let claim = |owner: &str| Append {
        effects: vec![Effect::Claim { kind: "email.v1", key: "ann".into(), owner: owner.into(), expires_at: None }],
        ..founding(Uuid::now_v7())
    };
    other.append(claim("bob")).await.unwrap();
    // The batch stands before the lane; its writer loses the connection, its backend does not know; the batch is submitted again while the lane is still held.
    let holder = database.hold_lane().await;
    let ann = {
        let writer = writer.clone();
        tokio::spawn(async move { writer.append(claim("ann")).await })
    };
    let orphan = wait_until("the batch at the lane", BOUND, async || database.parked().await.first().copied()).await;
    wire.orphan();
    wait_until("its successor at the lane", BOUND, async || database.parked().await.into_iter().find(|pid| *pid != orphan)).await;
    assert!(!database.parked().await.contains(&orphan), "the successor comes to the lane only when its predecessor is gone");
    drop(holder);
    assert_eq!(ann.await.unwrap(), Err(AppendError::Reserved { kind: "email.v1".into(), owner: "bob".into() }));
    let release =
        Append { effects: vec![Effect::Release { kind: "email.v1", key: "ann".into(), owner: "bob".into() }], ..Append::default() };
    other.append(release).await.unwrap();
    assert_eq!(database.count("reservations").await, 0, "nobody takes the name behind the refusal");
    assert_eq!(database.count("events").await, 1);
}

#[tokio::test]
async fn dropping_the_future_does_not_take_the_append_back() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let holder = database.hold_lane().await;
    let mut abandoned = Box::pin(writer.append(founding(Uuid::now_v7())));
    tokio::select! {
        _ = &mut abandoned => panic!("the lane is held"),
        _ = wait_until("the batch at the lane", BOUND, async || (!database.parked().await.is_empty()).then_some(())) => {}
    }
    drop(abandoned);
    drop(holder);
    wait_until("the event", BOUND, async || (database.count("events").await == 1).then_some(())).await;
}

#[tokio::test]
async fn a_database_that_went_away_is_a_certain_no_in_time() {
    let database = LedgerDatabase::new().await;
    let deadline = Duration::from_millis(800);
    let writer = database.writer_within(deadline).await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&database.pool).await.unwrap();
    let server = sqlx::PgPool::connect(&testkit::servers::postgres_url().await).await.unwrap();
    let allow = |yes: bool| sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}"));
    sqlx::query(allow(false)).execute(&server).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1").bind(&name).execute(&server).await.unwrap();
    let begin = Instant::now();
    // The first may have been sent into the dead connection; once the writer knows that there is none, it is certain.
    let first = writer.append(founding(Uuid::now_v7())).await;
    assert!(matches!(first, Err(AppendError::OutcomeUnknown | AppendError::Unavailable)), "{first:?}");
    assert_eq!(writer.append(founding(Uuid::now_v7())).await, Err(AppendError::Unavailable));
    assert!(begin.elapsed() < deadline * 2 + DEADLINE / 2);
    sqlx::query(allow(true)).execute(&server).await.unwrap();
    wait_until("the ledger works again", BOUND, async || writer.append(founding(Uuid::now_v7())).await.ok()).await;
}

#[tokio::test]
async fn an_answer_that_is_lost_after_the_commit_is_found_by_submitting_the_same_batch_again() {
    let database = LedgerDatabase::new().await;
    let wire = Wire::to(&database.url).await;
    let writer = database.writer_over(&wire.url, DEADLINE).await;
    writer.append(founding(Uuid::now_v7())).await.unwrap();
    let claim = Effect::Claim { kind: "email.v1", key: "ann".into(), owner: "a".into(), expires_at: None };
    for (n, append) in [
        founding(Uuid::now_v7()),
        recorded(founding(Uuid::now_v7()), "with events", 1),
        recorded(Append::default(), "without", 1),
        Append { effects: vec![claim], ..founding(Uuid::now_v7()) },
    ]
    .into_iter()
    .enumerate()
    {
        wire.set(Mode::LosesAnswer);
        let stored = writer.append(append.clone()).await.unwrap();
        wire.lost().await;
        let positions: Vec<i64> = sqlx::query_scalar("SELECT position FROM events WHERE event_id = ANY ($1)")
            .bind(append.events.iter().map(|event| event.event_id).collect::<Vec<_>>())
            .fetch_all(&database.pool)
            .await
            .unwrap();
        assert_eq!(stored.iter().map(|stored| stored.position).collect::<Vec<_>>(), positions, "append {n}");
    }
    assert_eq!(database.count("events").await, 4);
    assert_eq!(database.count("command_results").await, 2);
}

#[tokio::test]
async fn a_server_that_hangs_holds_no_caller_beyond_the_deadline_and_its_batch_comes_to_an_end() {
    let database = LedgerDatabase::new().await;
    let wire = Wire::to(&database.url).await;
    let deadline = Duration::from_millis(700);
    let writer = database.writer_over(&wire.url, deadline).await;
    writer.append(founding(Uuid::now_v7())).await.unwrap();
    wire.set(Mode::Held);
    let begin = Instant::now();
    let submitted = writer.append(recorded(founding(Uuid::now_v7()), "key", 1)).await;
    assert_eq!(submitted, Err(AppendError::OutcomeUnknown));
    let queued = writer.append(founding(Uuid::now_v7())).await;
    assert_eq!(queued, Err(AppendError::Unavailable));
    assert!(begin.elapsed() < deadline * 3, "{:?}", begin.elapsed());
    wire.set(Mode::Open);
    let again =
        wait_until("the ledger works again", BOUND, async || match writer.append(recorded(founding(Uuid::now_v7()), "key", 1)).await {
            Err(AppendError::Unavailable | AppendError::OutcomeUnknown) => None,
            answer => Some(answer),
        })
        .await;
    assert!(matches!(again, Err(AppendError::Duplicate { .. })), "{again:?}");
    assert_eq!(database.count("events").await, 2);
}

#[tokio::test]
async fn a_full_queue_is_a_certain_no_at_once() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer_within(BOUND).await;
    let holder = database.hold_lane().await;
    let large = || {
        let mut append = founding(Uuid::now_v7());
        append.events[0].payload = super::fixture::raw(&format!("\"{}\"", "x".repeat(890 << 10)));
        append
    };
    let mut waiting = JoinSet::new();
    for _ in 0..100 {
        let (writer, append) = (writer.clone(), large());
        waiting.spawn(async move { writer.append(append).await });
    }
    let refused = waiting.join_next().await.unwrap().unwrap();
    assert_eq!(refused, Err(AppendError::Unavailable), "64 MiB wait; what comes beyond is not kept");
    drop(holder);
    let answers = waiting.join_all().await;
    let stored = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(stored >= 70, "{stored}");
    assert_eq!(database.count("events").await, i64::try_from(stored).unwrap());
}

#[tokio::test]
async fn a_server_that_has_become_read_only_is_a_certain_no_at_once_until_it_is_writable_again() {
    let database = LedgerDatabase::new().await;
    let deadline = Duration::from_secs(1);
    let writer = database.writer_within(deadline).await;
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&database.pool).await.unwrap();
    let read_only = |yes: &str| sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} SET default_transaction_read_only = {yes}"));
    let mut admin = database.connection().await;
    sqlx::query(read_only("on")).execute(&mut admin).await.unwrap();
    database.kill_writers().await;
    let begin = Instant::now();
    // In doubt once, since its connection died: it is settled only by an answer, which a read-only server cannot give.
    let first = tokio::spawn({
        let writer = writer.clone();
        async move { writer.append(founding(Uuid::now_v7())).await }
    });
    assert_eq!(first.await.unwrap(), Err(AppendError::OutcomeUnknown));
    assert!(begin.elapsed() < deadline * 3);
    sqlx::query(read_only("off")).execute(&mut admin).await.unwrap();
    wait_until("the ledger works again", BOUND, async || writer.append(founding(Uuid::now_v7())).await.ok()).await;
    assert_eq!(database.count("events").await, 2, "the first one was driven to its end");
}

#[tokio::test]
async fn the_end_of_the_process_waits_for_the_batch_in_flight() {
    let database = LedgerDatabase::new().await;
    let shutdown = Shutdown::new();
    let writer = Writer::start(&database.url, Topic::Messages, Uuid::nil(), DEADLINE, &shutdown, |_| {}).await.unwrap();
    let holder = database.hold_lane().await;
    let append = tokio::spawn(async move { writer.append(founding(Uuid::now_v7())).await });
    wait_until("the batch at the lane", BOUND, async || (!database.parked().await.is_empty()).then_some(())).await;
    append.abort();
    shutdown.drain();
    let mut end = Box::pin(shutdown.finished());
    assert!(futures::poll!(&mut end).is_pending());
    drop(holder);
    tokio::time::timeout(BOUND, end).await.unwrap();
    assert_eq!(database.count("events").await, 1);
}
