//! What librdkafka says beside its answers.

use rdkafka::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Logs what is wrong. The end of a partition comes the same way, but is an answer to who asked for it.
pub(super) fn log(error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::PartitionEOF) {
        // librdkafka goes on by itself; what a call cannot do, it says to its caller.
        tracing::warn!(%error, reason, "kafka");
    }
}

/// For consumers that need no more of a context than this.
#[derive(Debug, Default)]
pub(super) struct Plain;

impl ClientContext for Plain {
    fn error(&self, error: KafkaError, reason: &str) {
        log(&error, reason);
    }
}

impl ConsumerContext for Plain {}
