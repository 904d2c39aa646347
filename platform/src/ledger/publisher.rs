//! From the ledger to Kafka.
