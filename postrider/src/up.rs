//! `postrider up`: everything in one process, from its first line to its last.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::Args;
use platform::config::{Config, StartError};
use platform::crash::crash_point;
use platform::postgres::Pools;
use platform::private::DataDir;
use platform::shutdown::Shutdown;
use platform::telemetry::{self, Metrics};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::descriptors;
use crate::output;
use crate::roles::{self, Ground};
use crate::servers::{Servers, databases};
use crate::settings::Flags;

/// Of the time to end, what is kept at least for the private servers after the roles have drained.
const FOR_SERVERS: Duration = Duration::from_secs(2);

/// Where to listen.
#[derive(Debug, Args)]
pub struct Options {
    /// Listen on this address [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Listen on this port for HTTP [default: 8000]
    #[arg(long)]
    port: Option<String>,
    /// Listen on this port for Prometheus; 0: not at all [default: 9000]
    #[arg(long, value_name = "PORT")]
    metrics_port: Option<String>,
}

/// Returns when everything has ended.
pub async fn everything(flags: Flags, options: Options) -> anyhow::Result<()> {
    let own = vec![
        ("--host", "server.host", options.host),
        ("--port", "server.port", options.port),
        ("--metrics-port", "server.metrics_port", options.metrics_port),
    ];
    let config = flags.load(own)?.config;
    telemetry::logs(&config.telemetry)?;
    let descriptors = descriptors::raise_to_serve();
    let metrics = Metrics::record()?;
    let shutdown = Shutdown::new();
    end_with_signals(shutdown.clone())?;

    // Both ports first: when one is taken, nothing else has been begun.
    let listener = listen(&config, config.server.port, "--port").await?;
    let metrics_listener = match config.server.metrics_port {
        0 => None,
        port => Some(listen(&config, port, "--metrics-port").await?),
    };
    let data_dir = DataDir::open(&config.server.data_dir)?;
    // A signal during the start ends it there; whatever is half-made is made again by the next one.
    let servers = tokio::select! {
        servers = Servers::start(&config, &data_dir) => servers?,
        () = shutdown.draining() => return Ok(()),
    };
    if let Some(listener) = metrics_listener {
        tokio::spawn(metrics.clone().serve(listener, shutdown.clone()));
    }
    let draining = shutdown.clone();
    let drain_began = tokio::spawn(async move {
        draining.draining().await;
        Instant::now()
    });
    let ran = run(config.clone(), data_dir, descriptors, metrics, listener, &servers, shutdown.clone()).await;
    shutdown.drain();
    let spent = drain_began.await.map(|began| began.elapsed()).unwrap_or_default();
    let left = config.server.shutdown.saturating_sub(spent).max(FOR_SERVERS);
    if tokio::time::timeout(left, servers.stop()).await.is_err() {
        tracing::warn!("the private servers are ended by force; the next start recovers them");
    }
    Ok(ran?)
}

/// Lays the ground on the servers, and runs the roles until they have drained.
async fn run(
    config: Config,
    data_dir: DataDir,
    descriptors: u64,
    metrics: Metrics,
    listener: TcpListener,
    servers: &Servers,
    shutdown: Shutdown,
) -> Result<(), StartError> {
    let prepare = async {
        let databases = databases(&config, servers.postgres.as_ref()).await?;
        crash_point("start.after_databases");
        databases.migrate().await?;
        crash_point("start.after_migrations");
        let pools = Pools::open(&databases, &config.postgres).await?;
        Ok::<_, StartError>((databases, pools))
    };
    let (databases, pools) = tokio::select! {
        prepared = prepare => prepared?,
        () = shutdown.draining() => return Ok(()),
    };
    for (name, pool) in pools.named() {
        metrics.watch_pool(name, pool.clone());
    }
    let where_is_what = where_is_what(&config, servers, listener.local_addr().ok());
    let pretty = telemetry::is_pretty(config.telemetry.format);
    let patience = config.server.shutdown.saturating_sub(FOR_SERVERS);
    let (redis, own_redis) = (servers.redis.clone(), servers.has_own_redis());
    let draining = shutdown.clone();
    let ground = Ground { config, data_dir, descriptors, databases, pools, redis, own_redis, listener, shutdown };
    let started = move || say(&where_is_what, pretty);
    let too_late = async {
        draining.draining().await;
        let begin = Instant::now();
        tokio::time::sleep(patience).await;
        begin.elapsed()
    };
    tokio::select! {
        ran = roles::run(ground, started) => ran,
        waited = too_late => {
            tracing::error!(?waited, "not everything has drained in time: ending without it");
            Ok(())
        }
    }
}

/// The first signal begins the drain, the second ends the process at once.
fn end_with_signals(shutdown: Shutdown) -> Result<(), StartError> {
    let catch = |kind| signal(kind).map_err(|error| StartError::because("signals cannot be caught", error));
    let (mut terminate, mut interrupt) = (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping: requests that have begun are finished; once more ends at once");
        shutdown.drain();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(130);
    });
    Ok(())
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn listen(config: &Config, port: u16, flag: &str) -> Result<TcpListener, StartError> {
    let address = SocketAddr::new(config.server.host, port);
    TcpListener::bind(address).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            StartError::new(format!("{address} is taken by another process: stop that one, or choose another port with {flag}"))
        }
        _ => StartError::because(format!("it is not possible to listen on {address}"), error),
    })
}

/// Where HTTP, metrics, Postgres, Redis and the log are.
fn where_is_what(config: &Config, servers: &Servers, address: Option<SocketAddr>) -> [String; 5] {
    let shown = address.map_or_else(|| config.server.host.to_string(), |address| address.to_string());
    let metrics = match config.server.metrics_port {
        0 => "off".to_owned(),
        port => format!("http://{}/metrics", SocketAddr::new(config.server.host, port)),
    };
    let log = match config.kafka.brokers.as_str() {
        "" => "the ledger itself (no KAFKA_BROKERS set)".to_owned(),
        brokers => format!("Kafka at {brokers}"),
    };
    let [postgres, redis] = servers.described(config);
    [format!("http://{shown}/api/v1"), metrics, postgres, redis, log]
}

/// What runs where: for a newcomer at a terminal, or as one line among the others.
fn say([http, metrics, postgres, redis, log]: &[String; 5], pretty: bool) {
    let version = env!("CARGO_PKG_VERSION");
    if !pretty {
        tracing::info!(version, http, metrics, postgres, redis, log, "postrider runs");
        return;
    }
    let mut text = format!("\nPostrider {version} runs; Ctrl-C stops it.\n\n");
    for (name, place) in [("HTTP", http), ("Metrics", metrics), ("Postgres", postgres), ("Redis", redis), ("Log", log)] {
        text += &format!("  {name:9} {place}\n");
    }
    // Whoever does not read it does not need it.
    let _ = output::line(&text);
}
