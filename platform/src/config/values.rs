//! The settings as types. What each means stands in `postrider/config.default.toml`; here stands what they become.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use serde::{Deserialize, Deserializer};

use super::{Secret, ServerUrl};
use crate::frames::Kept;
use crate::limits::{Networks, Rate, Rates};

/// What librdkafka was built with, and brokers offer.
const SASL_MECHANISMS: [&str; 3] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

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
    /// Who projects.
    pub projections: Projections,
    /// What sockets can resume from.
    pub frames: Frames,
    /// Bounds.
    pub limits: Limits,
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
    /// Where the frontend is; empty: nobody has said.
    pub frontend_url: String,
    /// Comma-separated; see [`Server::origins`].
    pub allowed_origins: String,
    /// Whether other people's data is in it.
    pub production: bool,
    /// Whose `X-Forwarded-For` is believed.
    #[serde(deserialize_with = "networks")]
    pub trusted_proxies: Networks,
    /// From SIGTERM to the end.
    #[serde(rename = "shutdown_seconds", deserialize_with = "seconds")]
    pub shutdown: Duration,
}

/// Where a frontend in development is found.
const IN_DEVELOPMENT: [&str; 2] = ["http://localhost:5173", "http://localhost:3000"];

impl Server {
    /// The origins whose pages may use the interface: those that are named, else the frontend's and, outside production, those of a frontend in development.
    #[must_use]
    pub fn origins(&self) -> Vec<String> {
        let named: Vec<String> = self.allowed_origins.split(',').filter(|origin| !origin.trim().is_empty()).filter_map(origin_of).collect();
        if !named.is_empty() {
            return named;
        }
        let development = IN_DEVELOPMENT.iter().filter(|_| !self.production).map(|&origin| origin.to_owned());
        origin_of(&self.frontend_url).into_iter().chain(development).collect()
    }
}

/// Scheme, host and port of a URL as browsers write them in `Origin`; `None` when it is no URL of the web.
fn origin_of(url: &str) -> Option<String> {
    let url = url.trim().to_ascii_lowercase();
    let (scheme, rest) = url.split_once("://")?;
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())?;
    let is_plain = authority.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b));
    is_plain.then(|| format!("{scheme}://{}", authority.strip_suffix(default_port).unwrap_or(authority)))
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
    /// How many hashes may wait.
    pub hasher_queue: usize,
    /// How long known revocations are enough while Redis is away.
    #[serde(rename = "revocation_grace_seconds", deserialize_with = "seconds")]
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
    /// Until a command's outcome is known.
    #[serde(rename = "command_deadline_ms", deserialize_with = "milliseconds")]
    pub command_deadline: Duration,
    /// Of a user.
    pub sends_per_second: u32,
    /// Of a user.
    pub sends_burst: u32,
    /// Of a user.
    pub commands_per_second: u32,
    /// Of a user.
    pub commands_burst: u32,
    /// Of a user.
    pub reads_per_second: u32,
    /// Of a user.
    pub reads_burst: u32,
    /// Of a user.
    pub vital_per_second: u32,
    /// Of a user.
    pub vital_burst: u32,
    /// Of a socket: frames, receipts apart.
    pub socket_frames_per_second: u32,
    /// Of a socket.
    pub socket_frames_burst: u32,
    /// Of a user, at this process: open sockets.
    pub sockets_per_user: u32,
    /// Of an address.
    pub logins_per_minute: u32,
    /// Of an address.
    pub registrations_per_hour: u32,
    /// Of an address.
    pub forgotten_per_hour: u32,
    /// Of an address.
    pub invitations_per_hour: u32,
    /// Of an address.
    pub public_per_second: u32,
    /// Of an address.
    pub public_burst: u32,
    /// Addresses that are not counted.
    #[serde(deserialize_with = "networks")]
    pub exempt_networks: Networks,
}

