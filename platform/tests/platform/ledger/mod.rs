//! The ledger, on a real Postgres.

mod batching;
mod fixture;
mod idempotency;
mod refusals;
mod two_writers;
mod unknown;
