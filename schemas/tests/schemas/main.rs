//! What has been released stays readable, and what is generated is current.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod generated;
mod golden;
mod validator;
