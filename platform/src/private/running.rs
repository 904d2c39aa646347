//! How other commands find the private servers of an `up` that runs on the same data directory.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::data_dir::{DataDir, Locked, belongs_to_its_directory, write_whole};
use crate::config::{ServerUrl, StartError};

const FILE: &str = "running";

/// Where the private servers of a running process listen, with their passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    postgres: Option<String>,
    redis: Option<String>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("postgres", &self.postgres()).field("redis", &self.redis()).finish()
    }
}

impl Running {
    /// What is told to others.
    #[must_use]
    pub fn new(postgres: Option<&ServerUrl>, redis: Option<&ServerUrl>) -> Self {
        let text = |url: Option<&ServerUrl>| url.map(|url| url.expose().to_owned());
        Self { postgres: text(postgres), redis: text(redis) }
    }

    /// The private Postgres, as its superuser.
    #[must_use]
    pub fn postgres(&self) -> Option<ServerUrl> {
        self.postgres.as_deref().map(ServerUrl::new)
    }

    /// The private Redis.
    #[must_use]
    pub fn redis(&self) -> Option<ServerUrl> {
        self.redis.as_deref().map(ServerUrl::new)
    }
}

impl Locked {
    /// Tells other commands on this data directory where our private servers are, until this process ends: what it leaves behind means nothing once
    /// its lock is gone.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn tell(&self, running: &Running) -> Result<(), StartError> {
        let path = self.told_in().join(FILE);
        let text =
            serde_json::to_string(running).map_err(|error| StartError::because("the servers' addresses cannot be written", error))?;
        write_whole(&path, &text, 0o600)
            .and_then(|()| belongs_to_its_directory(&path))
            .map_err(|error| StartError::because(format!("{} cannot be written", path.display()), error))
    }
}

impl DataDir {
    /// The private servers of another process that runs on this directory now; `None` when there is no such process.
    ///
    /// # Errors
    /// When there is one whose servers are not up yet, or whose file we may not read.
    pub fn running(&self) -> Result<Option<Running>, StartError> {
        if self.is_free()? {
            return Ok(None);
        }
        let path = self.path().join(FILE);
        match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .map(Some)
                .map_err(|error| StartError::because(format!("{} cannot be read", path.display()), error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StartError::new(format!("another postrider is just starting in {}: try again in a moment", self.path().display())))
            }
            Err(error) => Err(StartError::because(format!("{} cannot be read", path.display()), error)),
        }
    }
}
