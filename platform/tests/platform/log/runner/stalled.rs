//! Who holds the lock and does nothing.

use sqlx::PgConnection;

use super::*;

/// Takes the lock as a process does that is stopped right afterwards; its backend.
async fn silent_holder(ledger: &TestLedger) -> (PgConnection, i32) {
    let mut holder = ledger.database.acquire().await.unwrap().detach();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid() FROM pg_advisory_lock(hashtextextended('projection.tally', 0))")
        .fetch_one(&mut holder)
        .await
        .unwrap();
    (holder, pid)
}

/// Waits until this backend has been silent for much longer than is needed to be ended.
async fn silent_for_long(ledger: &TestLedger, pid: i32) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND clock_timestamp() - state_change > interval '{} s'",
        STALLED.as_secs() * 3
    );
    until(ledger, &sql, 1).await;
}

async fn holders(ledger: &TestLedger) -> i64 {
    let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    number(&ledger.database, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_hangs_in_its_transaction_is_ended_by_one_of_those_who_stand_by_and_nothing_is_applied_twice() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 50, 5).await;
    let first = start::<1>(&ledger).await;
    until(&ledger, SEEN, 50).await;
    let (second, third) = (start::<1>(&ledger).await, start::<1>(&ledger).await);
    for standing_by in [&second, &third] {
        wait_until("standing by", BOUND, async || standing_by.readiness.missing().is_empty().then_some(())).await;
    }
    // Its rows are locked, and its changes not committed.
    first.switches.hold.store(true, Ordering::Relaxed);
    ledger.fill(50, 50, 5).await;
    until(&ledger, SEEN, 100).await;
    let worked = |running: &Running| usize::from(running.switches.held.load(Ordering::Relaxed) > 0);
    assert_eq!(worked(&second) + worked(&third), 1, "one of them takes over");
    // It goes on, and finds that it was replaced.
    first.switches.hold.store(false, Ordering::Relaxed);
    ledger.fill(100, 50, 5).await;
    until(&ledger, SEEN, 150).await;
    assert_eq!(worked(&second) + worked(&third), 1, "whoever took over goes on");
    for running in [first, second, third] {
        running.stop().await;
    }
    assert_eq!((number(&ledger.database, TOTAL).await, number(&ledger.database, PARKED).await), (150, 0));
}

#[tokio::test]
async fn a_holder_that_says_nothing_is_left_alone_until_events_wait() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 50, 5).await;
    let before = start::<1>(&ledger).await;
    until(&ledger, SEEN, 50).await;
    before.stop().await;
    let (mut holder, pid) = silent_holder(&ledger).await;
    let running = start::<1>(&ledger).await;
    silent_for_long(&ledger, pid).await;
    assert_eq!(running.switches.folds.load(Ordering::Relaxed), 0);
    ledger.fill(50, 50, 5).await;
    until(&ledger, SEEN, 100).await;
    assert!(sqlx::query("SELECT 1").execute(&mut holder).await.is_err(), "its session is gone");
    running.stop().await;
}

#[tokio::test]
async fn a_holder_that_waits_for_something_else_is_left_alone_however_long_events_wait() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 50, 5).await;
    let first = start::<1>(&ledger).await;
    until(&ledger, SEEN, 50).await;
    let second = start::<1>(&ledger).await;
    wait_until("standing by", BOUND, async || second.readiness.missing().is_empty().then_some(())).await;
    first.switches.hold_folds.store(true, Ordering::Relaxed);
    let begin = std::time::Instant::now();
    ledger.fill(50, 50, 5).await;
    wait_until("many times what would be too long", BOUND, async || (begin.elapsed() > STALLED * 4).then_some(())).await;
    assert_eq!(holders(&ledger).await, 1);
    assert_eq!(second.switches.folds.load(Ordering::Relaxed), 0, "nobody took over");
    first.switches.hold_folds.store(false, Ordering::Relaxed);
    until(&ledger, SEEN, 100).await;
    assert_eq!(second.switches.folds.load(Ordering::Relaxed), 0);
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn a_holder_of_another_build_is_left_alone() {
    let ledger = TestLedger::new().await;
    ledger.fill(0, 50, 5).await;
    let older = start::<1>(&ledger).await;
    until(&ledger, SEEN, 50).await;
    older.stop().await;
    let (holder, pid) = silent_holder(&ledger).await;
    ledger.fill(50, 50, 5).await;
    let newer = start::<2>(&ledger).await;
    silent_for_long(&ledger, pid).await;
    assert_eq!(newer.switches.folds.load(Ordering::Relaxed), 0);
    drop(holder);
    until(&ledger, SEEN, 100).await;
    newer.stop().await;
}
