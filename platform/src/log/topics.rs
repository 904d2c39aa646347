//! `redpanda/topics.yaml`: made and checked.
