//! Tests of the plumbing against real servers.

mod log;
