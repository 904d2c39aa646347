//! What each metric means, as Prometheus shows it (`# HELP`). A metric that is not named here is found by a test.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Counters: only ever rising.
const COUNTERS: [(&str, &str); 16] = [
    ("http_requests_total", "Requests answered, by route, method and status"),
    ("ledger_appends_total", "Appends by outcome: stored, duplicate, conflict, reserved, rejected, unavailable (nothing written), unknown"),
    ("projection_applied_total", "Events that a projection has applied"),
    ("projection_gaps_total", "Gaps found in a topic: records that are lost; the projection stops"),
    ("projection_reads_behind_total", "Reads that were answered although the projection had not reached what their user did"),
    ("publisher_published_total", "Events copied from a ledger to its topic"),
    ("frames_lost_total", "Times that sockets may have missed something, and what they missed was looked for"),
    ("frames_unreadable_total", "Events that could not be told to sockets because they cannot be read; the read models park them"),
    ("marks_lost_total", "Marks of what users did that Redis did not take; readers then await the ledgers' heads"),
    ("process_cpu_seconds_total", "Processor time, user and system"),
    ("rate_limited_total", "Requests refused with 429, by what they were counted as"),
    (
        "sockets_ended_total",
        "Sockets that have ended, by why: client, restart, unauthenticated, slow, silent, broken, stranger, protocol, text, too_big",
    ),
    ("socket_events_sent_total", "Frames that were sent of events that happened while their socket was open, or since its cursor"),
    ("socket_frames_heard_total", "Frames of clients, by type"),
    ("socket_frames_refused_total", "Frames of clients that were answered with an error, by its code"),
    ("hasher_refused_total", "Passwords refused with 503 because the hasher's queue was full or too slow"),
];

/// Gauges: as it is now.
const GAUGES: [(&str, &str); 14] = [
    ("postrider_build_info", "Always 1; its labels say which build this is"),
    ("process_resident_memory_bytes", "Resident memory"),
    ("process_threads", "Threads"),
    ("process_open_fds", "Open file descriptors"),
    ("postgres_pool_connections", "Connections of a pool, by whether they are in use"),
    ("redis_up", "1 while Redis answers, else 0"),
    ("sockets_open", "Sockets that are open in this process"),
    ("ledger_queue_length", "Appends that wait for the next batch"),
    ("hasher_queue_length", "Passwords that wait for a thread of the hasher"),
    ("projection_lag_events", "Events of the log that a projection has not applied yet"),
    ("projection_lag_seconds", "Age of the oldest event that a projection has not applied yet"),
    ("projection_parked_keys", "Partition keys whose events wait behind one that cannot be applied (postrider parked list)"),
    ("publisher_lag_events", "Positions of a ledger that have not been copied to its topic yet"),
    ("publisher_lag_seconds", "Age of the oldest event that has not been copied to its topic yet"),
];

/// Histograms: how values are distributed.
const HISTOGRAMS: [(&str, &str); 5] = [
    ("http_request_seconds", "From a request's head to the end of its answer's head, by route"),
    ("ledger_append_seconds", "From a command's append to its outcome, the queue included"),
    ("ledger_append_batch_size", "Appends that went to Postgres in one call"),
    ("projection_batch_size", "Events that a projection applied in one transaction"),
    ("hasher_seconds", "Time to hash or verify one password, without the queue"),
];

/// Tells the recorder.
pub(super) fn describe() {
    COUNTERS.into_iter().for_each(|(name, help)| describe_counter!(name, help));
    GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    for (name, help) in HISTOGRAMS {
        let unit = if name.ends_with("_seconds") { Unit::Seconds } else { Unit::Count };
        describe_histogram!(name, unit, help);
    }
}
