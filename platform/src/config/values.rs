//! The settings as types. What each means stands in `postrider/config.default.toml`; here stands what they become.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use serde::{Deserialize, Deserializer};

use super::{Secret, ServerUrl};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Listening, data directory, end.
    pub server: Server,
    /// Databases and pools.
    pub postgres: Postgres,
    /// Marks, revocations.
    pub redis: Redis,
    /// The log, when it is not the ledger itself.
    pub kafka: Kafka,
    /// Tokens and passwords.
    pub auth: Auth,
    /// Personal data.
    pub keys: Keys,
    /// Sizes and bounds.
    pub limits: Limits,
    /// The offline queue.
    pub relay: Relay,
    /// Logs.
    pub telemetry: Telemetry,
}

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address to listen on.
    pub host: std::net::IpAddr,
    /// For HTTP; 0: any free one.
    pub port: u16,
    /// For `/metrics`; 0: none.
    pub metrics_port: u16,
    /// What one installation keeps on this machine.
    pub data_dir: PathBuf,
    /// From SIGTERM to the end.
    #[serde(rename = "shutdown_seconds", deserialize_with = "seconds")]
    pub shutdown: Duration,
    /// Of the web front end; empty: none.
    pub frontend_url: String,
}

/// `[postgres]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// The server on which databases and roles are made; empty: a private one.
    pub url: ServerUrl,
    /// Of the auth service, used as it is.
    pub auth_url: ServerUrl,
    /// Of the users service, used as it is.
    pub user_url: ServerUrl,
    /// Of the messages service, used as it is.
    pub message_url: ServerUrl,
    /// Of the key store, used as it is.
    pub keys_url: ServerUrl,
    /// Connections of the auth service's pool.
    pub auth_pool: u32,
    /// Connections of the users service's pool.
    pub user_pool: u32,
    /// Connections of the messages service's pool.
    pub message_pool: u32,
    /// Connections of the key store's pool.
    pub keys_pool: u32,
    /// Connections of each ledger's pool, for those who read it.
    pub ledger_pool: u32,
    /// Connections of each reader's pool.
    pub reader_pool: u32,
    /// How long to wait for a free connection.
    #[serde(rename = "acquire_timeout_ms", deserialize_with = "milliseconds")]
    pub acquire_timeout: Duration,
    /// How long a statement may take.
    #[serde(rename = "statement_timeout_ms", deserialize_with = "milliseconds")]
    pub statement_timeout: Duration,
}

/// `[redis]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Empty: a private one.
    pub url: ServerUrl,
}

/// `[kafka]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// Comma-separated; empty: the ledger itself is the log.
    pub brokers: String,
    /// Before the names of topics and groups.
    pub topic_prefix: String,
    /// How to talk to them.
    pub security_protocol: SecurityProtocol,
    /// How to prove who we are.
    pub sasl_mechanism: String,
    /// As whom.
    pub sasl_username: String,
    /// With which password.
    pub sasl_password: Secret,
    /// Certificates that vouch for the brokers; empty: the system's.
    pub ssl_ca_file: PathBuf,
}

/// `kafka.security_protocol`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are librdkafka's")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl Kafka {
    /// How every client connects, as librdkafka names it; the brokers themselves are not among it.
    #[must_use]
    pub fn options(&self) -> BTreeMap<String, String> {
        let (protocol, sasl, ssl) = match self.security_protocol {
            SecurityProtocol::Plaintext => ("plaintext", false, false),
            SecurityProtocol::Ssl => ("ssl", false, true),
            SecurityProtocol::SaslPlaintext => ("sasl_plaintext", true, false),
            SecurityProtocol::SaslSsl => ("sasl_ssl", true, true),
        };
        let mut options = vec![("security.protocol", protocol.to_owned())];
        if sasl {
            options.push(("sasl.mechanism", self.sasl_mechanism.clone()));
            options.push(("sasl.username", self.sasl_username.clone()));
            options.push(("sasl.password", self.sasl_password.expose().to_owned()));
        }
        if ssl && !self.ssl_ca_file.as_os_str().is_empty() {
            options.push(("ssl.ca.location", self.ssl_ca_file.display().to_string()));
        }
        options.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// `[auth]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Of access tokens.
    #[serde(rename = "access_token_seconds", deserialize_with = "seconds")]
    pub access_token: Duration,
    /// Of refresh tokens.
    #[serde(rename = "refresh_token_seconds", deserialize_with = "seconds")]
    pub refresh_token: Duration,
    /// `iss`
    pub issuer: String,
    /// `aud`
    pub audience: String,
    /// Memory of one hash.
    pub argon2_memory_kib: u32,
    /// Passes of one hash.
    pub argon2_iterations: u32,
    /// Lanes of one hash.
    pub argon2_parallelism: u32,
    /// How many hashes may wait.
    pub hasher_queue: usize,
    /// How long known revocations are enough while Redis is away.
    #[serde(rename = "revocation_grace_seconds", deserialize_with = "seconds_or_none")]
    pub revocation_grace: Duration,
}

