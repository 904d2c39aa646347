use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use projectors::Relay;
use schemas::messages::{MessageEvent, MessagesEvent, ReceiptEvent};
use schemas::{MessageId, Recorded};
use uuid::Uuid;

use crate::history::{delivered, deliveries, sent};
use crate::tables::Tables;

async fn waiting(tables: &Tables) -> BTreeSet<MessageId> {
    let ids: Vec<Uuid> = sqlx::query_scalar("SELECT message_id FROM relay.relay_pending").fetch_all(&tables.pool).await.expect("rows");
    ids.into_iter().map(MessageId).collect()
}

/// How many receipts are counted.
async fn receipts(tables: &Tables) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(receipts), 0)::bigint FROM relay.relay_receipts")
        .fetch_one(&tables.pool)
        .await
        .expect("a number")
}

fn acknowledged(events: &[Arc<Recorded>]) -> i64 {
    i64::try_from(events.iter().filter(|event| event.event_type == "message.delivered").count()).expect("few")
}

/// Who must wait, told event by event.
fn expected(events: &[Arc<Recorded>]) -> BTreeSet<MessageId> {
    let mut waiting = BTreeMap::new();
    for event in events {
        match MessagesEvent::decode(event).expect("it decodes") {
            MessagesEvent::Message(MessageEvent::Sent(m)) if m.expires_at.is_some_and(|end| end > event.recorded_at) => {
                waiting.insert(m.message_id, (m.sender_id, m.recipient_id, event.position));
            }
            MessagesEvent::Message(MessageEvent::Deleted(d)) => {
                waiting.remove(&d.message_id);
            }
            MessagesEvent::Receipt(ReceiptEvent::Delivered(r)) => {
                waiting.remove(&r.message_id);
            }
            MessagesEvent::Receipt(ReceiptEvent::Read(r)) => {
                waiting.remove(&r.message_id);
            }
            MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(r)) => {
                waiting.retain(|_, (from, to, position)| !(*from == r.peer_id && *to == r.user_id && *position <= r.up_to_position));
            }
            MessagesEvent::Message(_) => {}
        }
    }
    waiting.into_keys().collect()
}

#[tokio::test]
async fn any_batching_with_any_repeats_leaves_exactly_what_was_not_acknowledged() {
    let tables = Tables::of::<Relay>().await;
    for delivery in deliveries(40) {
        tables.empty::<Relay>().await;
        for batch in &delivery.batches {
            tables.apply(&Relay, &delivery.events[batch.clone()]).await;
        }
        assert_eq!(waiting(&tables).await, expected(&delivery.events), "{:?}", delivery.batches);
        assert_eq!(receipts(&tables).await, acknowledged(&delivery.events), "{:?}", delivery.batches);
    }
}

#[tokio::test]
async fn a_row_holds_what_its_recipient_needs() {
    let tables = Tables::of::<Relay>().await;
    let message = MessageId(Uuid::now_v7());
    tables.apply(&Relay, &[sent(message, 1, 2, 10, Some(60), true)]).await;
    let row = &tables.rows("relay.relay_pending").await[0];
    assert_eq!(row["position"], 10);
    assert_eq!(row["recipient_id"], serde_json::json!(crate::history::user(2)));
    assert_eq!(row["encrypted_content"], "content \"10\" ✓");
    assert_eq!(row["signatures"], serde_json::json!([{"by": "ann", "n": 1.5}, null]));
}

#[tokio::test]
async fn an_acknowledged_message_never_waits_again_whether_batches_join_or_part_them() {
    let tables = Tables::of::<Relay>().await;
    let message = MessageId(Uuid::now_v7());
    let events = [sent(message, 1, 2, 10, Some(60), false), delivered(message, 1, 2, 20)];
    for batches in [&[(0, 2)][..], &[(0, 1), (1, 2)], &[(0, 1), (0, 2)], &[(0, 2), (1, 2)], &[(0, 2), (0, 2)], &[(0, 1), (1, 2), (0, 2)]] {
        tables.empty::<Relay>().await;
        for &(begin, end) in batches {
            tables.apply(&Relay, &events[begin..end]).await;
        }
        assert_eq!(waiting(&tables).await, BTreeSet::new(), "{batches:?}");
    }
}

#[tokio::test]
async fn what_has_no_end_or_has_ended_before_it_began_never_waits() {
    let tables = Tables::of::<Relay>().await;
    let ids: Vec<MessageId> = (0..3).map(|_| MessageId(Uuid::now_v7())).collect();
    tables
        .apply(
            &Relay,
            &[sent(ids[0], 1, 2, 10, None, false), sent(ids[1], 1, 2, 11, Some(0), false), sent(ids[2], 1, 2, 12, Some(1), false)],
        )
        .await;
    assert_eq!(waiting(&tables).await, BTreeSet::from([ids[2]]));
}