impl Limits {
    /// As buckets.
    #[must_use]
    pub fn rates(&self) -> Rates {
        Rates {
            sends: Rate::per_second(self.sends_per_second, self.sends_burst),
            commands: Rate::per_second(self.commands_per_second, self.commands_burst),
            reads: Rate::per_second(self.reads_per_second, self.reads_burst),
            vital: Rate::per_second(self.vital_per_second, self.vital_burst),
            public: Rate::per_second(self.public_per_second, self.public_burst),
            logins: Rate::per_minute(self.logins_per_minute),
            registrations: Rate::per_hour(self.registrations_per_hour),
            forgotten: Rate::per_hour(self.forgotten_per_hour),
            invitations: Rate::per_hour(self.invitations_per_hour),
        }
    }

    /// What one socket may say, receipts apart.
    #[must_use]
    pub fn of_socket(&self) -> Rate {
        Rate::per_second(self.socket_frames_per_second, self.socket_frames_burst)
    }

    fn numbers(&self) -> [(&'static str, u32); 17] {
        [
            ("limits.sends_per_second", self.sends_per_second),
            ("limits.sends_burst", self.sends_burst),
            ("limits.commands_per_second", self.commands_per_second),
            ("limits.commands_burst", self.commands_burst),
            ("limits.reads_per_second", self.reads_per_second),
            ("limits.reads_burst", self.reads_burst),
            ("limits.vital_per_second", self.vital_per_second),
            ("limits.vital_burst", self.vital_burst),
            ("limits.socket_frames_per_second", self.socket_frames_per_second),
            ("limits.socket_frames_burst", self.socket_frames_burst),
            ("limits.sockets_per_user", self.sockets_per_user),
            ("limits.logins_per_minute", self.logins_per_minute),
            ("limits.registrations_per_hour", self.registrations_per_hour),
            ("limits.forgotten_per_hour", self.forgotten_per_hour),
            ("limits.invitations_per_hour", self.invitations_per_hour),
            ("limits.public_per_second", self.public_per_second),
            ("limits.public_burst", self.public_burst),
        ]
    }
}

/// `[projections]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projections {
    /// When whoever stands by takes over from a process that has stalled.
    #[serde(rename = "stalled_after_seconds", deserialize_with = "seconds")]
    pub stalled_after: Duration,
}

/// `[frames]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frames {
    /// For how long.
    #[serde(rename = "retention_seconds", deserialize_with = "seconds")]
    pub retention: Duration,
    /// Of one user.
    pub log_entries: usize,
}

