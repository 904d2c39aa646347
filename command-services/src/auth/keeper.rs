//! Who keeps Redis' set of revoked sessions equal to what the ledger knows.

use std::time::Duration;

use platform::auth::Revocations;
use platform::ledger::Ledger;
use platform::shutdown::Shutdown;
use schemas::{SessionId, Timestamp};
use tokio::time::sleep;

use super::kept::{REVOKED, session_of};

/// How often it is made equal without being asked.
const REPEAT: Duration = Duration::from_secs(300);
/// Until the next attempt after one that failed.
const RETRY: Duration = Duration::from_millis(250);

/// Loads the revoked sessions from the ledger into Redis: at the start, whenever Redis is found without them, and every few minutes. A role; runs until the drain.
///
/// # Cancel safety
/// Safe: loading is idempotent.
pub async fn revocations_keeper(ledger: Ledger, revocations: Revocations, shutdown: Shutdown) {
    let keep = async {
        // Said once: an absence that lasts is not news four times a second.
        let mut said = None;
        loop {
            match load(&ledger, &revocations).await {
                Ok(()) => {
                    if said.take().is_some() {
                        tracing::info!("the revoked sessions are loaded");
                    }
                    tokio::select! {
                        () = revocations.wants_loading() => {}
                        () = sleep(REPEAT) => {}
                    }
                }
                Err(reason) => {
                    if said.replace(reason) != Some(reason) {
                        tracing::warn!(reason, "the revoked sessions cannot be loaded yet");
                    }
                    sleep(RETRY).await;
                }
            }
        }
    };
    tokio::select! {
        () = keep => {}
        () = shutdown.draining() => {}
    }
}

async fn load(ledger: &Ledger, revocations: &Revocations) -> Result<(), &'static str> {
    let known = ledger.secrets_of(REVOKED).await.map_err(|_| "the ledger does not answer")?;
    let revoked: Vec<(SessionId, Timestamp)> = known.into_iter().filter_map(|(key, end)| Some((session_of(&key)?, end?))).collect();
    revocations.load(&revoked).await.map_err(|_| "Redis does not answer")
}
