//! A whole Postrider as its users meet it: the binary, started with a data directory of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use platform::private::DataDir;
use rustix::process::{Pid, Signal, kill_process};
use sqlx::Connection;
use tokio::sync::{Mutex, OnceCell};

use crate::servers::{DiesWithUs, remove_directory, temporary_directory};

/// How a system is started.
#[derive(Debug, Clone, Default)]
pub struct SystemConfig {
    /// Environment variables, e.g. `KAFKA_BROKERS`.
    pub env: Vec<(String, String)>,
    /// Beyond `up --data-dir …`.
    pub args: Vec<String>,
}

impl SystemConfig {
    /// Without an environment variable.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(n, _)| n != name);
        self
    }

    /// With the topics of a broker that several systems share told apart.
    #[must_use]
    pub fn kafka(self, broker: &crate::kafka::Broker) -> Self {
        let prefix = format!("test-{}.", uuid::Uuid::now_v7().simple());
        self.env("KAFKA_BROKERS", &broker.address).env("POSTRIDER_KAFKA__TOPIC_PREFIX", prefix)
    }

    /// With one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.env.retain(|(n, _)| n != name);
        self.env.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A running (or killed) system. Ends with its value, and its files with it; the log of one whose test fails is kept.
#[derive(Debug)]
pub struct System {
    /// Environment and arguments; may be changed before [`System::start_again`].
    pub config: SystemConfig,
    /// Where its data lies.
    pub directory: PathBuf,
    /// Of the HTTP port.
    pub port: u16,
    /// Of the metrics port.
    pub metrics_port: u16,
    child: Option<(Child, DiesWithUs)>,
}

/// The one that all tests of a process may use which neither stop nor change it.
static SHARED: OnceCell<System> = OnceCell::const_new();

/// Held by tests that load or measure the machine: one of them at a time, so that none of them mistakes another for a fault.
pub static MACHINE: Mutex<()> = Mutex::const_new(());

