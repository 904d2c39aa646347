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
            Ok((connection, server)) => {
                let before = match (contacts, first) {
                    (0, FirstContact::MissedNothing) => Duration::MAX,
                    (0, FirstContact::CountsFromServerStart) => server.age,
                    _ => Duration::ZERO,
                };
                contacts += 1;
                inner.came(connection, before);
                tracing::info!(contacts, "redis answers");
                if let Some(policy) = server.evicts {
                    tracing::warn!(policy, "redis may throw away what it is told to keep; its maxmemory-policy has to be noeviction");
                }
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

/// What a server says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Server {
    /// How long it has run, in whole seconds, rounded down; nothing when it does not say.
    age: Duration,
    /// How it chooses what to forget when its memory is full, if it does.
    evicts: Option<String>,
}

async fn connect(inner: &Inner) -> Result<(MultiplexedConnection, Server), String> {
    // Our own time-out bounds each call as a whole; the library's would be a second one to keep in step.
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(TIME_OUT)).set_response_timeout(None);
    let attempt = async {
        let mut connection = inner.client.get_multiplexed_async_connection_with_config(&config).await?;
        can_write(&mut connection).await?;
        let server = about(&mut connection).await;
        Ok::<_, ::redis::RedisError>((connection, server))
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

/// Nothing when it does not say (an ACL may forbid `INFO`).
async fn about(connection: &mut MultiplexedConnection) -> Server {
    let mut info = ::redis::pipe();
    info.cmd("INFO").arg("server").cmd("INFO").arg("memory");
    let said: RedisResult<(String, String)> = info.query_async(connection).await;
    said.map_or_else(|_| Server::default(), |(server, memory)| Server::said(&server, &memory))
}

impl Server {
    fn said(server: &str, memory: &str) -> Self {
        let field =
            |text: &str, name: &str| text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim().to_owned()));
        let seconds = field(server, "uptime_in_seconds").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
        Self { age: Duration::from_secs(seconds), evicts: field(memory, "maxmemory_policy").filter(|policy| policy != "noeviction") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_may_forget_is_known_by_its_policy() {
        let server = "# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:75\r\nuptime_in_days:0\r\n";
        let memory = |policy: &str| format!("# Memory\r\nmaxmemory_human:0B\r\nmaxmemory_policy:{policy}\r\nmem_clients_slaves:0\r\n");
        let (age, evicts) = (Duration::from_secs(75), Some("allkeys-lru".to_owned()));
        assert_eq!(Server::said(server, &memory("noeviction")), Server { age, evicts: None });
        assert_eq!(Server::said(server, &memory("allkeys-lru")), Server { age, evicts });
        assert_eq!(Server::said("", ""), Server::default(), "it does not say");
    }
}
