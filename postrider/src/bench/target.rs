//! The system that is measured: one that runs, or one of our own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hyper::Method;
use platform::config::ServerUrl;
use platform::private::DataDir;
use tokio::process::{Child, Command};

use super::TargetOptions;
use super::processes::{Part, Usage, usage};
use crate::client::Client;

/// Limits that would be met by a few people from one address.
const LIFTED: [&str; 15] = [
    "SENDS_PER_SECOND",
    "SENDS_BURST",
    "COMMANDS_PER_SECOND",
    "COMMANDS_BURST",
    "READS_PER_SECOND",
    "READS_BURST",
    "VITAL_PER_SECOND",
    "VITAL_BURST",
    "LOGINS_PER_MINUTE",
    "REGISTRATIONS_PER_HOUR",
    "FORGOTTEN_PER_HOUR",
    "INVITATIONS_PER_HOUR",
    "PUBLIC_PER_SECOND",
    "PUBLIC_BURST",
    "SOCKETS_PER_USER",
];

/// A system that answers.
pub struct Target {
    /// `http://127.0.0.1:8000`
    pub url: String,
    /// How long the started one took until it was ready.
    pub ready_after: Option<Duration>,
    pid: Option<u32>,
    /// Of the started one.
    metrics_port: Option<u16>,
    broker: bool,
    child: Option<Child>,
    directory: Option<PathBuf>,
    /// What was started, to start it again.
    command: Option<Started>,
}

struct Started {
    binary: PathBuf,
    kafka: Option<String>,
    data: PathBuf,
    /// Postgres and Redis of another one; its own without.
    servers: Option<(ServerUrl, ServerUrl)>,
}

impl Target {
    /// Finds or starts it.
    pub async fn open(options: &TargetOptions) -> Result<Self> {
        Self::open_on(options, None).await
    }

    /// As [`Target::open`]; what is started keeps its data here.
    pub async fn open_on(options: &TargetOptions, data: Option<PathBuf>) -> Result<Self> {
        if let Some(url) = &options.url {
            let (url, pid) = (url.clone(), options.pid);
            return Self { url, ready_after: None, pid, metrics_port: None, broker: true, child: None, directory: None, command: None }
                .answering()
                .await;
        }
        let binary = match &options.binary {
            Some(binary) => binary.clone(),
            None => std::env::current_exe()?,
        };
        let directory = temporary()?;
        let data = data.unwrap_or_else(|| directory.join("data"));
        Self::started(Started { binary, kafka: options.kafka.clone(), data, servers: None }, directory).await
    }

    /// One more process on the servers of this one, which has started them.
    pub async fn another(&self) -> Result<Self> {
        let first = self.command.as_ref().context("only a system that was started here has servers to share")?;
        let running = DataDir::open(&first.data)?.running()?.context("the first process does not run")?;
        let servers = running.postgres().zip(running.redis()).context("the first process has no servers of its own")?;
        let directory = temporary()?;
        let data = directory.join("data");
        Self::started(Started { binary: first.binary.clone(), kafka: first.kafka.clone(), data, servers: Some(servers) }, directory).await
    }

    async fn started(command: Started, directory: PathBuf) -> Result<Self> {
        let mut target = Self {
            url: String::new(),
            ready_after: None,
            pid: None,
            metrics_port: None,
            broker: command.kafka.is_some(),
            child: None,
            command: Some(command),
            directory: Some(directory),
        };
        if let Err(error) = target.start().await {
            // Its log is in the error, which matters more than what is left of it.
            let _left = target.close().await;
            return Err(error);
        }
        Ok(target)
    }

    /// The process.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// A system that somebody else started, once it has said that it is ready.
    async fn answering(self) -> Result<Self> {
        let answered = Client::new(&self.url)?.request(Method::GET, "/health/ready", None).await;
        match answered.with_context(|| format!("no postrider answers at {}", self.url))? {
            (200, _) => Ok(self),
            (status, answer) => bail!("{} is not ready: {status} {}", self.url, String::from_utf8_lossy(&answer)),
        }
    }

    /// Where the started system keeps its data.
    pub fn data_dir(&self) -> Option<&Path> {
        self.command.as_ref().map(|started| started.data.as_path())
    }

