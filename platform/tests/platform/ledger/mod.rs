//! The ledger, on a real Postgres.

mod batching;
mod fixture;
mod idempotency;
mod refusals;
mod sealed;
mod tally;
mod two_writers;
mod units;
mod unknown;
mod wire;
