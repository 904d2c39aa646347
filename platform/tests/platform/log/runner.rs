//! A projection of the tests' own, whose counter shows whether anything was applied twice.

mod stalled;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use platform::config::StartError;
use platform::fresh::Progress;
use platform::http::health::Readiness;
use platform::log::{
    Announce, ApplyError, Batch, LedgerSource, Ownership, Projection, ProjectionTx, RetryError, Runner, RunnerConfig, retry_parked,
    skip_parked,
};
use platform::shutdown::Shutdown;
use schemas::Topic;
use schemas::read_models::ReadModel;
use sqlx::{AssertSqlSafe, PgPool};
use testkit::wait_until;
use tokio::task::JoinHandle;

use super::support::{FromKafka, TestLedger};

const BOUND: Duration = Duration::from_secs(20);
const STALLED: Duration = Duration::from_secs(2);

struct TallyModel;
impl ReadModel for TallyModel {
    const NAME: &'static str = "tally";
    const SERVICE: &'static str = "messages";
    const READS: &'static [Topic] = &[Topic::Messages];
}

/// Switches that a test holds.
#[derive(Debug, Default)]
struct Switches {
    /// So many folds fail, as if something did not answer.
    away: AtomicUsize,
    /// Events without a number are read as this one's, instead of being poison.
    lenient: AtomicBool,
    /// Holds every transaction between apply and commit.
    hold: AtomicBool,
    /// Holds every fold, as a vault does that answers slowly.
    hold_folds: AtomicBool,
    held: AtomicUsize,
    folds: AtomicUsize,
}

/// An event with this number says nothing to a tally.
const NOTHING: i64 = -1;

/// Counts events per key; keeps every position.
#[derive(Debug, Clone, Default)]
struct Tally<const BUILD: i32>(Arc<Switches>);

impl<const BUILD: i32> Projection for Tally<BUILD> {
    type Model = TallyModel;
    type Folded = Vec<(String, i64, i64)>;
    const BUILD: i32 = BUILD;
    const SCHEMA: &'static str = "CREATE TABLE totals (key text PRIMARY KEY, total bigint NOT NULL);
         CREATE TABLE seen (position bigint PRIMARY KEY, key text NOT NULL, n bigint NOT NULL CONSTRAINT no_devil CHECK (n <> -666));";

    async fn fold(&self, batch: Batch<'_>) -> Result<Self::Folded, ApplyError> {
        self.0.folds.fetch_add(1, Ordering::Relaxed);
        while self.0.hold_folds.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.0.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
            return Err(ApplyError::Infrastructure("the vault is away".into()));
        }
        let number = |json: &str| serde_json::from_str::<serde_json::Value>(json).ok()?["n"].as_i64();
        batch
            .iter()
            .filter(|event| number(event.payload.get()) != Some(NOTHING))
            .map(|event| match number(event.payload.get()) {
                Some(n) => Ok((event.partition_key.clone(), event.position, n)),
                None if self.0.lenient.load(Ordering::Relaxed) => Ok((event.partition_key.clone(), event.position, 0)),
                None => Err(ApplyError::Event { event_id: event.event_id, position: event.position, reason: "no number".into() }),
            })
            .collect()
    }

    fn is_empty(folded: &Self::Folded) -> bool {
        folded.is_empty()
    }

    async fn apply(&self, tx: &mut ProjectionTx<'_>, folded: &Self::Folded) -> Result<(), sqlx::Error> {
        let keys: Vec<&str> = folded.iter().map(|(key, ..)| key.as_str()).collect();
        let positions: Vec<i64> = folded.iter().map(|(_, position, _)| *position).collect();
        let numbers: Vec<i64> = folded.iter().map(|(.., n)| *n).collect();
        sqlx::query("INSERT INTO seen SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[])")
            .bind(positions)
            .bind(&keys)
            .bind(numbers)
            .execute(&mut **tx)
            .await?;
        sqlx::query(
            "INSERT INTO totals SELECT key, count(*) FROM unnest($1::text[]) AS key GROUP BY key ON CONFLICT (key) DO UPDATE SET total = totals.total + excluded.total",
        )
        .bind(&keys)
        .execute(&mut **tx)
        .await?;
        self.0.held.fetch_add(1, Ordering::Relaxed);
        while self.0.hold.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<i64>);
