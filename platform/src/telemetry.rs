//! Logs, correlation, metrics.
