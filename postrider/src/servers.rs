//! Postgres and Redis: those that are configured, or private ones.

use std::sync::Arc;

use platform::config::{Config, ServerUrl, StartError};
use platform::postgres::Databases;
use platform::private::{DataDir, Locked, PrivatePostgres, PrivateRedis, Running};

/// The servers that a process uses; the private ones among them are its children.
#[derive(Debug)]
pub struct Servers {
    /// On which databases are made; `None` when every service has a database of its own.
    pub postgres: Option<ServerUrl>,
    /// For marks and revocations.
    pub redis: ServerUrl,
    locked: Option<Arc<Locked>>,
    private_postgres: Option<PrivatePostgres>,
    private_redis: Option<PrivateRedis>,
}

impl Servers {
    /// Starts private ones for what the configuration does not name.
    pub async fn start(config: &Config, data_dir: &DataDir) -> Result<Self, StartError> {
        let needs_postgres = needs_private_postgres(config);
        let needs_redis = config.redis.url.set().is_none();
        let locked = if needs_postgres || needs_redis { Some(Arc::new(data_dir.lock()?)) } else { None };
        let postgres = async {
            match &locked {
                Some(locked) if needs_postgres => PrivatePostgres::start(locked).await.map(Some),
                _ => Ok(None),
            }
        };
        let redis = async {
            match &locked {
                Some(locked) if needs_redis => PrivateRedis::start(locked).await.map(Some),
                _ => Ok(None),
            }
        };
        let (private_postgres, private_redis) = tokio::try_join!(postgres, redis)?;
        let own_postgres = private_postgres.as_ref().map(|server| ServerUrl::new(server.url()));
        let own_redis = private_redis.as_ref().map(|server| ServerUrl::new(server.url()));
        if let Some(locked) = &locked {
            locked.tell(&Running::new(own_postgres.as_ref(), own_redis.as_ref()))?;
        }
        let redis = own_redis.unwrap_or_else(|| config.redis.url.clone());
        let postgres = own_postgres.or_else(|| config.postgres.url.set().cloned());
        Ok(Self { postgres, redis, locked, private_postgres, private_redis })
    }

    /// Whether Redis is a private one.
    pub fn has_own_redis(&self) -> bool {
        self.private_redis.is_some()
    }

    /// Where Postgres and Redis are, for people.
    pub fn described(&self, config: &Config) -> [String; 2] {
        let private = |port: u16, server: &str| {
            let data = self.locked.as_ref().map(|locked| locked.servers().join(server).display().to_string()).unwrap_or_default();
            format!("private, 127.0.0.1:{port}, data in {data}")
        };
        let postgres = match (&self.private_postgres, config.postgres.url.set()) {
            (Some(server), _) => private(server.port(), "postgres"),
            (None, Some(url)) => url.masked(),
            (None, None) => "the databases that are configured".into(),
        };
        let redis = match &self.private_redis {
            Some(server) => private(server.port(), "redis"),
            None => config.redis.url.masked(),
        };
        [postgres, redis]
    }

    /// Ends the private ones, in order.
    pub async fn stop(self) {
        let postgres = async {
            if let Some(server) = self.private_postgres {
                server.stop().await;
            }
        };
        let redis = async {
            if let Some(server) = self.private_redis {
                server.stop().await;
            }
        };
        tokio::join!(postgres, redis);
    }
}

/// A Postgres for commands that look or work beside an `up`: what is configured, the private one of a process that runs on this data directory, or a
/// private one for the time of the command.
#[derive(Debug)]
pub struct PostgresBeside {
    url: Option<ServerUrl>,
    private: Option<PrivatePostgres>,
}

impl PostgresBeside {
    /// Finds or starts it.
    pub async fn find(config: &Config) -> Result<Self, StartError> {
        if !needs_private_postgres(config) {
            return Ok(Self { url: config.postgres.url.set().cloned(), private: None });
        }
        let data_dir = DataDir::open(&config.server.data_dir)?;
        if let Some(url) = data_dir.running()?.and_then(|running| running.postgres()) {
            return Ok(Self { url: Some(url), private: None });
        }
        let private = PrivatePostgres::start(&Arc::new(data_dir.lock()?)).await?;
        Ok(Self { url: Some(ServerUrl::new(private.url())), private: Some(private) })
    }

    /// Like [`PostgresBeside::find`], but an installation has to be there: looking makes none.
    pub async fn look(config: &Config) -> Result<Self, StartError> {
        let data_dir = &config.server.data_dir;
        if needs_private_postgres(config) && !data_dir.join("version").exists() {
            return Err(StartError::new(format!(
                "there is nothing in the data directory {} yet: `postrider up` makes an installation; name another with --data-dir, or a server in DATABASE_URL",
                data_dir.display()
            )));
        }
        Self::find(config).await
    }

    /// Only what runs already; `None`: a private one would have to be started.
    pub fn running(config: &Config) -> Result<Option<Self>, StartError> {
        if !needs_private_postgres(config) {
            return Ok(Some(Self { url: config.postgres.url.set().cloned(), private: None }));
        }
        if !config.server.data_dir.join("version").exists() {
            return Ok(None);
        }
        let running = DataDir::open(&config.server.data_dir)?.running()?;
        Ok(running.and_then(|running| running.postgres()).map(|url| Self { url: Some(url), private: None }))
    }

    /// Whether it was started for us, so that no process runs on the data directory.
    pub fn is_ours_alone(&self) -> bool {
        self.private.is_some()
    }

    /// The databases that an `up` or a `migrate` has made there; `None`: none yet.
    pub async fn found(&self, config: &Config) -> Result<Option<Databases>, StartError> {
        Databases::find(&config.postgres, self.url.as_ref().unwrap_or(&config.postgres.url)).await
    }

    /// The databases on it.
    pub async fn databases(&self, config: &Config) -> Result<Databases, StartError> {
        databases(config, self.url.as_ref()).await
    }

    /// Ends it, when it was started for us.
    pub async fn close(self) {
        if let Some(server) = self.private {
            server.stop().await;
        }
    }
}

/// The databases of the configuration, made on `server` where they have no URL of their own.
pub async fn databases(config: &Config, server: Option<&ServerUrl>) -> Result<Databases, StartError> {
    // Without a server every service has its own URL, and none is asked for.
    Databases::prepare(&config.postgres, server.unwrap_or(&config.postgres.url)).await
}

fn needs_private_postgres(config: &Config) -> bool {
    config.postgres.url.set().is_none() && Databases::need_a_server(&config.postgres)
}
