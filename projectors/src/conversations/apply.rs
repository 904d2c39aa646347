//! Rows of a folded batch: one statement per kind.

use std::collections::{BTreeMap, HashMap};

use platform::log::{Move, Moved, ProjectionTx};
use schemas::{ConversationId, MessageId, Timestamp, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::fold::{Fold, UpTo};

/// Adds messages, and says when something was last said in each of their conversations. A message that stands already keeps what it has, except that a receipt is never forgotten.
///
/// One statement for both, and for a move of the checkpoint: people wait for each round trip.
pub(super) async fn insert_sent(connection: &mut PgConnection, to: &Move, fold: &Fold) -> Result<Moved, sqlx::Error> {
    let (rows, activity) = (&fold.sent, fold.activity());
    let n = rows.len();
    let (mut ids, mut conversations, mut senders, mut recipients) =
        (Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n));
    let (mut times, mut positions) = (Vec::<OffsetDateTime>::with_capacity(n), Vec::<i64>::with_capacity(n));
    let (mut contents, mut keys, mut copies) =
        (Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n), Vec::<Option<&str>>::with_capacity(n));
    let (mut versions, mut ciphers, mut kdfs) =
        (Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n));
    let (mut signatures, mut replies) = (Vec::<Option<String>>::with_capacity(n), Vec::<Option<Uuid>>::with_capacity(n));
    let (mut delivered, mut read) = (Vec::<Option<OffsetDateTime>>::with_capacity(n), Vec::<Option<OffsetDateTime>>::with_capacity(n));
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
        read.push(row.read_at.map(OffsetDateTime::from));
    }
    let active: Vec<Uuid> = activity.keys().map(|id| id.0).collect();
    let (low, high): (Vec<Uuid>, Vec<Uuid>) = activity.values().map(|of| (of.low.0, of.high.0)).unzip();
    let (last_times, last_positions): (Vec<OffsetDateTime>, Vec<i64>) =
        activity.values().map(|of| (OffsetDateTime::from(of.last.0), of.last.1)).unzip();
    platform::moving!(
        connection,
        to,
        r#", added AS (
           INSERT INTO messages AS stands
             (message_id, conversation_id, sender_id, recipient_id, recorded_at, position, encrypted_content, encrypted_session_key,
              sender_encrypted_content, crypto_version, encryption_algorithm, kdf_algorithm, signatures, reply_to, delivered_at, read_at)
           SELECT id, conversation, sender, recipient, at, place, content, key, copy, version, cipher, kdf, signatures::json, reply, delivered, read
             FROM passed, unnest($15::uuid[], $16::uuid[], $17::uuid[], $18::uuid[], $19::timestamptz[], $20::bigint[], $21::text[], $22::text[],
                         $23::text[], $24::text[], $25::text[], $26::text[], $27::text[], $28::uuid[], $29::timestamptz[], $30::timestamptz[])
               AS new(id, conversation, sender, recipient, at, place, content, key, copy, version, cipher, kdf, signatures, reply, delivered, read)
           ON CONFLICT (message_id) DO UPDATE
             SET delivered_at = coalesce(stands.delivered_at, excluded.delivered_at), read_at = coalesce(stands.read_at, excluded.read_at)
             WHERE (stands.delivered_at IS NULL AND excluded.delivered_at IS NOT NULL) OR (stands.read_at IS NULL AND excluded.read_at IS NOT NULL)
           ), noted AS (
           INSERT INTO inbox AS stands (conversation_id, low_id, high_id, last_at, last_position)
           SELECT active.* FROM passed, unnest($31::uuid[], $32::uuid[], $33::uuid[], $34::timestamptz[], $35::bigint[]) AS active
           ON CONFLICT (conversation_id) DO UPDATE SET last_at = excluded.last_at, last_position = excluded.last_position
             WHERE (stands.last_at, stands.last_position) < (excluded.last_at, excluded.last_position)
           )"#,
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
        &read as &[Option<OffsetDateTime>],
        &active,
        &low,
        &high,
        &last_times,
        &last_positions,
    )
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

/// Dates messages that were read with all before them.
pub(super) async fn mark_read_up_to(
    tx: &mut ProjectionTx<'_>,
    read: &BTreeMap<(ConversationId, UserId), Vec<UpTo>>,
) -> Result<(), sqlx::Error> {
    let (mut conversations, mut readers, mut above, mut up_to, mut times) =
        (Vec::<Uuid>::new(), Vec::<Uuid>::new(), Vec::<i64>::new(), Vec::<i64>::new(), Vec::<OffsetDateTime>::new());
    for ((conversation, reader), ranges) in read {
        for range in ranges {
            conversations.push(conversation.0);
            readers.push(reader.0);
            above.push(range.above);
            up_to.push(range.up_to);
            times.push(range.at.into());
        }
    }
    sqlx::query!(
        "UPDATE messages SET read_at = said.at, delivered_at = least(delivered_at, said.at)
           FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::timestamptz[]) AS said(conversation, reader, above, up_to, at)
          WHERE recipient_id = said.reader AND conversation_id = said.conversation AND position > said.above AND position <= said.up_to
            AND read_at IS NULL",
        &conversations,
        &readers,
        &above,
        &up_to,
        &times,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Dates messages that were read one by one, unless they were read before. What is read without having been delivered is thereby delivered.
pub(super) async fn mark_read(tx: &mut ProjectionTx<'_>, read: &HashMap<MessageId, Timestamp>) -> Result<(), sqlx::Error> {
    let (ids, times): (Vec<Uuid>, Vec<OffsetDateTime>) = read.iter().map(|(id, at)| (id.0, OffsetDateTime::from(*at))).unzip();
    sqlx::query!(
        "UPDATE messages SET read_at = receipt.at, delivered_at = least(delivered_at, receipt.at)
           FROM unnest($1::uuid[], $2::timestamptz[]) AS receipt(id, at)
          WHERE message_id = receipt.id AND (read_at IS NULL OR read_at > receipt.at)",
        &ids,
        &times,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Takes messages away, but for the places where they stood.
pub(super) async fn bury(tx: &mut ProjectionTx<'_>, fold: &Fold) -> Result<(), sqlx::Error> {
    let deleted: Vec<Uuid> = fold.deleted.iter().map(|id| id.0).collect();
    sqlx::query!(
        "WITH gone AS (DELETE FROM messages WHERE message_id = ANY ($1) RETURNING message_id, conversation_id, recorded_at, position)
         INSERT INTO messages_deleted (message_id, conversation_id, recorded_at, position) SELECT * FROM gone
         ON CONFLICT (message_id) DO NOTHING",
        &deleted,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
