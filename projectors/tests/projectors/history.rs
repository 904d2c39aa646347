//! Random histories, as a ledger could hold them, and ways to deliver them.

use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use schemas::messages::{MessageDeleted, MessageDelivered, MessageEvent, MessageRead, MessageReadUpTo, MessageSent, ReceiptEvent, Via};
use schemas::{Event, MessageId, Metadata, Recorded, Timestamp, UserId, conversation_id, key_hash, receipt_id};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

/// What one step of a history does.
#[derive(Debug, Clone)]
pub enum Step {
    Send {
        from: u8,
        to: u8,
        waits_for_s: Option<i64>,
        signed: bool,
    },
    /// Acknowledges one of the messages sent so far, if there is one that was not.
    Deliver {
        which: prop::sample::Index,
    },
    /// Reads one of the messages sent so far that still stand.
    Read {
        which: prop::sample::Index,
    },
    /// Reads up to one of them, as one of its two people.
    ReadUpTo {
        which: prop::sample::Index,
        by_sender: bool,
    },
    /// Deletes one of them.
    Delete {
        which: prop::sample::Index,
    },
}

/// A history and how it arrives: batches as ranges of its events; a later one may begin before an earlier one ended.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub events: Vec<Arc<Recorded>>,
    pub batches: Vec<Range<usize>>,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..4, 0u8..4, prop_oneof![Just(None), Just(Some(0)), Just(Some(-5)), Just(Some(604_800))], any::<bool>())
            .prop_map(|(from, to, waits_for_s, signed)| Step::Send { from, to, waits_for_s, signed }),
        2 => any::<prop::sample::Index>().prop_map(|which| Step::Deliver { which }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Read { which }),
        1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(which, by_sender)| Step::ReadUpTo { which, by_sender }),
        1 => any::<prop::sample::Index>().prop_map(|which| Step::Delete { which }),
    ]
}

pub fn user(n: u8) -> UserId {
    UserId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(n)))
}

pub fn at(position: i64) -> Timestamp {
    // Neighbours share a time now and then: order must come from the position as well.
    (OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::milliseconds(position / 3)).into()
}

pub fn recorded<E: Event>(event: &E, id: impl ToString, position: i64) -> Arc<Recorded> {
    let partition_key = event.partition_key();
    Arc::new(Recorded {
        topic: E::TOPIC,
        incarnation: Uuid::nil(),
        position,
        prev_position: None,
        aggregate_type: E::AGGREGATE.to_owned(),
        aggregate_id: id.to_string(),
        sequence: 1,
        event_type: event.name().to_owned(),
        event_version: event.version().to_owned(),
        payload: event.payload().expect("nothing personal is in the clear"),
        metadata: Metadata::default(),
        key_hash: key_hash(&partition_key),
        partition_key,
        event_id: Uuid::now_v7(),
        recorded_at: at(position),
    })
}

pub fn sent(message: MessageId, from: u8, to: u8, position: i64, waits_for_s: Option<i64>, signed: bool) -> Arc<Recorded> {
    let event = MessageEvent::Sent(MessageSent {
        message_id: message,
        conversation_id: conversation_id(user(from), user(to)),
        sender_id: user(from),
        recipient_id: user(to),
        encrypted_content: format!("content \"{position}\" ✓"),
        encrypted_session_key: "key".into(),
        sender_encrypted_content: signed.then(|| "copy".into()),
        crypto_version: "v1".into(),
        encryption_algorithm: "ECDH-AES256-GCM".into(),
        kdf_algorithm: "HKDF-SHA256".into(),
        signatures: signed.then(|| serde_json::json!([{"by": "ann", "n": 1.5}, null])),
        media_ids: Vec::new(),
        reply_to: signed.then_some(message),
        client_id: None,
        via: Via::Send,
        expires_at: waits_for_s.map(|s| (OffsetDateTime::from(at(position)) + Duration::seconds(s)).into()),
    });
    recorded(&event, message, position)
}

