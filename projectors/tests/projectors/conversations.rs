use std::collections::BTreeMap;

use projectors::Conversations;
use schemas::messages::{MessageEvent, MessagesEvent, ReceiptEvent};
use schemas::{ConversationId, MessageId, Recorded};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

use crate::history::{at, deleted, delivered, deliveries, read, read_up_to, sent};
use crate::tables::Tables;

const TABLE: &str = "conversations.messages";

fn text(at: schemas::Timestamp) -> String {
    // As `to_jsonb` writes a timestamptz.
    let text = at.to_string();
    let text = text.trim_end_matches('Z').trim_end_matches('0').trim_end_matches('.');
    format!("{text}+00:00")
}

/// What the tables must hold: messages, places of deleted ones, the inbox.
type Expected = (Vec<Value>, Vec<Value>, Vec<Value>);

/// Told event by event.
fn expected(events: &[Arc<Recorded>]) -> Expected {
    let mut rows: BTreeMap<MessageId, Value> = BTreeMap::new();
    let mut gone: BTreeMap<MessageId, Value> = BTreeMap::new();
    let mut inbox: BTreeMap<ConversationId, Value> = BTreeMap::new();
    let read = |row: &mut Value, at| {
        if row["read_at"].is_null() {
            row["read_at"] = json!(text(at));
            if row["delivered_at"].is_null() {
                row["delivered_at"] = json!(text(at));
            }
        }
    };
    for event in events {
        let at = event.recorded_at;
        match MessagesEvent::decode(event).expect("it decodes") {
            MessagesEvent::Message(MessageEvent::Sent(m)) => {
                let (low, high) = (m.sender_id.min(m.recipient_id), m.sender_id.max(m.recipient_id));
                inbox.insert(
                    m.conversation_id,
                    json!({"conversation_id": m.conversation_id, "low_id": low, "high_id": high, "last_at": text(at), "last_position": event.position}),
                );
                rows.insert(
                    m.message_id,
                    json!({"message_id": m.message_id, "conversation_id": m.conversation_id, "recorded_at": text(at),
                        "position": event.position, "sender_id": m.sender_id, "recipient_id": m.recipient_id,
                        "encrypted_content": m.encrypted_content, "encrypted_session_key": m.encrypted_session_key,
                        "sender_encrypted_content": m.sender_encrypted_content, "crypto_version": m.crypto_version,
                        "encryption_algorithm": m.encryption_algorithm, "kdf_algorithm": m.kdf_algorithm, "signatures": m.signatures,
                        "reply_to": m.reply_to, "delivered_at": null, "read_at": null}),
                );
            }
            MessagesEvent::Message(MessageEvent::Deleted(d)) => {
                let row = rows.remove(&d.message_id).expect("sent before");
                let place = |field: &str| row[field].clone();
                gone.insert(
                    d.message_id,
                    json!({"message_id": d.message_id, "conversation_id": place("conversation_id"), "recorded_at": place("recorded_at"),
                        "position": place("position")}),
                );
            }
            MessagesEvent::Receipt(ReceiptEvent::Delivered(r)) => {
                if let Some(row) = rows.get_mut(&r.message_id).filter(|row| row["delivered_at"].is_null()) {
                    row["delivered_at"] = json!(text(at));
                }
            }
            MessagesEvent::Receipt(ReceiptEvent::Read(r)) => {
                if let Some(row) = rows.get_mut(&r.message_id) {
                    read(row, at);
                }
            }
            MessagesEvent::Receipt(ReceiptEvent::ReadUpTo(r)) => {
                let to_reader = |row: &&mut Value| {
                    row["conversation_id"] == json!(r.conversation_id)
                        && row["recipient_id"] == json!(r.user_id)
                        && row["position"].as_i64() <= Some(r.up_to_position)
                };
                rows.values_mut().filter(to_reader).for_each(|row| read(row, at));
            }
        }
    }
    (rows.into_values().collect(), gone.into_values().collect(), inbox.into_values().collect())
}

async fn stored(tables: &Tables) -> Expected {
    let rows = async |table: &str, id: &str| {
        let mut rows = tables.rows(table).await;
        rows.sort_by_key(|row| row[id].to_string());
        rows
    };
    (
        rows(TABLE, "message_id").await,
        rows("conversations.messages_deleted", "message_id").await,
        rows("conversations.inbox", "conversation_id").await,
    )
}

#[tokio::test]
async fn any_batching_with_any_repeats_gives_the_rows_of_a_plain_fold() {
    let tables = Tables::of::<Conversations>().await;
    for delivery in deliveries(80) {
        tables.empty::<Conversations>().await;
        for batch in &delivery.batches {
            tables.apply(&Conversations, &delivery.events[batch.clone()]).await;
        }
        assert_eq!(stored(&tables).await, expected(&delivery.events), "{:?}", delivery.batches);
    }
}

#[tokio::test]
async fn what_was_read_first_one_by_one_or_up_to_a_message_says_when() {
    let tables = Tables::of::<Conversations>().await;
    let (one, two, three, answer) =
        (MessageId(Uuid::now_v7()), MessageId(Uuid::now_v7()), MessageId(Uuid::now_v7()), MessageId(Uuid::now_v7()));
    let events = [
        sent(one, 1, 2, 10, None, false),
        sent(two, 1, 2, 20, None, false),
        sent(answer, 2, 1, 30, None, false),
        read(two, 1, 2, 40),
        read_up_to(answer, 2, 1, 30, 50),
        read(one, 1, 2, 60),
        sent(three, 1, 2, 70, None, false),
        read_up_to(one, 2, 1, 10, 80),
    ];
    for cut in 0..=events.len() {
        tables.empty::<Conversations>().await;
        tables.apply(&Conversations, &events[..cut]).await;
        tables.apply(&Conversations, &events[cut..]).await;
        let rows = tables.rows(TABLE).await;
        let read_at =
            |message: MessageId| rows.iter().find(|row| row["message_id"] == json!(message)).expect("it stands")["read_at"].clone();
        assert_eq!(
            [one, two, three, answer].map(read_at),
            [json!(text(at(50))), json!(text(at(40))), Value::Null, Value::Null],
            "cut at {cut}"
        );
    }
}

#[tokio::test]
async fn nothing_that_a_deleted_message_said_is_left_in_any_table() {
    let tables = Tables::of::<Conversations>().await;
    let message = MessageId(Uuid::now_v7());
    let events =
        [sent(message, 1, 2, 10, Some(60), true), deleted(message, 1, 2, 20), delivered(message, 1, 2, 30), read(message, 1, 2, 40)];
    for cut in 0..=events.len() {
        tables.empty::<Conversations>().await;
        tables.apply(&Conversations, &events[..cut]).await;
        tables.apply(&Conversations, &events[cut..]).await;
        let (messages, gone, inbox) = stored(&tables).await;
        assert_eq!((messages.len(), gone.len(), inbox.len()), (0, 1, 1), "cut at {cut}");
        assert!(!format!("{gone:?}{inbox:?}").contains("content"));
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