impl Announce for Heard {
    fn advance(&self, model: &'static str, topic: Topic, progress: &Progress) {
        assert_eq!((model, topic), ("tally", Topic::Messages));
        let mut heard = self.0.lock().unwrap();
        *heard = progress.scanned.max(*heard);
    }
}

struct Running {
    shutdown: Shutdown,
    readiness: Readiness,
    heard: Arc<Heard>,
    switches: Arc<Switches>,
    task: JoinHandle<Result<(), StartError>>,
}

impl Running {
    async fn stop(self) {
        self.shutdown.drain();
        tokio::time::timeout(BOUND, self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn start<const BUILD: i32>(ledger: &TestLedger) -> Running {
    start_with::<BUILD>(ledger, Arc::default()).await
}

async fn start_with<const BUILD: i32>(ledger: &TestLedger, switches: Arc<Switches>) -> Running {
    let (shutdown, readiness, heard) = (Shutdown::new(), Readiness::new(), Arc::new(Heard::default()));
    readiness.require("tally");
    let config = RunnerConfig {
        pool: ledger.database.clone(),
        announce: heard.clone(),
        readiness: readiness.clone(),
        ownership: Ownership::Alone { stalled_after: STALLED },
    };
    let source = Box::new(LedgerSource::new(ledger.feed().await));
    let runner = Runner::new(Tally::<BUILD>(switches.clone()), config);
    let task = tokio::spawn(runner.run(source, shutdown.clone()));
    Running { shutdown, readiness, heard, switches, task }
}

async fn number(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap_or(-1)
}

async fn until(ledger: &TestLedger, sql: &str, value: i64) {
    wait_until((sql, value), BOUND, async || (number(&ledger.database, sql).await == value).then_some(())).await;
}

const SEEN: &str = "SELECT count(*) FROM tally.seen";
const TOTAL: &str = "SELECT coalesce(sum(total), 0)::bigint FROM tally.totals";
const PARKED: &str = "SELECT count(*) FROM tally.parked";

#[tokio::test]
async fn a_projection_makes_its_schema_catches_up_says_so_and_follows() {
    let ledger = TestLedger::new().await;
    let positions = ledger.fill(0, 2500, 9).await;
    let running = start::<1>(&ledger).await;
    wait_until("ready", BOUND, async || running.readiness.missing().is_empty().then_some(())).await;
    assert_eq!(number(&ledger.database, SEEN).await, 2500);
    let more = ledger.fill(2500, 10, 9).await;
    until(&ledger, SEEN, 2510).await;
    wait_until("announced", BOUND, async || (*running.heard.0.lock().unwrap() == more[9]).then_some(())).await;
    assert!(positions[0] < more[9]);
    running.stop().await;
    assert_eq!(number(&ledger.database, TOTAL).await, 2510);
}

#[tokio::test]
async fn a_restarted_projection_goes_on_where_its_checkpoint_stands() {
    let ledger = TestLedger::new().await;
    for round in 0..4 {
        ledger.fill(round * 100, 100, 9).await;
        let running = start::<1>(&ledger).await;
        until(&ledger, SEEN, i64::try_from(round + 1).unwrap() * 100).await;
        running.stop().await;
    }
    assert_eq!(number(&ledger.database, TOTAL).await, 400);
}

#[tokio::test]
async fn the_second_of_two_runners_stands_by_becomes_ready_and_takes_over() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 50, 5).await;
    let first = start::<1>(&ledger).await;
    until(&ledger, SEEN, 50).await;
    let second = start::<1>(&ledger).await;
    wait_until("standing by, ready", BOUND, async || second.readiness.missing().is_empty().then_some(())).await;
    assert_eq!(second.switches.held.load(Ordering::Relaxed), 0);
    first.stop().await;
    ledger.fill(50, 50, 5).await;
    until(&ledger, SEEN, 100).await;
    assert!(second.switches.held.load(Ordering::Relaxed) > 0);
    second.stop().await;
    assert_eq!(number(&ledger.database, TOTAL).await, 100);
}

#[tokio::test]
async fn what_was_applied_but_not_committed_when_the_connection_died_is_applied_once() {
    let ledger = TestLedger::new().await;
    let switches = Arc::new(Switches::default());
    switches.hold.store(true, Ordering::Relaxed);
    ledger.fill(0, 100, 5).await;
    let running = start_with::<1>(&ledger, switches.clone()).await;
    wait_until("applied", BOUND, async || (switches.held.load(Ordering::Relaxed) == 1).then_some(())).await;
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
        .execute(&ledger.database)
        .await
        .unwrap();
    switches.hold.store(false, Ordering::Relaxed);
    until(&ledger, SEEN, 100).await;
    assert!(switches.held.load(Ordering::Relaxed) >= 2);
    running.stop().await;
    assert_eq!(number(&ledger.database, TOTAL).await, 100);
}

#[tokio::test]
async fn a_runner_that_lost_its_ownership_asleep_writes_nothing() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 10, 5).await;
    let first = start::<1>(&ledger).await;
    until(&ledger, SEEN, 10).await;
    // Somebody else moves on behind its back, past the events that it is about to read.
    let mut other = ledger.database.begin().await.unwrap();
    sqlx::query("SELECT FROM tally.checkpoints FOR UPDATE").execute(&mut *other).await.unwrap();
    let positions = ledger.fill(10, 10, 5).await;
    sqlx::query("UPDATE tally.checkpoints SET last_position = $1, next_offset = CASE partition WHEN -1 THEN $1 ELSE next_offset END, source = 'ledger', incarnation = (SELECT incarnation FROM messages_ledger.ledger_meta)")
        .bind(positions[9])
        .execute(&mut *other)
        .await
        .unwrap();
    wait_until("the runner waits for the rows", BOUND, async || {
        (number(&ledger.database, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
            .await
            > 0)
        .then_some(())
    })
    .await;
    other.commit().await.unwrap();
    ledger.fill(20, 1, 1).await;
    until(&ledger, "SELECT max(n) FROM tally.seen", 20).await;
    assert_eq!(number(&ledger.database, SEEN).await, 11);
    first.stop().await;
}

