//! A private Redis (or Valkey).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal};

use super::child::{Child, dying_with_us};
use super::data_dir::{Locked, write_whole};
use super::server::{Kind, Server};
use super::{in_path, leftovers, random_token};
use crate::config::StartError;

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// What the kernel calls them: on Debian, the server is a link to the checker, which looks at the name it was called by.
const EXECUTABLES: [&str; 4] = ["redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb"];
/// A Redis of our own; dies with us, and is started again on the same port when it dies alone.
#[derive(Debug)]
pub struct PrivateRedis(Server);

impl PrivateRedis {
    /// Starts it on a free port, with the data of the last run.
    ///
    /// # Errors
    /// When there is no Redis on this machine, or it does not start.
    pub async fn start(dir: &Arc<Locked>) -> Result<Self, StartError> {
        let program = PROGRAMS.into_iter().find_map(in_path).ok_or_else(|| {
            StartError::new("no redis-server or valkey-server on this machine: run script/setup (or install the package redis-server), or give REDIS_URL")
        })?;
        let home = dir.home("redis")?;
        Server::start(Installed { dir: Arc::clone(dir), home, program }).await.map(Self)
    }

    /// Where it listens, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        self.0.process()
    }

    /// Lets it write what it has, and ends it.
    pub async fn stop(self) {
        self.0.stop().await;
    }
}

/// A Redis on this machine, and where our data for it lies.
struct Installed {
    dir: Arc<Locked>,
    home: PathBuf,
    program: PathBuf,
}

impl Kind for Installed {
    const NAME: &'static str = "Redis";
    /// Loading a large append-only file takes its time.
    const START_WITHIN: Duration = Duration::from_secs(60);
    const STOP: Signal = Signal::TERM;
    const STOP_WITHIN: Duration = Duration::from_secs(5);

    fn home(&self) -> &Path {
        &self.home
    }

    fn launch(&self, port: u16) -> Result<(String, Child), StartError> {
        // A new password for every start: what answers to it was started by us, now.
        let password = random_token()?;
        let child = launch(&self.dir, &self.home, &self.program, port, &password)?;
        Ok((format!("redis://:{password}@127.0.0.1:{port}/"), child))
    }

    async fn is_ours(&self, url: &str, process: Pid) -> bool {
        let Ok(client) = ::redis::Client::open(url) else { return false };
        process_of(&client).await.is_ok_and(|answering| answering == process.as_raw_nonzero().get())
    }
}

/// The process id that the answering server calls its own.
async fn process_of(client: &::redis::Client) -> Result<i32, ::redis::RedisError> {
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = ::redis::cmd("INFO").arg("server").query_async(&mut connection).await?;
    let line = info.lines().find_map(|line| line.strip_prefix("process_id:"));
    Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
}

fn launch(dir: &Arc<Locked>, home: &Path, program: &Path, port: u16, password: &str) -> Result<Child, StartError> {
    let data = dir.home("redis/data")?;
    let configuration = home.join("redis.conf");
    let text = configuration_text(&data, port, password);
    write_whole(&configuration, &text, 0o600)
        .and_then(|()| dir.give(&configuration))
        .map_err(|error| StartError::because(format!("{} cannot be written", configuration.display()), error))?;
    let (dir, home, program): (_, PathBuf, PathBuf) = (Arc::clone(dir), home.into(), program.into());
    Child::start("Redis", Signal::KILL, move || {
        leftovers::end(&data, &EXECUTABLES, Signal::TERM)?;
        let log = dir.log(&home).map_err(|error| StartError::because("the log of the private Redis cannot be opened", error))?;
        let mut command = dying_with_us(dir.account(), &data, log, &program)?;
        command.arg(&configuration);
        Ok(command)
    })
}

fn configuration_text(data: &Path, port: u16, password: &str) -> String {
    // The path is quoted as Redis reads it: backslash and quote escaped.
    let data = data.display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    format!(
        "bind 127.0.0.1\nport {port}\nprotected-mode yes\nrequirepass {password}\ndir \"{data}\"\ndaemonize no\nlogfile \"\"\n\
         appendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n"
    )
}