impl System {
    /// One for every test that leaves it as it is, apart from people and messages of its own. Ends with the process.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::start(SystemConfig::default())).await
    }

    /// Starts one and waits until it is ready.
    ///
    /// # Panics
    /// When it does not get ready within a minute.
    pub async fn start(config: SystemConfig) -> Self {
        let mut system = Self::prepare(config);
        system.start_again();
        system.ready().await;
        system
    }

    /// Everything but the start.
    #[must_use]
    pub fn prepare(config: SystemConfig) -> Self {
        Self { config, directory: temporary_directory(), port: free_port(), metrics_port: free_port(), child: None }
    }

    /// Starts the process (again, on the same data); does not wait.
    ///
    /// # Panics
    /// When the binary cannot be started.
    pub fn start_again(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).expect("a log file");
        let mut command = Command::new(binary());
        command
            .arg("up")
            .arg("--data-dir")
            .arg(self.directory.join("data"))
            .args(&self.config.args)
            .env("PORT", self.port.to_string())
            .env("POSTRIDER_SERVER__METRICS_PORT", self.metrics_port.to_string())
            .env_remove("DATABASE_URL")
            .env_remove("REDIS_URL")
            .env_remove("KAFKA_BROKERS")
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log);
        for (name, value) in &self.config.env {
            command.env(name, value);
        }
        let child = command.spawn().expect("the binary starts");
        let guard = DiesWithUs::guard(child.id());
        self.child = Some((child, guard));
    }

    /// Waits until `/health/ready` says 200.
    ///
    /// # Panics
    /// When it does not within a minute, or when the process ends; with the end of its log.
    pub async fn ready(&mut self) {
        assert!(self.is_ready_within(Duration::from_secs(60)).await, "not ready:\n{}", self.log_tail());
    }

    /// Whether it gets ready in time; `false` at once when the process has ended.
    pub async fn is_ready_within(&mut self, bound: Duration) -> bool {
        let begin = Instant::now();
        let client = reqwest::Client::new();
        while begin.elapsed() < bound {
            let answer = client.get(self.url("/health/ready")).timeout(Duration::from_secs(2)).send().await;
            if answer.is_ok_and(|a| a.status() == 200) {
                return true;
            }
            if self.exit_status().is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// How the process ended, if it did.
    pub fn exit_status(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut().and_then(|(child, _)| child.try_wait().ok().flatten())
    }

    /// Its Postgres, as the superuser.
    ///
    /// # Panics
    /// When it has no private one, or that does not answer.
    pub async fn postgres(&self, database: &str) -> sqlx::PgConnection {
        let directory = DataDir::open(&self.directory.join("data")).expect("a data directory");
        let running = directory.running().expect("it can be read").expect("it runs");
        let url = running.postgres().expect("a private Postgres");
        let (server, _) = url.expose().rsplit_once('/').expect("a URL with a database");
        sqlx::PgConnection::connect(&format!("{server}/{database}")).await.expect("it answers")
    }

    /// Of a path below the system's root.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(|(child, _)| child.id())
    }

    /// The main process of a private server (`postgres`, `redis-server`): the direct child with that name.
    #[must_use]
    pub fn server_pid(&self, name: &str) -> Option<u32> {
        let parent = self.pid()?;
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let (head, tail) = stat.rsplit_once(')')?;
            let ppid: u32 = tail.split_whitespace().nth(1)?.parse().ok()?;
            (ppid == parent && head.split_once('(')?.1 == name).then_some(pid)
        })
    }

    /// The value of a metric, its labels included in the name (`publisher_lag_events{topic="messages"}`); `None` when it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let address = format!("http://127.0.0.1:{}/metrics", self.metrics_port);
        let text = reqwest::get(address).await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// `kill -9` of our process; returns when it is gone.
    pub fn kill(&mut self) {
        if let Some((mut child, guard)) = self.child.take() {
            drop(guard);
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// SIGTERM; how it ended and how long that took.
    ///
    /// # Panics
    /// When it does not end within 20 s.
    pub async fn stop(&mut self) -> (std::process::ExitStatus, Duration) {
        let begin = Instant::now();
        let (child, _) = self.child.as_mut().expect("it runs");
        signal(child.id(), Signal::TERM);
        let status = crate::wait_until("the process ends", Duration::from_secs(20), async || child.try_wait().ok().flatten()).await;
        self.child = None;
        (status, begin.elapsed())
    }

    /// Everything it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// The end of it.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for System {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join(format!("postrider-failed-{}.log", uuid::Uuid::now_v7().simple()));
            let _ = fs::copy(self.directory.join("log"), &kept);
            eprintln!("the system's log is kept in {}; it ends with:\n{}", kept.display(), self.log_tail());
        }
        remove_directory(&self.directory);
    }
}

/// A process and its children, without those that have ended and were not yet reaped.
#[must_use]
pub fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    std::iter::once(pid).chain(children.split_whitespace().filter_map(|p| p.parse().ok())).filter(|pid| lives(*pid)).collect()
}

/// Whether a process runs: one that has ended and was not yet reaped does not.
#[must_use]
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Sends a signal; a process that is gone is none of our business.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// A port of the loopback address that nobody listens on. Below the range from which the system gives ports to connections (32768 and up here), or another test's
/// connection could take it before the server that it is for; and not given twice.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn free_port() -> u16 {
    // Another run of tests at the same time begins elsewhere.
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let [.., high, low] = uuid::Uuid::now_v7().into_bytes();
        AtomicU16::new(u16::from_be_bytes([high, low]))
    });
    const PORTS: u16 = 20_000;
    (0..PORTS)
        .map(|_| 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}

/// The `postrider` that was built beside this test.
///
/// # Panics
/// When it was not: `cargo build -p postrider` first.
#[must_use]
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test is a file");
    let built = test.ancestors().map(|dir| dir.join("postrider")).find(|path| is_file(path));
    built.expect("no `postrider` beside the tests: run `cargo build -p postrider` first")
}

fn is_file(path: &Path) -> bool {
    path.is_file()
}

/// Files below a directory that hold these bytes, passing over folders with the given names.
#[must_use]
pub fn search_files(directory: &Path, needle: &[u8], except: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() {
            if !except.iter().any(|e| name.to_string_lossy().starts_with(e)) {
                found.extend(search_files(&path, needle, except));
            }
        } else if fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle)) {
            found.push(path.display().to_string());
        }
    }
    found
}