#[tokio::test]
async fn events_that_say_nothing_move_the_checkpoint_and_only_where_it_stands_as_it_is_believed_to() {
    let ledger = TestLedger::new().await;
    let nothing: Vec<_> = (0..5).map(|_| ("key".to_owned(), format!(r#"{{"n":{NOTHING}}}"#))).collect();
    let running = start::<1>(&ledger).await;
    let positions = ledger.append(&nothing).await;
    let stands = "SELECT max(last_position) FROM tally.checkpoints";
    until(&ledger, stands, positions[4]).await;
    wait_until("announced", BOUND, async || (*running.heard.0.lock().unwrap() == positions[4]).then_some(())).await;
    assert_eq!((running.switches.held.load(Ordering::Relaxed), number(&ledger.database, SEEN).await), (0, 0));

    sqlx::query("UPDATE tally.checkpoints SET state = 'retired'").execute(&ledger.database).await.unwrap();
    let folds = running.switches.folds.load(Ordering::Relaxed);
    ledger.append(&nothing).await;
    wait_until("it has folded them", BOUND, async || (running.switches.folds.load(Ordering::Relaxed) > folds).then_some(())).await;
    running.stop().await;
    assert_eq!(number(&ledger.database, stands).await, positions[4]);
}

#[tokio::test]
async fn rows_of_a_retired_schema_are_not_written() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 10, 5).await;
    let running = start::<1>(&ledger).await;
    until(&ledger, SEEN, 10).await;
    let folds = running.switches.folds.load(Ordering::Relaxed);
    sqlx::query("UPDATE tally.checkpoints SET state = 'retired'").execute(&ledger.database).await.unwrap();
    ledger.fill(10, 10, 5).await;
    wait_until("it has folded them", BOUND, async || (running.switches.folds.load(Ordering::Relaxed) > folds).then_some(())).await;
    // The end waits for the batch it is in.
    running.stop().await;
    assert_eq!((number(&ledger.database, SEEN).await, number(&ledger.database, TOTAL).await), (10, 10));
}

#[tokio::test]
async fn an_event_that_cannot_be_read_parks_its_key_and_nobody_elses() {
    let ledger = TestLedger::new().await;
    let bad = |json: &str| ("bad".to_owned(), json.to_owned());
    let good = |n: i64| ("good".to_owned(), format!(r#"{{"n":{n}}}"#));
    ledger.append(&[good(1), bad(r#"{"n":1}"#), bad(r#"{"x":1}"#), good(2), bad(r#"{"n":2}"#)]).await;
    let running = start::<1>(&ledger).await;
    until(&ledger, SEEN, 3).await;
    // Later ones of the key wait behind it, after a restart too.
    running.stop().await;
    let running = start::<1>(&ledger).await;
    ledger.append(&[bad(r#"{"n":3}"#), good(3)]).await;
    until(&ledger, SEEN, 4).await;
    assert_eq!(number(&ledger.database, PARKED).await, 3);
    assert_eq!(number(&ledger.database, "SELECT count(*) FROM tally.parked WHERE reason IS NOT NULL").await, 1);

    let lenient = Tally::<1>(Arc::new(Switches { lenient: true.into(), ..Switches::default() }));
    let strict = Tally::<1>::default();
    let refused = retry_parked(&strict, &ledger.database, Topic::Messages, "bad").await;
    assert!(matches!(refused, Err(RetryError::StillBroken { .. })), "{refused:?}");
    assert_eq!(number(&ledger.database, PARKED).await, 3);
    assert_eq!(retry_parked(&lenient, &ledger.database, Topic::Messages, "bad").await.unwrap(), 3);
    // The key is free again, for the running projection too.
    ledger.append(&[bad(r#"{"n":4}"#)]).await;
    until(&ledger, SEEN, 8).await;
    assert_eq!(number(&ledger.database, TOTAL).await, 8);
    assert_eq!(number(&ledger.database, "SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY position) AS before FROM tally.seen WHERE key = 'good') x WHERE n < before").await, 0);
    running.stop().await;
}

#[tokio::test]
async fn an_event_that_the_database_refuses_is_found_in_its_batch_and_parked() {
    let ledger = TestLedger::new().await;
    let mut events: Vec<_> =
        (0..700).map(|n| (format!("key-{}", n % 50), format!(r#"{{"n":{}}}"#, if n == 666 { -666 } else { n }))).collect();

    events.push((events[666].0.clone(), r#"{"n":1}"#.to_owned()));
    ledger.append(&events).await;
    let running = start::<1>(&ledger).await;
    until(&ledger, SEEN, 699).await;
    wait_until("ready", BOUND, async || running.readiness.missing().is_empty().then_some(())).await;
    running.stop().await;
    // It, and the later one of its key.
    assert_eq!(number(&ledger.database, PARKED).await, 2);
    let reason: String =
        sqlx::query_scalar("SELECT reason FROM tally.parked WHERE reason IS NOT NULL").fetch_one(&ledger.database).await.unwrap();
    assert_eq!(reason, "SQLSTATE 23514, constraint no_devil");
}

#[tokio::test]
async fn a_parked_event_that_is_skipped_frees_what_waits_behind_it() {
    let ledger = TestLedger::new().await;
    ledger.append(&[("k".into(), "{}".into()), ("k".into(), r#"{"n":5}"#.into())]).await;
    let running = start::<1>(&ledger).await;
    until(&ledger, PARKED, 2).await;
    assert!(skip_parked::<Tally<1>>(&ledger.database, Topic::Messages, "k").await.unwrap().is_some());
    assert_eq!(retry_parked(&Tally::<1>::default(), &ledger.database, Topic::Messages, "k").await.unwrap(), 1);
    assert_eq!(number(&ledger.database, "SELECT n FROM tally.seen").await, 5);
    running.stop().await;
}

#[tokio::test]
async fn many_poisoned_keys_stop_the_projection_instead_of_being_parked() {
    let ledger = TestLedger::new().await;
    let events: Vec<_> = (0..31).map(|n| (format!("key-{n}"), "{}".to_owned())).collect();
    ledger.append(&events).await;
    let running = start::<1>(&ledger).await;
    let stopped = tokio::time::timeout(BOUND, running.task).await.unwrap().unwrap().unwrap_err();
    assert!(stopped.to_string().contains("more than 30 keys"), "{stopped}");
    assert_eq!(number(&ledger.database, PARKED).await, 0);
}

#[tokio::test]
async fn a_dependency_that_is_away_is_waited_for() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 10, 5).await;
    let running = start_with::<1>(&ledger, Arc::new(Switches { away: AtomicUsize::new(3), ..Switches::default() })).await;
    until(&ledger, SEEN, 10).await;
    running.stop().await;
    assert_eq!(number(&ledger.database, PARKED).await, 0);
}

#[tokio::test]
async fn a_newer_build_refills_beside_the_old_one_and_takes_its_place() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 2100, 5).await;
    let old = start::<1>(&ledger).await;
    until(&ledger, SEEN, 2100).await;
    old.stop().await;
    // Something that only a refill would mend.
    sqlx::query("DELETE FROM tally.seen WHERE n < 100").execute(&ledger.database).await.unwrap();
    let switches = Arc::new(Switches::default());
    switches.hold.store(true, Ordering::Relaxed);
    let new = start_with::<2>(&ledger, switches.clone()).await;
    wait_until("refilling", BOUND, async || (switches.held.load(Ordering::Relaxed) == 1).then_some(())).await;
    assert_eq!(number(&ledger.database, SEEN).await, 2000, "the old build serves meanwhile");
    assert_eq!(*new.heard.0.lock().unwrap(), 0, "nobody is told of a refill");
    switches.hold.store(false, Ordering::Relaxed);
    until(&ledger, SEEN, 2100).await;
    until(&ledger, "SELECT build::bigint FROM tally.checkpoints WHERE partition = -1", 2).await;
    ledger.fill(2100, 10, 5).await;
    until(&ledger, SEEN, 2110).await;
    until(&ledger, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'tally\\_\\_%'", 0).await;
    new.stop().await;
    assert_eq!(number(&ledger.database, TOTAL).await, 2110);
}

#[tokio::test]
async fn a_refill_that_was_interrupted_is_resumed() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 4500, 5).await;
    let old = start::<1>(&ledger).await;
    until(&ledger, SEEN, 4500).await;
    old.stop().await;
    let switches = Arc::new(Switches::default());
    let new = start_with::<2>(&ledger, switches.clone()).await;
    wait_until("one batch", BOUND, async || (switches.held.load(Ordering::Relaxed) >= 1).then_some(())).await;
    new.task.abort();
    let _ = new.task.await;
    let begun = number(&ledger.database, "SELECT count(*) FROM tally__next.seen").await;
    let again = start::<2>(&ledger).await;
    until(&ledger, "SELECT build::bigint FROM tally.checkpoints WHERE partition = -1", 2).await;
    again.stop().await;
    assert_eq!((number(&ledger.database, SEEN).await, number(&ledger.database, TOTAL).await), (4500, 4500), "begun with {begun}");
}

#[tokio::test]
async fn an_older_build_refuses_what_a_newer_one_has_filled() {
    let ledger = TestLedger::new().await;
    let new = start::<2>(&ledger).await;
    wait_until("ready", BOUND, async || new.readiness.missing().is_empty().then_some(())).await;
    new.stop().await;
    let old = start::<1>(&ledger).await;
    let refused = tokio::time::timeout(BOUND, old.task).await.unwrap().unwrap().unwrap_err();
    assert!(refused.to_string().contains("build 2") && refused.to_string().contains("newer release"), "{refused}");
}

/// Two runners share a projection over Kafka; one of them ends in the middle.
pub(super) async fn shared(world: &FromKafka) {
    let ledger = &world.ledger;
    ledger.fill(0, 1000, 60).await;
    let run = async || {
        let (shutdown, readiness, heard) = (Shutdown::new(), Readiness::new(), Arc::new(Heard::default()));
        readiness.require("tally");
        let config = RunnerConfig {
            pool: ledger.database.clone(),
            announce: heard.clone(),
            readiness: readiness.clone(),
            ownership: Ownership::Shared,
        };
        let switches = Arc::new(Switches::default());
        let source = Box::new(world.reader("tally").await);
        let task = tokio::spawn(Runner::new(Tally::<1>(switches.clone()), config).run(source, shutdown.clone()));
        Running { shutdown, readiness, heard, switches, task }
    };
    let (one, two) = (run().await, run().await);
    let worked = |running: &Running| running.switches.held.load(Ordering::Relaxed) > 2 && running.readiness.missing().is_empty();
    let (mut filled, begin) = (1000, std::time::Instant::now());
    while !(worked(&one) && worked(&two)) {
        assert!(begin.elapsed() < BOUND * 3, "only one of them works");
        ledger.fill(filled, 60, 60).await;
        filled += 60;
        until(ledger, SEEN, i64::try_from(filled).unwrap()).await;
    }
    one.stop().await;
    ledger.fill(filled, 60, 60).await;
    until(ledger, SEEN, i64::try_from(filled + 60).unwrap()).await;
    two.stop().await;
    assert_eq!(number(&ledger.database, TOTAL).await, i64::try_from(filled + 60).unwrap());
    assert_eq!(number(&ledger.database, PARKED).await, 0);
}
