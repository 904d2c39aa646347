//! Against real servers.
#![expect(clippy::unwrap_used, reason = "a test that fails here says where")]

mod ledger;
