//! Effective settings, and where each came from.

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
