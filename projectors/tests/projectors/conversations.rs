use std::collections::BTreeMap;

use projectors::Conversations;
use schemas::messages::{MessageEvent, MessagesEvent, ReceiptEvent};
use schemas::{MessageId, Recorded};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

use crate::history::{at, delivered, deliveries, sent};
use crate::tables::Tables;

const TABLE: &str = "conversations.messages";

fn text(at: schemas::Timestamp) -> String {
    // As `to_jsonb` writes a timestamptz.
    let text = at.to_string();
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{text}+00:00")
}

/// What the table must hold, told event by event.
fn expected(events: &[Arc<Recorded>]) -> Vec<Value> {
    let mut rows: BTreeMap<MessageId, Value> = BTreeMap::new();
    for event in events {
        match MessagesEvent::decode(event).expect("it decodes") {
            MessagesEvent::Message(MessageEvent::Sent(m)) => {
                rows.insert(
                    m.message_id,
                    json!({"message_id": m.message_id, "conversation_id": m.conversation_id, "recorded_at": text(event.recorded_at),
                        "position": event.position, "sender_id": m.sender_id, "recipient_id": m.recipient_id,
                        "encrypted_content": m.encrypted_content, "encrypted_session_key": m.encrypted_session_key,
                        "sender_encrypted_content": m.sender_encrypted_content, "crypto_version": m.crypto_version,
                        "encryption_algorithm": m.encryption_algorithm, "kdf_algorithm": m.kdf_algorithm, "signatures": m.signatures,
                        "reply_to": m.reply_to, "delivered_at": null}),
                );
            }
            MessagesEvent::Receipt(ReceiptEvent::Delivered(r)) => {
                rows.get_mut(&r.message_id).expect("sent before")["delivered_at"] = json!(text(event.recorded_at));
            }
        }
    }
    rows.into_values().collect()
}

#[tokio::test]
async fn any_batching_with_any_repeats_gives_the_rows_of_a_plain_fold() {
    let tables = Tables::of::<Conversations>().await;
    for delivery in deliveries(40) {
        tables.empty::<Conversations>().await;
        for batch in &delivery.batches {
            tables.apply(&Conversations, &delivery.events[batch.clone()]).await;
        }
        assert_eq!(tables.rows(TABLE).await, expected(&delivery.events), "{:?}", delivery.batches);
    }
}

#[tokio::test]
async fn a_receipt_counts_in_the_batch_of_its_message_in_a_later_one_and_only_once() {
    let tables = Tables::of::<Conversations>().await;
    let message = MessageId(Uuid::now_v7());
    let events = [sent(message, 1, 2, 10, Some(60), false), delivered(message, 1, 2, 20)];
    for batches in [&[(0, 2)][..], &[(0, 1), (1, 2)], &[(0, 1), (0, 2)], &[(0, 2), (1, 2)], &[(0, 2), (0, 1)], &[(0, 2), (0, 2)]] {
        tables.empty::<Conversations>().await;
        for &(begin, end) in batches {
            tables.apply(&Conversations, &events[begin..end]).await;
        }
        assert_eq!(tables.rows(TABLE).await[0]["delivered_at"], json!(text(at(20))), "{batches:?}");
    }
}

#[tokio::test]
async fn the_newest_of_a_conversation_are_found_by_index_alone() {
    let tables = Tables::of::<Conversations>().await;
    sqlx::query("INSERT INTO conversations.messages (message_id, conversation_id, recorded_at, position, sender_id, recipient_id, encrypted_content, encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm)
                 SELECT gen_random_uuid(), CASE WHEN i % 2 = 0 THEN $1 ELSE gen_random_uuid() END, to_timestamp(i), i, $1, $1, 'c', 'k', 'v', 'e', 'h' FROM generate_series(1, 20000) i")
        .bind(Uuid::nil())
        .execute(&tables.pool)
        .await
        .expect("rows");
    sqlx::raw_sql("VACUUM ANALYZE conversations.messages").execute(&tables.pool).await.expect("it is analysed");
    let plan: Vec<String> = sqlx::query_scalar(
        "EXPLAIN SELECT recorded_at, position FROM conversations.messages WHERE conversation_id = '00000000-0000-0000-0000-000000000000'
          ORDER BY recorded_at DESC, position DESC OFFSET 999 LIMIT 2",
    )
    .fetch_all(&tables.pool)
    .await
    .expect("a plan");
    let plan = plan.join("\n");
    assert!(plan.contains("Index Only Scan Backward using messages_in_order") && !plan.contains("Sort"), "{plan}");
}
