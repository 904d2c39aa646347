//! A Redis whose data can be set back.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use testkit::servers::temporary_directory;
use testkit::system::{free_port, signal};
use testkit::wait_until;

/// As private servers of ours are set up: an append-only file, synced every second. Dies with the value, and with this process.
#[derive(Debug)]
pub struct AgingRedis {
    directory: PathBuf,
    port: u16,
    child: Option<Child>,
    copied: bool,
}

impl AgingRedis {
    pub async fn start() -> Self {
        let mut redis = Self { directory: temporary_directory(), port: free_port(), child: None, copied: false };
        redis.start_again().await;
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    pub async fn start_again(&mut self) {
        let data = self.directory.join("data");
        std::fs::create_dir_all(&data).expect("a directory");
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server", "--bind", "127.0.0.1", "--port", &self.port.to_string(), "--save", ""]);
        // A copy is made file by file: nothing may be written anew in the midst of it.
        command.args(["--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0"]);
        command.arg("--dir").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("setpriv and redis-server are here: script/setup"));
        wait_until("Redis answers", Duration::from_secs(20), async || self.ask("PING").await).await;
    }

    async fn ask(&self, command: &str) -> Option<String> {
        let client = ::redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        ::redis::cmd(command).query_async(&mut connection).await.ok()
    }

    pub async fn flush(&self) {
        wait_until("FLUSHALL", Duration::from_secs(20), async || self.ask("FLUSHALL").await).await;
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Keeps a copy of its data as they are now.
    pub fn copy(&mut self) {
        signal(self.pid(), Signal::STOP);
        let (data, copy) = (self.directory.join("data"), self.directory.join("copy"));
        let _ = std::fs::remove_dir_all(&copy);
        copy_directory(&data, &copy);
        signal(self.pid(), Signal::CONT);
        self.copied = true;
    }

    /// Kills it and starts it with the newest copy, or with nothing when there is none.
    pub async fn age(&mut self) {
        self.kill();
        let (data, copy) = (self.directory.join("data"), self.directory.join("copy"));
        std::fs::remove_dir_all(&data).expect("its data");
        if self.copied {
            copy_directory(&copy, &data);
        }
        self.start_again().await;
    }
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_directory(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("a file");
        }
    }
}

impl Drop for AgingRedis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
