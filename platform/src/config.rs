//! Effective settings, and where each came from.
//!
//! The one documented file `postrider/config.default.toml` is the list of what can be set: every key, its default, its type and its
//! meaning. Above it lie a file, the environment and flags. Each value remembers its [`Place`], so that an error can name it.

mod layers;
mod secret;
mod values;

pub use layers::{Effective, Place, Setting, Sources};
pub use secret::{Secret, ServerUrl};
pub use values::{
    Auth, Config, Kafka, Keys, Limits, LogFormat, Postgres, Projections, Redis, SecurityProtocol, Server, Telemetry, WrappingKey,
};

/// The documented file with every default.
pub const DEFAULTS: &str = include_str!("../../postrider/config.default.toml");

/// Why the start stops: one sentence that says what is wrong, where, and what would be right.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StartError {
    /// Without a cause.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }
    /// With the cause.
    pub fn because(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}
