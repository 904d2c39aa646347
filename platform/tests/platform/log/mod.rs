#![expect(clippy::unwrap_used, reason = "tests: a failure here is a failed test")]

mod conformance;
mod feed;
mod kafka;
mod memory;
mod publisher;
mod runner;
mod support;
mod topics;
