//! A Redis that a test may stop, kill and start again.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::wait_until;
use rustix::process::{Pid, Signal, kill_process};
use uuid::Uuid;

/// Its data goes with it.
#[derive(Debug)]
pub struct OwnRedis {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl OwnRedis {
    /// A port on which nobody listens yet.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn planned() -> Self {
        let dir = std::env::temp_dir().join(format!("postrider-redis-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&dir).expect("it works");
        let port = TcpListener::bind("127.0.0.1:0").expect("it works").local_addr().expect("it works").port();
        Self { dir, port, child: None }
    }

    /// Running and answering.
    pub async fn started() -> Self {
        let mut server = Self::planned();
        server.start().await;
        server
    }

    /// Where it is, or will be.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts it, empty or as it was when it was last told to `SAVE`.
    ///
    /// # Panics
    /// When it does not answer within 10 s.
    pub async fn start(&mut self) {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(&self.dir)
            .stdout(Stdio::null())
            .spawn()
            .expect("it works");
        self.child = Some(child);
        wait_until("redis-server answers", Duration::from_secs(10), async || {
            ::redis::Client::open(self.url()).expect("it works").get_multiplexed_async_connection().await.ok()
        })
        .await;
    }

    /// A connection past everything that is tested.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn directly(&self) -> ::redis::aio::MultiplexedConnection {
        ::redis::Client::open(self.url()).expect("it works").get_multiplexed_async_connection().await.expect("it works")
    }

    /// One command, past everything that is tested; what it answers is left alone.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn tell(&self, command: &str) {
        let mut words = command.split(' ');
        let mut ask = ::redis::cmd(words.next().unwrap_or_default());
        words.for_each(|word| {
            ask.arg(word);
        });
        ask.exec_async(&mut self.directly().await).await.expect("it takes the command");
    }

    /// It keeps its connections and answers nothing.
    pub fn hang(&self) {
        self.signal(Signal::STOP);
    }

    /// It answers again.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it works");
            child.wait().expect("it works");
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().expect("it works")), signal).expect("it works");
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
