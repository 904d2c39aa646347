//! What runs in the process, once its ground is laid.

use platform::config::{Config, ServerUrl, StartError};
use platform::http::{self, health::Readiness};
use platform::postgres::{Databases, Pools};
use platform::private::DataDir;
use platform::shutdown::Shutdown;
use platform::telemetry::Metrics;
use tokio::net::TcpListener;

/// What all roles stand on.
#[derive(Debug)]
#[expect(dead_code, reason = "read by the roles as they are wired")]
pub struct Ground {
    /// Effective settings.
    pub config: Config,
    /// The signing key's home.
    pub data_dir: DataDir,
    /// Migrated.
    pub databases: Databases,
    /// Open.
    pub pools: Pools,
    /// May be away.
    pub redis: ServerUrl,
    /// Recording.
    pub metrics: Metrics,
    /// Bound, not served yet.
    pub listener: TcpListener,
    /// When to end.
    pub shutdown: Shutdown,
}

/// Starts every role, calls `started` when they serve, and returns when all have drained.
pub async fn run(ground: Ground, started: impl FnOnce()) -> Result<(), StartError> {
    let Ground { listener, shutdown, pools, .. } = ground;
    let readiness = Readiness::new();
    // The routers of command-services and query-api are merged here; their writers, runners and publishers are spawned with `shutdown`.
    let router = http::routes(http::health::router("postrider", readiness));
    started();
    http::serve(listener, router, shutdown.clone()).await.map_err(|error| StartError::because("the HTTP listener failed", error))?;
    shutdown.finished().await;
    pools.close().await;
    Ok(())
}
