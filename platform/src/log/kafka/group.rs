//! What the group gives a reader, and takes from it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::complaints;

/// What the group gives us. Takes nothing up by itself: whoever owns the source reads the rows again first, and assigns with their offsets.
#[derive(Default)]
pub(super) struct Group {
    assigned: Mutex<Assigned>,
}

#[derive(Default, Clone)]
pub(super) struct Assigned {
    pub(super) number: u64,
    /// `None`: nothing was heard from the group yet, or it took everything back.
    pub(super) partitions: Option<BTreeSet<i32>>,
}

impl Group {
    pub(super) fn assigned(&self) -> Assigned {
        self.assigned.lock().expect("no panic holds this lock").clone()
    }
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        complaints::log(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let mut assigned = self.assigned.lock().expect("no panic holds this lock");
        assigned.number += 1;
        assigned.partitions = (event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
            .then(|| partitions.elements().iter().map(TopicPartitionListElem::partition).collect());
        tracing::info!(partitions = ?assigned.partitions, "the group divides the partitions anew");
        let taken = if assigned.partitions.is_some() { consumer.assign(&TopicPartitionList::new()) } else { consumer.unassign() };
        if let Err(error) = taken {
            tracing::warn!(%error, "the group's assignment could not be confirmed");
        }
    }
}
