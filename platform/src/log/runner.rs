//! What drives a projection.

use crate::fresh::Reached;
use crate::http::health::Readiness;
use crate::shutdown::Shutdown;

use super::{EventSource, Projection};

/// What a runner needs besides projection and source.
#[derive(Clone, Debug)]
pub struct RunnerConfig {
    /// The service's database, as its owner.
    pub pool: sqlx::PgPool,
    /// Where progress is told.
    pub reached: Reached,
    /// Where "caught up once" is told, under the projection's name.
    pub readiness: Readiness,
    /// Exclusive (ledger source) or shared (Kafka) ownership.
    pub exclusive: bool,
}

/// Runs one projection until the drain.
#[derive(Debug)]
pub struct Runner<P: Projection> {
    projection: P,
    config: RunnerConfig,
}

impl<P: Projection> Runner<P> {
    /// A runner that has not begun.
    pub fn new(projection: P, config: RunnerConfig) -> Self {
        Self { projection, config }
    }
    /// Makes the schema when it is missing (refills it when it is older, refuses when it is newer), then applies batch after batch: fold, lock and compare the
    /// checkpoint, apply, move, announce. Infrastructure errors are tried again with backoff (100 ms to 5 s); poison parks its key; a gap or an older
    /// build returns. Finishes the batch it is in when the drain begins.
    ///
    /// # Errors
    /// What a retry cannot mend.
    pub async fn run(self, _source: Box<dyn EventSource>, _shutdown: Shutdown) -> Result<(), crate::config::StartError> {
        let _ = (&self.projection, &self.config);
        todo!()
    }
}