/// `[keys]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Wraps the keys of personal data.
    #[serde(deserialize_with = "wrapping_key")]
    pub wrapping_key: Option<WrappingKey>,
}

/// 32 bytes that nothing shows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WrappingKey(pub [u8; 32]);

impl std::fmt::Debug for WrappingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Of a request body.
    pub body_bytes: usize,
    /// Of a message's content.
    pub content_bytes: usize,
    /// Of a wrapped session key.
    pub session_key_bytes: usize,
    /// Of a message's signatures.
    pub signatures_bytes: usize,
    /// Of a stored event.
    pub event_bytes: usize,
    /// Until a command's outcome is known.
    #[serde(rename = "command_deadline_ms", deserialize_with = "milliseconds")]
    pub command_deadline: Duration,
    /// How long a read waits for what its user wrote.
    #[serde(rename = "read_bound_ms", deserialize_with = "milliseconds")]
    pub read_bound: Duration,
}

/// `[relay]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Relay {
    /// How long a message waits when its sender does not say.
    pub ttl_default_days: u32,
    /// The least a sender may ask.
    pub ttl_min_days: u32,
    /// The most a sender may ask.
    pub ttl_max_days: u32,
}

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// Which lines.
    pub log: String,
    /// How they look.
    pub format: LogFormat,
}

/// `telemetry.format`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON lines otherwise.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Config {
    /// What the types alone cannot say: the key that is wrong, and what would be right.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        let relay = &self.relay;
        if relay.ttl_min_days == 0 {
            return Some(("relay.ttl_min_days", "it must be at least 1".into()));
        }
        if !(relay.ttl_min_days..=relay.ttl_max_days).contains(&relay.ttl_default_days) {
            let right =
                format!("it must lie between relay.ttl_min_days ({}) and relay.ttl_max_days ({})", relay.ttl_min_days, relay.ttl_max_days);
            return Some(("relay.ttl_default_days", right));
        }
        if self.limits.event_bytes > 921_600 {
            return Some(("limits.event_bytes", "it can be at most 921600 (900 KiB), since topics take messages of 2 MiB".into()));
        }
        if self.auth.argon2_memory_kib < 8 * self.auth.argon2_parallelism.max(1) {
            return Some(("auth.argon2_memory_kib", "Argon2 needs at least 8 KiB per lane (auth.argon2_parallelism)".into()));
        }
        for (key, value) in [
            ("postgres.auth_pool", self.postgres.auth_pool),
            ("postgres.user_pool", self.postgres.user_pool),
            ("postgres.message_pool", self.postgres.message_pool),
            ("postgres.keys_pool", self.postgres.keys_pool),
            ("postgres.ledger_pool", self.postgres.ledger_pool),
            ("postgres.reader_pool", self.postgres.reader_pool),
            ("auth.argon2_iterations", self.auth.argon2_iterations),
            ("auth.argon2_parallelism", self.auth.argon2_parallelism),
        ] {
            if value == 0 {
                return Some((key, "it must be at least 1".into()));
            }
        }
        let sasl = matches!(self.kafka.security_protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
        if sasl && self.kafka.sasl_username.is_empty() {
            return Some(("kafka.sasl_username", "it is needed with this kafka.security_protocol".into()));
        }
        None
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("at least 1 second is needed")),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

fn seconds_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    match u64::deserialize(deserializer)? {
        0 => Err(serde::de::Error::custom("at least 1 ms is needed")),
        milliseconds => Ok(Duration::from_millis(milliseconds)),
    }
}

fn wrapping_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<WrappingKey>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok();
    let key = bytes.and_then(|bytes| bytes.try_into().ok());
    key.map(|key| Some(WrappingKey(key)))
        .ok_or_else(|| serde::de::Error::custom("32 bytes in base64 are needed (`openssl rand -base64 32`)"))
}
