//! A private Postgres.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection};

use super::child::{Child, dying_with_us};
use super::data_dir::{Locked, sync_directory, write_whole};
use super::server::{Kind, Server};
use super::{in_path, leftovers, random_token};
use crate::config::StartError;
use crate::crash::crash_point;

const PROGRAMS: [&str; 2] = ["postgres", "postmaster"];
const OLDEST: u32 = 14;
/// A Postgres of our own; dies with us, and is started again on the same port when it dies alone.
#[derive(Debug)]
pub struct PrivatePostgres(Server);

impl PrivatePostgres {
    /// Starts it on a free port, with the data of the last run; makes the cluster when there is none.
    ///
    /// # Errors
    /// When there is no Postgres on this machine (or not the version that made the data), or it does not start.
    pub async fn start(dir: &Arc<Locked>) -> Result<Self, StartError> {
        let home = dir.home("postgres")?;
        let data = home.join("data");
        let password = password(dir, &home)?;
        let programs = if data.join("PG_VERSION").exists() { programs_of_version(&data)? } else { newest_programs()? };
        let cluster = Cluster { dir: Arc::clone(dir), home, data, programs, password };
        // initdb and the end of leftovers block; nothing else needs this thread's runtime yet, but the caller's timers do.
        let cluster = tokio::task::spawn_blocking(move || {
            leftovers::end(&cluster.data, &PROGRAMS, Signal::INT)?;
            make_cluster(&cluster.dir, &cluster.home, &cluster.data, &cluster.programs)?;
            Ok::<_, StartError>(cluster)
        })
        .await
        .map_err(|error| StartError::because("making the private Postgres was interrupted", error))??;
        Server::start(cluster).await.map(Self)
    }

    /// Where it listens, as its superuser, with the password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Its process (the postmaster), while it runs.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        self.0.process()
    }

    /// Ends it in order: connections are closed, a checkpoint is written.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// A cluster that has been made.
struct Cluster {
    dir: Arc<Locked>,
    home: PathBuf,
    data: PathBuf,
    programs: PathBuf,
    password: String,
}

impl Kind for Cluster {
    const NAME: &'static str = "Postgres";
    /// Recovery after a crash replays at most `max_wal_size`.
    const START_WITHIN: Duration = Duration::from_secs(120);
    const STOP: Signal = Signal::INT;
    const STOP_WITHIN: Duration = Duration::from_secs(6);

    fn home(&self) -> &Path {
        &self.home
    }

    fn launch(&self, port: u16) -> Result<(String, Child), StartError> {
        let child = launch(&self.dir, &self.home, &self.data, &self.programs, port)?;
        Ok((format!("postgres://postgres:{}@127.0.0.1:{port}/postgres", self.password), child))
    }

    async fn is_ours(&self, url: &str, process: Pid) -> bool {
        let Ok(options) = url.parse::<PgConnectOptions>() else { return false };
        let Ok(mut connection) = options.disable_statement_logging().connect().await else { return false };
        let asked: Result<(String, String), _> =
            sqlx::query_as("SELECT current_setting('data_directory'), split_part(pg_read_file('postmaster.pid'), E'\\n', 1)")
                .fetch_one(&mut connection)
                .await;
        let _closing = connection.close().await;
        asked.is_ok_and(|(directory, postmaster)| Path::new(&directory) == self.data && postmaster == process.as_raw_nonzero().to_string())
    }
}

/// The superuser's password: drawn once, before the cluster is made with it.
fn password(dir: &Locked, home: &Path) -> Result<String, StartError> {
    let path = home.join("password");
    let failed = |error| StartError::because(format!("{} cannot be used", path.display()), error);
    if !path.exists() {
        write_whole(&path, &random_token()?, 0o600).map_err(failed)?;
    }
    dir.give(&path).map_err(failed)?;
    fs::read_to_string(&path).map_err(failed)
}