pub fn delivered(message: MessageId, from: u8, to: u8, position: i64) -> Arc<Recorded> {
    let receipt = receipt_id(message, user(to), "delivered");
    let event = ReceiptEvent::Delivered(MessageDelivered {
        receipt_id: receipt,
        message_id: message,
        conversation_id: conversation_id(user(from), user(to)),
        sender_id: user(from),
        user_id: user(to),
    });
    recorded(&event, receipt, position)
}

pub fn read(message: MessageId, from: u8, to: u8, position: i64) -> Arc<Recorded> {
    let receipt = receipt_id(message, user(to), "read");
    let event = ReceiptEvent::Read(MessageRead {
        receipt_id: receipt,
        message_id: message,
        conversation_id: conversation_id(user(from), user(to)),
        sender_id: user(from),
        user_id: user(to),
    });
    recorded(&event, receipt, position)
}

/// As `by` of the two says it, of a message that stands at `up_to`.
pub fn read_up_to(message: MessageId, by: u8, peer: u8, up_to: i64, position: i64) -> Arc<Recorded> {
    let receipt = receipt_id(message, user(by), "read_up_to");
    let event = ReceiptEvent::ReadUpTo(MessageReadUpTo {
        receipt_id: receipt,
        conversation_id: conversation_id(user(by), user(peer)),
        peer_id: user(peer),
        user_id: user(by),
        message_id: message,
        up_to_position: up_to,
    });
    recorded(&event, receipt, position)
}

pub fn deleted(message: MessageId, from: u8, to: u8, position: i64) -> Arc<Recorded> {
    let event = MessageEvent::Deleted(MessageDeleted {
        message_id: message,
        conversation_id: conversation_id(user(from), user(to)),
        sender_id: user(from),
        recipient_id: user(to),
    });
    recorded(&event, message, position)
}

fn played(steps: &[Step]) -> Vec<Arc<Recorded>> {
    let mut open: Vec<(MessageId, u8, u8)> = Vec::new();
    let mut standing: Vec<(MessageId, u8, u8, i64)> = Vec::new();
    let mut given = std::collections::HashSet::new();
    let mut events = Vec::new();
    let mut position = 0;
    for step in steps {
        position += 1 + position % 3;
        match step {
            Step::Send { from, to, waits_for_s, signed } => {
                let message = MessageId(Uuid::now_v7());
                open.push((message, *from, *to));
                standing.push((message, *from, *to, position));
                events.push(sent(message, *from, *to, position, *waits_for_s, *signed));
            }
            Step::Deliver { which } if !open.is_empty() => {
                let (message, from, to) = open.swap_remove(which.index(open.len()));
                events.push(delivered(message, from, to, position));
            }
            Step::Read { which } if !standing.is_empty() => {
                let (message, from, to, _) = standing[which.index(standing.len())];
                if given.insert((message, 9)) {
                    events.push(read(message, from, to, position));
                }
            }
            Step::ReadUpTo { which, by_sender } if !standing.is_empty() => {
                let (message, from, to, up_to) = standing[which.index(standing.len())];
                let (by, peer) = if *by_sender { (from, to) } else { (to, from) };
                if given.insert((message, by)) {
                    events.push(read_up_to(message, by, peer, up_to, position));
                }
            }
            Step::Delete { which } if !standing.is_empty() => {
                let (message, from, to, _) = standing.swap_remove(which.index(standing.len()));
                events.push(deleted(message, from, to, position));
            }
            _ => {}
        }
    }
    events
}

/// Random histories in random batches. After some batches the reader falls back and gets everything from there once more, as one that lost its checkpoint would.
pub fn deliveries(cases: u32) -> Vec<Delivery> {
    let strategy =
        (prop::collection::vec(step(), 1..60), prop::collection::vec((1usize..25, prop::option::weighted(0.3, 0usize..40)), 1..40));
    let mut runner = TestRunner::new(Config::default());
    (0..cases)
        .map(|_| {
            let (steps, cuts) = strategy.new_tree(&mut runner).expect("a history").current();
            let events = played(&steps);
            let mut batches = Vec::new();
            let mut place = 0;
            for (size, fall_back) in cuts {
                let end = (place + size).min(events.len());
                batches.push(place..end);
                place = end - fall_back.unwrap_or(0).min(end);
            }
            batches.push(place..events.len());
            Delivery { events, batches }
        })
        .collect()
}
