//! The one way to Redis: short time-outs, one breaker, and a memory of having been away.

use std::time::Duration;

/// A shared, multiplexed connection that reconnects by itself. Clones share it.
///
/// Every call has a time-out (250 ms); after a failure the breaker is open and calls fail at once until a probe in the background succeeds (every 100 ms), so a
/// Redis that hangs costs one time-out, not one for each request.
#[derive(Clone, Debug)]
pub struct Redis {}

/// Redis did not answer in time, or refused.
#[derive(Debug, Clone, thiserror::Error)]
#[error("redis is not available: {0}")]
pub struct RedisAway(pub String);

impl Redis {
    /// Begins to connect; returns at once, whether or not Redis is there.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub fn connect(_url: &str, _shutdown: crate::shutdown::Shutdown) -> Result<Self, RedisAway> {
        todo!()
    }
    /// Sends a pipeline or command.
    ///
    /// # Errors
    /// [`RedisAway`]; whether it was carried out is then unknown.
    pub async fn query<T: ::redis::FromRedisValue + Send>(&self, _pipeline: &::redis::Pipeline) -> Result<T, RedisAway> {
        todo!()
    }
    /// Runs a script by its digest (loading it when Redis does not know it).
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn script<T: ::redis::FromRedisValue + Send>(
        &self,
        _script: &::redis::Script,
        _keys: &[String],
        _args: &[String],
    ) -> Result<T, RedisAway> {
        todo!()
    }
    /// Follows a channel for as long as the receiver lives; resubscribes by itself. Messages sent while Redis was away are lost.
    #[must_use]
    pub fn subscribe(&self, _channel: &'static str) -> tokio::sync::mpsc::Receiver<Vec<u8>> {
        todo!()
    }
    /// Whether the last call succeeded.
    #[must_use]
    pub fn is_up(&self) -> bool {
        todo!()
    }
    /// Whether Redis has answered at least once.
    #[must_use]
    pub fn has_answered(&self) -> bool {
        todo!()
    }
    /// How long the current connection has stood without a break; `None` while it is away.
    #[must_use]
    pub fn up_for(&self) -> Option<Duration> {
        todo!()
    }
}
