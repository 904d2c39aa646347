//! What is looked after while everything runs: conditions of readiness, and what has lapsed.

use std::time::Duration;

use command_services::messages;
use platform::auth::Revocations;
use platform::http::health::Readiness;
use platform::ledger::Ledger;
use platform::postgres::Pools;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use sqlx::PgPool;

/// How often what has lapsed is removed.
const HOUSEKEEPING: Duration = Duration::from_secs(600);

/// A database that has not answered for so long is away.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// Tells when the conditions that lie outside Postgres are met for the first time.
pub(super) async fn watch(redis: Redis, revocations: Revocations, readiness: Readiness, shutdown: Shutdown) {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    while !(redis.has_answered() && revocations.is_loaded()) {
        tokio::select! {
            _ = look.tick() => {}
            () = shutdown.draining() => return,
        }
        readiness.set("redis has answered", redis.has_answered());
        readiness.set("revocations are loaded", revocations.is_loaded());
    }
    readiness.set("redis has answered", true);
    readiness.set("revocations are loaded", true);
}

/// Tells whether the services' databases answer. One that is late for a moment still does: a process under load is not to be taken for one that lost them.
pub(super) async fn ask_postgres(pools: Pools, readiness: Readiness, shutdown: Shutdown) {
    let mut answered = tokio::time::Instant::now();
    let mut turn = tokio::time::interval(Duration::from_secs(1));
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shutdown.draining() => return,
        }
        let ask = |pool: PgPool| async move { sqlx::query("SELECT 1").execute(&pool).await };
        let asked = futures::future::try_join4(
            ask(pools.auth.clone()),
            ask(pools.users.clone()),
            ask(pools.messages.clone()),
            ask(pools.keys.clone()),
        );
        match tokio::time::timeout(SILENT_FOR, asked).await {
            Ok(Ok(_)) => {
                answered = tokio::time::Instant::now();
                readiness.set("postgres answers", true);
            }
            _ if answered.elapsed() < SILENT_FOR => {}
            _ => readiness.set("postgres answers", false),
        }
    }
}

/// Does something in every turn of housekeeping, until the drain.
pub(super) async fn keep_house<W: Future<Output = ()>>(shutdown: Shutdown, mut work: impl FnMut() -> W) {
    let mut turn = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = turn.tick() => {}
            () = shutdown.draining() => return,
        }
        work().await;
    }
}

/// Removes what has lapsed in a ledger; whoever comes second leaves it to the first.
pub(super) async fn tidy(ledger: Ledger) {
    if let Err(error) = ledger.housekeeping().await {
        tracing::warn!(error = &error as &dyn std::error::Error, "housekeeping of a ledger has to wait");
    }
}

/// Removes messages from queues whose time is over.
pub(super) async fn empty_queues(pool: PgPool, stands: bool) {
    if !stands {
        return;
    }
    match query_api::remove_all_expired(&pool).await {
        Ok(0) => {}
        Ok(removed) => tracing::info!(removed, "expired messages have left their queues"),
        Err(problem) => tracing::warn!(code = problem.code, "expired messages have to stay in their queues for now"),
    }
}

/// Blanks deleted messages that their commands could not.
pub(super) async fn blank_deleted(ledger: Ledger) {
    if let Err(error) = messages::delete::blank_deleted(&ledger).await {
        tracing::warn!(error = &error as &dyn std::error::Error, "deleted messages wait to be blanked in the ledger");
    }
}
