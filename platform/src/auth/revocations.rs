//! Which sessions have ended before their tokens did.

use schemas::{SessionId, Timestamp};

/// The revoked sessions, held in memory, told by Redis (a sorted set `revoked`: sid → end of its tokens, and a channel of the same name) and checked on every request. Clones share one state.
///
/// Dead at once in the process that revokes, within a second elsewhere. A Redis without the key `revoked:epoch` has not been loaded: the owner of the auth
/// ledger loads it again ([`Revocations::load`]). While Redis is away the process goes on with what it knows for the grace, then answers "unknown".
#[derive(Clone, Debug)]
pub struct Revocations {}

/// The revocation is durable, but other processes may not know yet: answered as 503 `revocation_pending`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revocation could not be announced")]
pub struct NotYetRevoked;

/// What the set answers about one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Not revoked.
    Live,
    /// Revoked.
    Revoked,
    /// Not loaded, or Redis has been away beyond the grace.
    Unknown,
}

impl Revocations {
    /// Starts following Redis. `grace`: how long this process goes on alone.
    #[must_use]
    pub fn follow(_redis: crate::redis::Redis, _grace: std::time::Duration, _shutdown: crate::shutdown::Shutdown) -> Self {
        todo!()
    }
    /// Whether a session has been revoked.
    #[must_use]
    pub fn standing(&self, _session: SessionId) -> Standing {
        todo!()
    }
    /// Announces a revocation, after its event is durable. Known here at once, whatever Redis says. Idempotent.
    ///
    /// # Errors
    /// [`NotYetRevoked`] when Redis did not take it.
    pub async fn announce(&self, _session: SessionId, _tokens_end: Timestamp) -> Result<(), NotYetRevoked> {
        todo!()
    }
    /// Puts everything that the ledger knows into Redis and marks it as loaded (the epoch key).
    ///
    /// # Errors
    /// [`NotYetRevoked`] when Redis did not take it.
    pub async fn load(&self, _revoked: &[(SessionId, Timestamp)]) -> Result<(), NotYetRevoked> {
        todo!()
    }
    /// Returns when Redis has been found empty of its epoch key (at the start, or after it lost its data): somebody should load it.
    pub async fn wants_loading(&self) {
        todo!()
    }
    /// Whether the set has been loaded once into this process.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        todo!()
    }
}
