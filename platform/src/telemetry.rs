//! Logs, correlation, metrics.
//!
//! * [`logs`] one line per thing that happened, for people at a terminal and as JSON otherwise, on standard error · [`Metrics`] what Prometheus scrapes
//!
//! Correlation is a matter of spans: `platform::http` opens one per request with its `correlation_id`, and every line below carries it.

mod described;
mod logs;
mod metrics;

pub use logs::{is_pretty, logs};
pub use metrics::Metrics;
