//! A ledger as a source.
