//! The whole system, through its real interface, with real servers below it.

mod blocking;
mod browser;
mod browsers;
mod cli;
mod concurrency;
mod connections;
mod correlation;
mod crash;
mod dependencies;
mod document;
mod faults;
mod fresh;
mod idempotency;
mod limits;
mod page;
mod paging;
mod people;
mod readme;
mod receipts;
mod refusals;
mod secrets;
mod sessions;
mod shapes;
mod slice;
mod two_processes;
mod two_processes_auth;
