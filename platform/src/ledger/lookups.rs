//! What commands ask a ledger before they decide.

use std::time::Duration;

use schemas::{Recorded, Timestamp};
use serde_json::value::RawValue;
use sqlx::types::Json;
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

use super::connection::lane;
use super::row::Row;
use super::{AppendError, CommandRecord, Ledger};

/// How long a look-up may take.
const BOUND: Duration = Duration::from_secs(3);

/// A command-side secret as it is found. Never shown.
pub struct Secret {
    /// What it belongs to.
    pub key: String,
    /// The secret.
    pub value: Vec<u8>,
    /// When it lapses.
    pub expires_at: Option<Timestamp>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What an idempotency record says of the command that left it.
pub(super) struct Answered {
    pub digest: Vec<u8>,
    pub positions: Vec<i64>,
}

impl Ledger {
    /// All events of a stream, oldest first.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn load(&self, aggregate_type: &str, aggregate_id: &str) -> Result<Vec<Recorded>, AppendError> {
        let stream = sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload: Json<Box<RawValue>>",
                      metadata AS "metadata: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence"#,
            aggregate_type,
            aggregate_id,
        );
        let rows = bounded(stream.fetch_all(self.pool())).await?;
        Ok(rows.into_iter().map(|row| self.recorded(row)).collect())
    }

    /// The first event of a stream, by primary key.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn first(&self, aggregate_type: &str, aggregate_id: &str) -> Result<Option<Recorded>, AppendError> {
        let first = sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload: Json<Box<RawValue>>",
                      metadata AS "metadata: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1"#,
            aggregate_type,
            aggregate_id,
        );
        let row = bounded(first.fetch_optional(self.pool())).await?;
        Ok(row.map(|row| self.recorded(row)))
    }

    /// The first event of a stream, and the type of its last, both by primary key.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn ends(&self, aggregate_type: &str, aggregate_id: &str) -> Result<Option<(Recorded, String)>, AppendError> {
        let first = sqlx::query!(
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload: Json<Box<RawValue>>",
                      metadata AS "metadata: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at,
                      (SELECT event_type FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 ORDER BY sequence DESC LIMIT 1) AS "last!"
                 FROM events WHERE aggregate_type = $1 AND aggregate_id = $2 AND sequence = 1"#,
            aggregate_type,
            aggregate_id,
        );
        let row = bounded(first.fetch_optional(self.pool())).await?;
        Ok(row.map(|row| {
            let first = Row {
                position: row.position,
                aggregate_type: row.aggregate_type,
                aggregate_id: row.aggregate_id,
                sequence: row.sequence,
                event_type: row.event_type,
                event_version: row.event_version,
                payload: row.payload,
                metadata: row.metadata,
                partition_key: row.partition_key,
                key_hash: row.key_hash,
                event_id: row.event_id,
                recorded_at: row.recorded_at,
            };
            (self.recorded(first), row.last)
        }))
    }

    /// The first events of several streams of one type, in no order; of those that do not exist, nothing.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn firsts(&self, aggregate_type: &str, aggregate_ids: &[String]) -> Result<Vec<Recorded>, AppendError> {
        let firsts = sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload: Json<Box<RawValue>>",
                      metadata AS "metadata: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM events WHERE aggregate_type = $1 AND aggregate_id = ANY ($2) AND sequence = 1"#,
            aggregate_type,
            aggregate_ids,
        );
        let rows = bounded(firsts.fetch_all(self.pool())).await?;
        Ok(rows.into_iter().map(|row| self.recorded(row)).collect())
    }

    /// Events at these positions, in this order.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn at(&self, positions: &[i64]) -> Result<Vec<Recorded>, AppendError> {
        if positions.is_empty() {
            return Ok(Vec::new());
        }
        let events = sqlx::query_as!(
            Row,
            r#"SELECT position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload AS "payload: Json<Box<RawValue>>",
                      metadata AS "metadata: Json<Box<RawValue>>", partition_key, key_hash, event_id, recorded_at
                 FROM events WHERE position = ANY ($1) ORDER BY array_position($1, position)"#,
            positions,
        );
        let rows = bounded(events.fetch_all(self.pool())).await?;
        Ok(rows.into_iter().map(|row| self.recorded(row)).collect())
    }

    /// Who holds a name.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn owner_of(&self, kind: &str, key: &str) -> Result<Option<String>, AppendError> {
        let owner = sqlx::query_scalar!(
            "SELECT owner FROM reservations WHERE kind = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            kind,
            key,
        );
        bounded(owner.fetch_optional(self.pool())).await
    }

    /// A command-side secret that has not lapsed.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn secret(&self, kind: &str, key: &str) -> Result<Option<Vec<u8>>, AppendError> {
        let value = sqlx::query_scalar!(
            "SELECT value FROM secrets WHERE kind = $1 AND key = $2 AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            kind,
            key,
        );
        bounded(value.fetch_optional(self.pool())).await
    }

    /// Who holds a name, and their secret of a kind, whose key is the holder: as [`Ledger::owner_of`] and [`Ledger::secret`], in one round trip.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn owner_with_secret(&self, kind: &str, key: &str, secret: &str) -> Result<Option<(String, Option<Vec<u8>>)>, AppendError> {
        let found = sqlx::query!(
            r#"SELECT r.owner, s.value AS "value?" FROM reservations AS r
                 LEFT JOIN secrets AS s ON s.kind = $3 AND s.key = r.owner AND (s.expires_at IS NULL OR s.expires_at > clock_timestamp())
                WHERE r.kind = $1 AND r.key = $2 AND (r.expires_at IS NULL OR r.expires_at > clock_timestamp())"#,
            kind,
            key,
            secret,
        );
        Ok(bounded(found.fetch_optional(self.pool())).await?.map(|row| (row.owner, row.value)))
    }

    /// The unlapsed secrets of a kind whose keys begin with a prefix, by key; at most `limit`.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn secrets_below(&self, kind: &str, prefix: &str, limit: i64) -> Result<Vec<Secret>, AppendError> {
        // Keys compare byte by byte, and none has the last character of all in it.
        let end = format!("{prefix}\u{10ffff}");
        let below = sqlx::query!(
            "SELECT key, value, expires_at FROM secrets
              WHERE kind = $1 AND key >= $2 AND key < $3 AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY key LIMIT $4",
            kind,
            prefix,
            end,
            limit,
        );
        let rows = bounded(below.fetch_all(self.pool())).await?;
        let end = |expires_at: Option<OffsetDateTime>| expires_at.map(Timestamp::from);
        Ok(rows.into_iter().map(|row| Secret { key: row.key, value: row.value, expires_at: end(row.expires_at) }).collect())
    }

    /// All unlapsed secrets of a kind: key and end.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`]
    pub async fn secrets_of(&self, kind: &str) -> Result<Vec<(String, Option<Timestamp>)>, AppendError> {
        let all = sqlx::query!(
            "SELECT key, expires_at FROM secrets WHERE kind = $1 AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY key",
            kind,
        );
        let rows = bounded(all.fetch_all(self.pool())).await?;
        Ok(rows.into_iter().map(|row| (row.key, row.expires_at.map(Timestamp::from))).collect())
    }

    /// The idempotency record of a command, while it is kept.
    pub(super) async fn record_of(&self, record: &CommandRecord) -> Result<Option<Answered>, AppendError> {
        let answered = sqlx::query_as!(
            Answered,
            "SELECT digest, positions FROM command_results
              WHERE actor = $1 AND command_key = $2 AND recorded_at > clock_timestamp() - interval '24 hours'",
            record.actor,
            record.key,
        );
        bounded(answered.fetch_optional(self.pool())).await
    }

    /// Leaves a record for a command that was answered with events that stand already. `false`: the key belongs to another request.
    pub(super) async fn remember(&self, record: &CommandRecord, events: &[Recorded]) -> Result<bool, AppendError> {
        let (ids, positions): (Vec<Uuid>, Vec<i64>) = events.iter().map(|event| (event.event_id, event.position)).unzip();
        let stands = sqlx::query_scalar!(
            r#"SELECT remember_answer($1, $2, $3, $4, $5, $6, $7) AS "digest!""#,
            lane(self.topic()),
            record.actor,
            record.key,
            record.digest.as_slice(),
            i32::from(record.status),
            &ids,
            &positions,
        );
        Ok(bounded(stands.fetch_one(self.pool())).await? == record.digest)
    }

    fn recorded(&self, row: Row) -> Recorded {
        row.recorded(self.topic(), self.incarnation())
    }
}

/// A look-up that fails or takes too long is a ledger that is not available.
pub(super) async fn bounded<T>(question: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, AppendError> {
    match timeout(BOUND, question).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a look-up in the ledger failed");
            Err(AppendError::Unavailable)
        }
        Err(_) => {
            tracing::warn!("a look-up in the ledger took more than {BOUND:?}");
            Err(AppendError::Unavailable)
        }
    }
}
