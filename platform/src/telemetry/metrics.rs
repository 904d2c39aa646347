//! What Prometheus scrapes, on a port of its own.

use std::fs;
use std::future::IntoFuture;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use sqlx::PgPool;
use tokio::net::TcpListener;

use crate::config::StartError;
use crate::shutdown::Shutdown;

/// Bounds of every histogram named `…_seconds`: from a cached read to the longest time-out.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Bounds of every histogram named `…_size`.
const SIZES: [f64; 12] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_000.0, 2_000.0];
/// Histograms collect samples until they are scraped; without a scraper, they are folded this often.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    recorded: PrometheusHandle,
    pools: Arc<Mutex<Vec<(&'static str, PgPool)>>>,
}

impl Metrics {
    /// Begins to record, for the whole process: what `metrics::counter!` and its like say from now on is kept.
    ///
    /// # Errors
    /// When something records already.
    pub fn record() -> Result<Self, StartError> {
        let builder = PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS);
        let builder = builder.and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".into()), &SIZES));
        let recorded = builder.and_then(PrometheusBuilder::install_recorder);
        let recorded = recorded.map_err(|error| StartError::because("metrics cannot be recorded", error))?;
        super::described::describe();
        gauge!("postrider_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self { recorded, pools: Arc::default() })
    }

    /// Shows a pool's connections from now on.
    pub fn watch_pool(&self, name: &'static str, pool: PgPool) {
        self.pools.lock().expect("no panic holds this lock").push((name, pool));
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn render(&self) -> String {
        self.look_at_pools();
        look_at_process();
        self.recorded.render()
    }

    /// Answers `/metrics` until the drain.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) -> std::io::Result<()> {
        let recorded = self.recorded.clone();
        let upkeep = async move {
            loop {
                tokio::time::sleep(UPKEEP).await;
                recorded.run_upkeep();
            }
        };
        let router = Router::new().route("/metrics", get(scrape)).with_state(self);
        tokio::select! {
            served = axum::serve(listener, router).into_future() => served,
            () = upkeep => Ok(()),
            // A scraper keeps its connection open: nobody waits for it.
            () = shutdown.draining() => Ok(()),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "pools are small")]
    fn look_at_pools(&self) {
        for (name, pool) in self.pools.lock().expect("no panic holds this lock").iter() {
            let idle = pool.num_idle();
            gauge!("postgres_pool_connections", "pool" => *name, "state" => "idle").set(idle as f64);
            gauge!("postgres_pool_connections", "pool" => *name, "state" => "used").set(f64::from(pool.size()) - idle as f64);
        }
    }
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render())
}

/// What the kernel knows of this process. Off Linux there is no `/proc`, and these stay silent.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn look_at_process() {
    let Some(stat) = fs::read_to_string("/proc/self/stat").ok() else { return };
    // The name, in parentheses, may hold anything: fields are counted behind it, from the third (proc_pid_stat(5)).
    let Some((_, rest)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<u64> = rest.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = rustix::param::clock_ticks_per_second();
    gauge!("process_resident_memory_bytes").set((field(24) * rustix::param::page_size() as u64) as f64);
    gauge!("process_threads").set(field(20) as f64);
    // Whole seconds, since a counter counts in whole numbers.
    counter!("process_cpu_seconds_total").absolute((field(14) + field(15)) / ticks.max(1));
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        gauge!("process_open_fds").set(open.count() as f64);
    }
}
