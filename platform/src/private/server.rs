//! What private servers have in common: a free port, an answer that is really theirs, and an end.

use std::future::Future;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::child::{Child, Phase};
use super::{PORTS_TRIED, free_port};
use crate::config::StartError;

/// From when on a slow start is explained.
const PATIENCE: Duration = Duration::from_secs(5);

/// A kind of server, ready to be launched.
pub(super) trait Kind: Sync {
    /// As people call it.
    const NAME: &'static str;
    /// Recovery from a crash included.
    const START_WITHIN: Duration;
    /// Asks it to end in order.
    const STOP: Signal;
    /// Until force is used.
    const STOP_WITHIN: Duration;

    /// Where its log lies.
    fn home(&self) -> &Path;
    /// Starts it on a port; its URL, with the password.
    fn launch(&self, port: u16) -> Result<(String, Child), StartError>;
    /// Whether what answers at the URL is this process, on our data. (A password proves our side only: a stranger may trust everybody.)
    fn is_ours(&self, url: &str, process: Pid) -> impl Future<Output = bool> + Send;
}

/// A server that has answered.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    port: u16,
    child: Child,
    stop: (Signal, Duration),
}

impl Server {
    /// Starts it on a free port, and on another one when somebody else was quicker to take that.
    pub(super) async fn start<K: Kind>(kind: K) -> Result<Self, StartError> {
        for _ in 0..PORTS_TRIED {
            let port = free_port()?;
            let (url, child) = kind.launch(port)?;
            if answers(&kind, &url, &child).await? {
                child.confirm();
                return Ok(Self { url, port, child, stop: (K::STOP, K::STOP_WITHIN) });
            }
        }
        Err(StartError::new(format!("the private {} does not start; its last words are in {}", K::NAME, kind.home().join("log").display())))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn process(&self) -> Option<i32> {
        match self.child.phase() {
            Phase::Running(process) => Some(process.as_raw_nonzero().get()),
            Phase::Down | Phase::Ended => None,
        }
    }

    pub(super) async fn stop(self) {
        let (politely, patience) = self.stop;
        self.child.stop(politely, patience).await;
    }
}

/// Waits until it answers; `false` when its process ended instead.
async fn answers<K: Kind>(kind: &K, url: &str, child: &Child) -> Result<bool, StartError> {
    let begin = Instant::now();
    let mut explained = false;
    loop {
        match child.phase() {
            Phase::Ended => return Ok(false),
            Phase::Running(process) => {
                if tokio::time::timeout(Duration::from_secs(2), kind.is_ours(url, process)).await == Ok(true) {
                    return Ok(true);
                }
            }
            Phase::Down => {}
        }
        if !explained && begin.elapsed() > PATIENCE {
            explained = true;
            tracing::info!("the private {} recovers from its last end: this may take a moment", K::NAME);
        }
        if begin.elapsed() > K::START_WITHIN {
            return Err(StartError::new(format!(
                "the private {} does not answer after {:?}; its last words are in {}",
                K::NAME,
                K::START_WITHIN,
                kind.home().join("log").display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
