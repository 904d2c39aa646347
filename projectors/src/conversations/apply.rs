//! Rows of a folded batch: one statement per kind.

use std::collections::HashMap;

use platform::log::ProjectionTx;
use schemas::{MessageId, Timestamp};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Row;

/// Adds messages. One that stands already keeps what it has, except that a receipt is never forgotten.
pub(super) async fn insert_sent(tx: &mut ProjectionTx<'_>, rows: &[Row]) -> Result<(), sqlx::Error> {
    let n = rows.len();
    let (mut ids, mut conversations, mut senders, mut recipients) =
        (Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n));
    let (mut times, mut positions) = (Vec::<OffsetDateTime>::with_capacity(n), Vec::<i64>::with_capacity(n));
    let (mut contents, mut keys, mut copies) =
        (Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n), Vec::<Option<&str>>::with_capacity(n));
    let (mut versions, mut ciphers, mut kdfs) =
        (Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n));
    let (mut signatures, mut replies, mut delivered) =
        (Vec::<Option<String>>::with_capacity(n), Vec::<Option<Uuid>>::with_capacity(n), Vec::<Option<OffsetDateTime>>::with_capacity(n));
    for row in rows {
        let sent = &row.sent;
        ids.push(sent.message_id.0);
        conversations.push(sent.conversation_id.0);
        senders.push(sent.sender_id.0);
        recipients.push(sent.recipient_id.0);
        times.push(row.recorded_at.into());
        positions.push(row.position);
        contents.push(&sent.encrypted_content);
        keys.push(&sent.encrypted_session_key);
        copies.push(sent.sender_encrypted_content.as_deref());
        versions.push(&sent.crypto_version);
        ciphers.push(&sent.encryption_algorithm);
        kdfs.push(&sent.kdf_algorithm);
        signatures.push(sent.signatures.as_ref().map(ToString::to_string));
        replies.push(sent.reply_to.map(Uuid::from));
        delivered.push(row.delivered_at.map(OffsetDateTime::from));
    }
    sqlx::query!(
        r#"INSERT INTO messages AS stands
             (message_id, conversation_id, sender_id, recipient_id, recorded_at, position, encrypted_content, encrypted_session_key,
              sender_encrypted_content, crypto_version, encryption_algorithm, kdf_algorithm, signatures, reply_to, delivered_at)
           SELECT id, conversation, sender, recipient, at, place, content, key, copy, version, cipher, kdf, signatures::json, reply, delivered
             FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::bigint[], $7::text[], $8::text[],
                         $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::uuid[], $15::timestamptz[])
               AS new(id, conversation, sender, recipient, at, place, content, key, copy, version, cipher, kdf, signatures, reply, delivered)
           ON CONFLICT (message_id) DO UPDATE SET delivered_at = excluded.delivered_at
             WHERE stands.delivered_at IS NULL AND excluded.delivered_at IS NOT NULL"#,
        &ids,
        &conversations,
        &senders,
        &recipients,
        &times,
        &positions,
        &contents as &[&str],
        &keys as &[&str],
        &copies as &[Option<&str>],
        &versions as &[&str],
        &ciphers as &[&str],
        &kdfs as &[&str],
        &signatures as &[Option<String>],
        &replies as &[Option<Uuid>],
        &delivered as &[Option<OffsetDateTime>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Dates the receipts of messages that stand already.
pub(super) async fn mark_delivered(tx: &mut ProjectionTx<'_>, delivered: &HashMap<MessageId, Timestamp>) -> Result<(), sqlx::Error> {
    let (ids, times): (Vec<Uuid>, Vec<OffsetDateTime>) = delivered.iter().map(|(id, at)| (id.0, OffsetDateTime::from(*at))).unzip();
    sqlx::query!(
        "UPDATE messages SET delivered_at = receipt.at
           FROM unnest($1::uuid[], $2::timestamptz[]) AS receipt(id, at)
          WHERE message_id = receipt.id AND delivered_at IS NULL",
        &ids,
        &times,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
