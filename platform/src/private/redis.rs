//! A private Redis (or Valkey).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::child::{Child, Phase, dying_with_us};
use super::data_dir::{Locked, write_whole};
use super::{PORTS_TRIED, free_port, in_path, leftovers, random_token};
use crate::config::StartError;

const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// What the kernel calls them: on Debian, the server is a link to the checker, which looks at the name it was called by.
const EXECUTABLES: [&str; 4] = ["redis-server", "valkey-server", "redis-check-rdb", "valkey-check-rdb"];
/// Loading a large append-only file takes its time.
const START_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A Redis of our own; dies with us, and is started again on the same port when it dies alone.
#[derive(Debug)]
pub struct PrivateRedis {
    url: String,
    port: u16,
    child: Child,
}

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
        let mut tried = 0;
        loop {
            tried += 1;
            // A new password for every start: what answers to it was started by us, now.
            let (port, password) = (free_port()?, random_token()?);
            let child = launch(dir, &home, &program, port, &password)?;
            let server = Self { url: format!("redis://:{password}@127.0.0.1:{port}/"), port, child };
            if server.answers(&home).await? {
                server.child.confirm();
                return Ok(server);
            }
            if tried == PORTS_TRIED {
                return Err(StartError::new(format!(
                    "the private Redis does not start; its last words are in {}",
                    home.join("log").display()
                )));
            }
        }
    }

    /// Where it listens, with its password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// On 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn process(&self) -> Option<i32> {
        match self.child.phase() {
            Phase::Running(process) => Some(process.as_raw_nonzero().get()),
            Phase::Down | Phase::Ended => None,
        }
    }

    /// Lets it write what it has, and ends it.
    pub async fn stop(self) {
        self.child.stop(Signal::TERM, STOP_WITHIN).await;
    }

    /// Waits until it answers; `false` when its process ended instead.
    async fn answers(&self, home: &Path) -> Result<bool, StartError> {
        let client =
            ::redis::Client::open(self.url.as_str()).map_err(|error| StartError::because("the private Redis has no proper URL", error))?;
        let begin = Instant::now();
        loop {
            match self.child.phase() {
                Phase::Ended => return Ok(false),
                Phase::Running(process) => {
                    let probe = tokio::time::timeout(Duration::from_secs(2), process_of(&client)).await;
                    if let Ok(Ok(answering)) = probe
                        && answering == process.as_raw_nonzero().get()
                    {
                        return Ok(true);
                    }
                }
                Phase::Down => {}
            }
            if begin.elapsed() > START_WITHIN {
                return Err(StartError::new(format!(
                    "the private Redis does not answer after {START_WITHIN:?}; its last words are in {}",
                    home.join("log").display()
                )));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
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
