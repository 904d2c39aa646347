//! Checkpoints: rows that move with what they stand for.
