//! Connects, watches, and connects again.

use std::sync::{Arc, Weak};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, RedisResult};

use super::{Inner, TIME_OUT};
use crate::shutdown::Shutdown;

/// While it is away.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// While it is there: so that a loss is noticed, and its length known, even when nobody calls.
const WATCH_EVERY: Duration = Duration::from_secs(1);
const NO_ANSWER: &str = "no answer in time";

/// What the first connection of this process says about the time before it.
#[derive(Debug, Clone, Copy)]
pub(super) enum FirstContact {
    CountsFromServerStart,
    MissedNothing,
}

/// Runs until `shutdown` has finished or nobody holds the connection any more.
pub(super) async fn keep(inner: Weak<Inner>, first: FirstContact, shutdown: Shutdown) {
    tokio::select! {
        () = turn(inner, first) => {}
        () = shutdown.finished() => {}
    }
}

async fn turn(inner: Weak<Inner>, first: FirstContact) {
    let (mut contacts, mut silent_since_start) = (0_u64, true);
    while let Some(inner) = inner.upgrade() {
        if inner.live().is_some() {
            watch(&inner).await;
            continue;
        }
        match connect(&inner).await {
            Ok((connection, server_age)) => {
                let before = match (contacts, first) {
                    (0, FirstContact::MissedNothing) => Duration::MAX,
                    (0, FirstContact::CountsFromServerStart) => server_age,
                    _ => Duration::ZERO,
                };
                contacts += 1;
                inner.came(connection, before);
                tracing::info!(contacts, "redis answers");
            }
            Err(reason) => {
                if std::mem::take(&mut silent_since_start) && contacts == 0 {
                    let server = inner.client.get_connection_info().addr();
                    tracing::warn!(%server, reason, "redis does not answer yet");
                }
                drop(inner);
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }
}

/// Returns when it has broken, or after a while: whether it has then is for the caller to see.
async fn watch(inner: &Arc<Inner>) {
    tokio::select! {
        () = inner.broken.notified() => {}
        () = tokio::time::sleep(WATCH_EVERY) => {
            // A failure opens the breaker, and that is all there is to know.
            let _ = inner.call(|mut connection| async move { can_write(&mut connection).await }).await;
        }
    }
}

async fn connect(inner: &Inner) -> Result<(MultiplexedConnection, Duration), String> {
    // Our own time-out bounds each call as a whole; the library's would be a second one to keep in step.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(TIME_OUT)).set_response_timeout(None);
    let attempt = async {
        let mut connection = inner.client.get_multiplexed_async_connection_with_config(&config).await?;
        can_write(&mut connection).await?;
        let age = server_age(&mut connection).await;
        Ok::<_, ::redis::RedisError>((connection, age))
    };
    match tokio::time::timeout(TIME_OUT * 2, attempt).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(NO_ANSWER.to_owned()),
    }
}

async fn can_write(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    ::redis::cmd("SET").arg("postrider:probe").arg(1).arg("PX").arg(1000).exec_async(connection).await
}

/// How long the server has run, in whole seconds, rounded down; nothing when it does not say (an ACL may forbid `INFO`).
async fn server_age(connection: &mut MultiplexedConnection) -> Duration {
    let info: RedisResult<String> = ::redis::cmd("INFO").arg("server").query_async(connection).await;
    let seconds = info.ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("uptime_in_seconds:"))?;
        line.trim().parse().ok()
    });
    Duration::from_secs(seconds.unwrap_or(0))
}