impl Frames {
    /// As the logs want it.
    #[must_use]
    pub fn kept(&self) -> Kept {
        Kept { retention: self.retention, entries: self.log_entries }
    }
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
        let out_of_range = self.ranges().into_iter().find(|(_, value, range)| !range.contains(value));
        if let Some((key, value, range)) = out_of_range {
            return Some((key, format!("found {value}; from {} to {} would be right", range.start(), range.end())));
        }
        let frontend = &self.server.frontend_url;
        if !frontend.trim().is_empty() && origin_of(frontend).is_none() {
            return Some(("server.frontend_url", format!("found {frontend:?}; https://chat.example.org would be right")));
        }
        for origin in self.server.allowed_origins.split(',').filter(|origin| !origin.trim().is_empty()) {
            if origin_of(origin).is_none() {
                let right = "https://chat.example.org, or several separated by commas, would be right";
                return Some(("server.allowed_origins", format!("found {origin:?}; {right}")));
            }
        }
        let Postgres { url, auth_url, user_url, message_url, keys_url, .. } = &self.postgres;
        for (key, url) in [
            ("postgres.url", url),
            ("postgres.auth_url", auth_url),
            ("postgres.user_url", user_url),
            ("postgres.message_url", message_url),
            ("postgres.keys_url", keys_url),
        ] {
            if url.set().is_some() && !["postgres", "postgresql"].contains(&url.scheme()) {
                return Some((key, format!("{url} is no Postgres URL; postgres://user:password@host:port/database would be right")));
            }
        }
        let redis = &self.redis.url;
        if redis.set().is_some() && !["redis", "redis+unix", "unix"].contains(&redis.scheme()) {
            return Some(("redis.url", format!("{redis} is no Redis URL; redis://user:password@host:port/ would be right")));
        }
        let Kafka { security_protocol, sasl_mechanism, sasl_username, ssl_ca_file, .. } = &self.kafka;
        if matches!(security_protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl) {
            if sasl_username.is_empty() {
                return Some(("kafka.sasl_username", "it is needed with this kafka.security_protocol".into()));
            }
            if !SASL_MECHANISMS.contains(&sasl_mechanism.as_str()) {
                let right = SASL_MECHANISMS.join(", ");
                return Some(("kafka.sasl_mechanism", format!("found {sasl_mechanism:?}; right would be one of {right}")));
            }
        }
        let address =
            |broker: &str| broker.trim().rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
        if !self.kafka.brokers.is_empty() && !self.kafka.brokers.split(',').all(address) {
            return Some((
                "kafka.brokers",
                format!("found {:?}; host:port, or several separated by commas, would be right", self.kafka.brokers),
            ));
        }
        if !ssl_ca_file.as_os_str().is_empty() && !ssl_ca_file.is_file() {
            return Some(("kafka.ssl_ca_file", format!("there is no file {}", ssl_ca_file.display())));
        }
        let of_limits = self.limits.numbers().into_iter().find(|(_, number)| !(1..=1_000_000_000).contains(number));
        of_limits.map(|(key, number)| (key, format!("found {number}; from 1 to 1000000000 would be right")))
    }

    /// Every number that its type alone does not bound.
    fn ranges(&self) -> [(&'static str, u128, RangeInclusive<u128>); 17] {
        const YEAR: u128 = 31_536_000;
        let Self { server, postgres, auth, projections, frames, limits, .. } = self;
        [
            ("server.shutdown_seconds", server.shutdown.as_secs().into(), 1..=600),
            ("postgres.auth_pool", postgres.auth_pool.into(), 1..=1_000),
            ("postgres.user_pool", postgres.user_pool.into(), 1..=1_000),
            ("postgres.message_pool", postgres.message_pool.into(), 1..=1_000),
            ("postgres.keys_pool", postgres.keys_pool.into(), 1..=1_000),
            ("postgres.ledger_pool", postgres.ledger_pool.into(), 1..=1_000),
            ("postgres.reader_pool", postgres.reader_pool.into(), 1..=1_000),
            ("postgres.acquire_timeout_ms", postgres.acquire_timeout.as_millis(), 10..=60_000),
            ("postgres.statement_timeout_ms", postgres.statement_timeout.as_millis(), 100..=600_000),
            ("auth.access_token_seconds", auth.access_token.as_secs().into(), 1..=YEAR),
            ("auth.refresh_token_seconds", auth.refresh_token.as_secs().into(), 1..=YEAR),
            ("auth.hasher_queue", auth.hasher_queue as u128, 1..=10_000),
            ("auth.revocation_grace_seconds", auth.revocation_grace.as_secs().into(), 0..=3_600),
            // Below, a process that is only short of its processor would be taken for one that has stalled.
            ("projections.stalled_after_seconds", projections.stalled_after.as_secs().into(), 3..=3_600),
            ("frames.retention_seconds", frames.retention.as_secs().into(), 60..=YEAR),
            ("frames.log_entries", frames.log_entries as u128, 10..=100_000),
            ("limits.command_deadline_ms", limits.command_deadline.as_millis(), 100..=60_000),
        ]
    }
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
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

#[cfg(test)]
mod tests {
    use super::origin_of;

    #[test]
    fn an_origin_is_written_as_browsers_do() {
        for (url, origin) in [
            ("https://Chat.example.org", "https://chat.example.org"),
            (" https://chat.example.org:443/app?x#y ", "https://chat.example.org"),
            ("http://localhost:5173/", "http://localhost:5173"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(origin_of(url).as_deref(), Some(origin), "{url}");
        }
        for odd in [
            "",
            "*",
            "null",
            "chat.example.org",
            "ftp://chat.example.org",
            "https://",
            "https://a b",
            "https://user@host",
            "https://*.example.org",
        ] {
            assert_eq!(origin_of(odd), None, "{odd}");
        }
    }
}
