#![expect(clippy::unwrap_used, reason = "tests: a failure here is a failed test")]

mod conformance;
mod feed;
mod runner;
mod support;
