//! Against real servers.

mod ledger;