    async fn start(&mut self) -> Result<()> {
        let (Some(Started { binary, kafka, data, servers }), Some(directory)) = (&self.command, &self.directory) else { return Ok(()) };
        let (port, metrics) = (free_port()?, free_port()?);
        let log = std::fs::File::create(directory.join("log"))?;
        let mut command = Command::new(binary);
        command
            .arg("up")
            .arg("--data-dir")
            .arg(data)
            .env("POSTRIDER_SERVER__HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("POSTRIDER_SERVER__METRICS_PORT", metrics.to_string())
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env_remove("KAFKA_BROKERS")
            .current_dir(directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        // What is measured is the system, not its patience with the few who ask here for many.
        let known = known_limits(binary).await?;
        command.envs(known.map(|limit| (format!("POSTRIDER_LIMITS__{limit}"), "1000000000")));
        if let Some((postgres, redis)) = servers {
            command.env("DATABASE_URL", postgres.expose()).env("REDIS_URL", redis.expose());
        }
        if let Some(brokers) = kafka {
            // Topics of its own: those of an earlier run belong to a ledger that is gone.
            let run = directory.file_name().and_then(|name| name.to_str()).unwrap_or("postrider-bench");
            command.env("KAFKA_BROKERS", brokers).env("POSTRIDER_KAFKA__TOPIC_PREFIX", format!("{run}."));
        }
        let begin = Instant::now();
        let child = command.spawn().with_context(|| format!("{} cannot be started", binary.display()))?;
        self.url = format!("http://127.0.0.1:{port}");
        self.metrics_port = Some(metrics);
        self.pid = child.id();
        self.child = Some(child);
        self.ready(begin).await
    }

    /// Memory by part.
    pub fn resident_mib(&self) -> BTreeMap<String, f64> {
        #[expect(clippy::cast_precision_loss, reason = "a display figure")]
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        self.usage().into_iter().map(|(part, usage)| (part.name().to_owned(), mib(usage.resident_bytes))).collect()
    }

    /// How far the projection that is furthest behind is behind; `None` for a system that somebody else started.
    pub async fn lag_seconds(&self) -> Option<f64> {
        let mut client = Client::new(&format!("http://127.0.0.1:{}", self.metrics_port?)).ok()?;
        let (_, text) = client.request(Method::GET, "/metrics", None).await.ok()?;
        let text = String::from_utf8_lossy(&text);
        let values = text
            .lines()
            .filter(|line| line.starts_with("projection_lag_seconds{"))
            .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok());
        Some(values.fold(0.0, f64::max))
    }

    /// Ends what was started and starts it again on its data; `None` for a system that somebody else started.
    pub async fn restart(&mut self) -> Result<Option<Duration>> {
        if self.command.is_none() {
            return Ok(None);
        }
        self.end().await?;
        self.start().await?;
        Ok(self.ready_after)
    }

    async fn ready(&mut self, begin: Instant) -> Result<()> {
        loop {
            if let Ok((200, _)) = Client::new(&self.url)?.request(Method::GET, "/health/ready", None).await {
                self.ready_after = Some(begin.elapsed());
                return Ok(());
            }
            if let Some(child) = &mut self.child
                && let Some(status) = child.try_wait()?
            {
                bail!("the system ended with {status}:\n{}", self.log());
            }
            if begin.elapsed() > Duration::from_secs(60) {
                bail!("the system was not ready within a minute:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn log(&self) -> String {
        self.directory.as_ref().and_then(|d| std::fs::read_to_string(d.join("log")).ok()).unwrap_or_default()
    }

    /// CPU and memory by part; empty when the process is not known.
    pub fn usage(&self) -> BTreeMap<Part, Usage> {
        self.pid.map(|pid| usage(pid, self.broker)).unwrap_or_default()
    }

    /// Ends what was started and removes its files.
    pub async fn close(mut self) -> Result<()> {
        self.end().await?;
        if let Some(directory) = self.directory.take() {
            std::fs::remove_dir_all(directory)?;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw) {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        tokio::time::timeout(Duration::from_secs(15), child.wait()).await.context("the system did not stop within 15 s")??;
        Ok(())
    }
}

/// Builds that are compared may be older than some of the limits, and refuse what they do not know.
async fn known_limits(binary: &Path) -> Result<impl Iterator<Item = &'static str>> {
    let shown = Command::new(binary).arg("config").env_clear().stdin(Stdio::null()).output();
    let shown = tokio::time::timeout(Duration::from_secs(10), shown).await.context("`postrider config` did not end")??;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    Ok(LIFTED.into_iter().filter(move |limit| shown.contains(&format!("limits.{}", limit.to_lowercase()))))
}

/// A directory of its own.
fn temporary() -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("postrider-bench-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