/// Makes the cluster aside and renames it into place, so that a crash half-way leaves nothing that looks finished.
fn make_cluster(dir: &Locked, home: &Path, data: &Path, programs: &Path) -> Result<(), StartError> {
    if data.join("PG_VERSION").exists() {
        return Ok(());
    }
    let failed = |error| StartError::because(format!("a Postgres cluster cannot be made in {}", home.display()), error);
    tracing::info!("making a Postgres cluster in {}: this takes a moment, once", home.display());
    let aside = home.join("data.new");
    leftovers::end(&aside, &PROGRAMS, Signal::KILL)?;
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(failed)?;
    }
    let log = dir.log(home).map_err(failed)?;
    let mut initdb: Command = dying_with_us(dir.account(), home, log, &programs.join("initdb"))?;
    initdb.arg("--pgdata").arg(&aside).arg("--pwfile").arg(home.join("password"));
    initdb.args(["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
    // PR_SET_PDEATHSIG follows this thread, which waits here until initdb is done.
    let status = initdb.stdin(Stdio::null()).status().map_err(failed)?;
    if !status.success() {
        return Err(StartError::new(format!("initdb failed ({status}); its last words are in {}", home.join("log").display())));
    }
    crash_point("initdb.before_rename");
    fs::rename(&aside, data).and_then(|()| sync_directory(data)).map_err(failed)
}

fn launch(dir: &Arc<Locked>, home: &Path, data: &Path, programs: &Path, port: u16) -> Result<Child, StartError> {
    let (dir, home, data, program): (_, PathBuf, PathBuf, _) = (Arc::clone(dir), home.into(), data.into(), programs.join("postgres"));
    let settings = settings(port, programs_version(programs));
    // In haste: without a checkpoint, but not without giving its shared memory back.
    Child::start("Postgres", Signal::QUIT, move || {
        // The backends of a killed postmaster notice by themselves, but not at once; until then their shared memory is in use.
        leftovers::end(&data, &PROGRAMS, Signal::INT)?;
        forget_reused_process(&data);
        let log = dir.log(&home).map_err(|error| StartError::because("the log of the private Postgres cannot be opened", error))?;
        let mut command = dying_with_us(dir.account(), &data, log, &program)?;
        command.arg("-D").arg(&data);
        for setting in &settings {
            command.arg("-c").arg(setting);
        }
        Ok(command)
    })
}

/// Postgres refuses to start while the process that `postmaster.pid` names lives, even when that is a stranger who got the number later. Nothing of
/// ours works in the directory any more when this is called.
fn forget_reused_process(data: &Path) {
    let path = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&path) else { return };
    let named = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
    if let Some(process) = named
        && rustix::process::test_kill_process(process).is_ok()
        && !leftovers::is_ours(process, data, &PROGRAMS)
    {
        let _otherwise_postgres_says_so = fs::remove_file(path);
    }
}

/// Given on the command line at every start, so that they are always this binary's and never a leftover in a file.
fn settings(port: u16, version: Option<u32>) -> Vec<String> {
    let mut settings: Vec<String> = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "max_connections=200",
        "shared_buffers=128MB",
        // New segments cost tens of milliseconds when they are made under load: keep them.
        "min_wal_size=512MB",
        "max_wal_size=2GB",
        "checkpoint_timeout=10min",
        "jit=off",
        "max_parallel_workers_per_gather=0",
        // Nothing of what a statement carries belongs into a log.
        "log_min_error_statement=panic",
        "log_error_verbosity=terse",
        "log_timezone=UTC",
        "timezone=UTC",
    ]
    .map(str::to_owned)
    .into();
    settings.push(format!("port={port}"));
    if version.is_some_and(|version| version >= 15) {
        settings.push("wal_compression=lz4".into());
    }
    settings
}

/// The directory with `postgres` and `initdb` of the newest version here.
fn newest_programs() -> Result<PathBuf, StartError> {
    let newest = candidates().filter_map(|dir| Some((programs_version(&dir)?, dir))).max_by_key(|(version, _)| *version);
    match newest {
        Some((version, dir)) if version >= OLDEST => Ok(dir),
        Some((version, dir)) => Err(StartError::new(format!(
            "the Postgres in {} is version {version}; {OLDEST} or newer is needed: install one, or give DATABASE_URL",
            dir.display()
        ))),
        None => Err(StartError::new(
            "no Postgres server on this machine: run script/setup (or install the package postgresql), or give DATABASE_URL",
        )),
    }
}

/// The directory with the programs of the version that made this data, for no other version reads it.
fn programs_of_version(data: &Path) -> Result<PathBuf, StartError> {
    let made_by = fs::read_to_string(data.join("PG_VERSION")).unwrap_or_default().trim().to_owned();
    candidates().find(|dir| programs_version(dir).is_some_and(|version| version.to_string() == made_by)).ok_or_else(|| {
        StartError::new(format!(
            "the data in {} was made by PostgreSQL {made_by}, which is not on this machine (any more): install the package postgresql-{made_by}, or name another directory with --data-dir",
            data.display()
        ))
    })
}

fn candidates() -> impl Iterator<Item = PathBuf> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let in_path = in_path("postgres").and_then(|path| path.parent().map(Path::to_path_buf));
    in_path.into_iter().chain(packaged).filter(|dir| dir.join("postgres").is_file() && dir.join("initdb").is_file())
}

fn programs_version(dir: &Path) -> Option<u32> {
    major_version(&dir.join("postgres"))
}

/// The major version of one of Postgres' programs, as it says itself: "postgres (PostgreSQL) 15.8 (Debian 15.8-0+deb12u1)". `None`: it is not there.
pub(crate) fn major_version(program: &Path) -> Option<u32> {
    let said = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = String::from_utf8(said.stdout).ok()?;
    said.split_whitespace().nth(2)?.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
