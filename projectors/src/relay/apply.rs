//! Rows of a folded batch: one statement per kind.

use std::collections::{HashMap, HashSet};

use platform::log::{Move, Moved, ProjectionTx};
use schemas::{MessageId, UserId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Row;

/// Queues messages; one that waits already is left as it is. One statement with a move of the checkpoint: people wait for each round trip.
pub(super) async fn insert_waiting(
    connection: &mut PgConnection,
    to: &Move,
    waiting: &HashMap<MessageId, Row>,
) -> Result<Moved, sqlx::Error> {
    let n = waiting.len();
    let (mut ids, mut recipients, mut senders) =
        (Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n), Vec::<Uuid>::with_capacity(n));
    let (mut times, mut positions, mut expiries) =
        (Vec::<OffsetDateTime>::with_capacity(n), Vec::<i64>::with_capacity(n), Vec::<OffsetDateTime>::with_capacity(n));
    let (mut contents, mut keys) = (Vec::<&str>::with_capacity(n), Vec::<&str>::with_capacity(n));
    let (mut versions, mut ciphers, mut kdfs, mut signatures) = (
        Vec::<&str>::with_capacity(n),
        Vec::<&str>::with_capacity(n),
        Vec::<&str>::with_capacity(n),
        Vec::<Option<String>>::with_capacity(n),
    );
    // In their order, so that what is read together lies together.
    let mut rows: Vec<&Row> = waiting.values().collect();
    rows.sort_unstable_by_key(|row| row.position);
    for row in rows {
        let sent = &row.sent;
        ids.push(sent.message_id.0);
        recipients.push(sent.recipient_id.0);
        senders.push(sent.sender_id.0);
        times.push(row.recorded_at.into());
        positions.push(row.position);
        expiries.push(row.expires_at.into());
        contents.push(&sent.encrypted_content);
        keys.push(&sent.encrypted_session_key);
        versions.push(&sent.crypto_version);
        ciphers.push(&sent.encryption_algorithm);
        kdfs.push(&sent.kdf_algorithm);
        signatures.push(sent.signatures.as_ref().map(ToString::to_string));
    }
    platform::moving!(
        connection,
        to,
        r#", added AS (
           INSERT INTO relay_pending
             (message_id, recipient_id, sender_id, recorded_at, position, expires_at, encrypted_content, encrypted_session_key,
              crypto_version, encryption_algorithm, kdf_algorithm, signatures)
           SELECT id, recipient, sender, at, place, expiry, content, key, version, cipher, kdf, signatures::json
             FROM passed, unnest($15::uuid[], $16::uuid[], $17::uuid[], $18::timestamptz[], $19::bigint[], $20::timestamptz[], $21::text[], $22::text[],
                         $23::text[], $24::text[], $25::text[], $26::text[])
               AS new(id, recipient, sender, at, place, expiry, content, key, version, cipher, kdf, signatures)
           ON CONFLICT (message_id) DO NOTHING
           )"#,
        &ids,
        &recipients,
        &senders,
        &times,
        &positions,
        &expiries,
        &contents as &[&str],
        &keys as &[&str],
        &versions as &[&str],
        &ciphers as &[&str],
        &kdfs as &[&str],
        &signatures as &[Option<String>],
    )
}

/// Takes messages out of the queue; those that are not in it (expired and cleaned up, or taken out before) are no matter.
pub(super) async fn remove(tx: &mut ProjectionTx<'_>, gone: &HashSet<MessageId>) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = gone.iter().map(|id| id.0).collect();
    sqlx::query!("DELETE FROM relay_pending WHERE message_id = ANY($1::uuid[])", &ids).execute(&mut **tx).await?;
    Ok(())
}

/// Takes out what readers have read of their peers' messages, up to a position.
pub(super) async fn remove_up_to(tx: &mut ProjectionTx<'_>, read: &HashMap<(UserId, UserId), i64>) -> Result<(), sqlx::Error> {
    let readers: Vec<Uuid> = read.keys().map(|(reader, _)| reader.0).collect();
    let peers: Vec<Uuid> = read.keys().map(|(_, peer)| peer.0).collect();
    let positions: Vec<i64> = read.values().copied().collect();
    sqlx::query!(
        "DELETE FROM relay_pending USING unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS said(reader, peer, up_to)
          WHERE recipient_id = said.reader AND sender_id = said.peer AND position <= said.up_to",
        &readers,
        &peers,
        &positions,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Counts receipts that were not counted before.
pub(super) async fn count_receipts(tx: &mut ProjectionTx<'_>, receipts: &[(i32, i64)]) -> Result<(), sqlx::Error> {
    let (slots, positions): (Vec<i32>, Vec<i64>) = receipts.iter().copied().unzip();
    sqlx::query!(
        "INSERT INTO relay_receipts AS stands (slot, last_position, receipts)
         SELECT new.slot, max(new.position), count(DISTINCT new.position)
           FROM unnest($1::int[], $2::bigint[]) AS new(slot, position)
           LEFT JOIN relay_receipts counted ON counted.slot = new.slot
          WHERE new.position > coalesce(counted.last_position, 0)
          GROUP BY new.slot
         ON CONFLICT (slot) DO UPDATE SET last_position = excluded.last_position, receipts = stands.receipts + excluded.receipts",
        &slots,
        &positions,
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}
