//! The frame logs, against a Redis of each test's own.

mod logs;
mod pushers;
mod support;
