//! `GET /relay/pending`: what waits for the caller, oldest first.

use axum::response::Response;
use platform::auth::Caller;
use platform::clock;
use platform::fresh::Fresh;
use platform::http::api::{Api, Rendered, get};
use platform::http::{Id, Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::Relay;
use schemas::{MessageId, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::keyset::{Key, PAGE_BYTES, PAGE_ROWS, may_go_on};
use crate::streaming::{Page, array};

pub(crate) fn routes() -> Api<Reads> {
    const TEXT: &str =
        "Everything that waits for the caller, oldest first, in one answer. A message waits until it is acknowledged or its time is over.";
    Api::new().route(get("/relay/pending", pending).says("relay.pending", "What waits for me", TEXT)).route(
        get("/relay/pending/{user_id}", pending_of)
            .says("relay.pendingOf", "What waits for me (by my id)", TEXT)
            .path("user_id", "The caller; anybody else is refused."),
    )
}

/// A queue.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its shape is shown: it is written message by message")]
struct Waiting {
    /// `true`
    success: bool,
    /// How many there are.
    count: u64,
    /// The messages, oldest first.
    messages: Vec<RelayMessage<'static>>,
}

async fn pending(caller: Caller, params: Params, fresh: Fresh<(Relay,)>) -> Result<Rendered<Waiting>, Problem> {
    params.must_be(&caller)?;
    Ok(Rendered::of(waiting(fresh.pool(), caller.user).await?))
}

async fn pending_of(caller: Caller, params: Params, Id(user): Id<UserId>, fresh: Fresh<(Relay,)>) -> Result<Rendered<Waiting>, Problem> {
    params.must_be(&caller)?;
    caller.must_be(Some(user))?;
    Ok(Rendered::of(waiting(fresh.pool(), user).await?))
}

async fn waiting(pool: &PgPool, recipient: UserId) -> Result<Response, Problem> {
    let now = clock::now().into_inner();
    let pool = pool.clone();
    let queue = Queue { recipient, now, after: Key::FIRST, until: Key::LAST };
    // The number is known when the last one is written; members of a JSON object have no order.
    array(r#"{"success":true,"messages":"#, |count| format!(r#","count":{count}}}"#), queue, move |queue| page(pool.clone(), queue)).await
}

/// What is still to be read of a queue: between two places, both excluded.
#[derive(Debug, Clone, Copy)]
struct Queue {
    recipient: UserId,
    /// What has expired by then does not wait. Only that: times of events are another clock's.
    now: OffsetDateTime,
    after: Key,
    until: Key,
}

async fn page(pool: PgPool, mut queue: Queue) -> Result<Page<Queue>, Problem> {
    let rows = ask(&pool, move |db| Box::pin(rows(db, queue))).await?;
    let mut next = None;
    if let Some(last) = rows.last().filter(|last| may_go_on(rows.len(), PAGE_ROWS, last.bytes)) {
        if queue.until == Key::LAST {
            queue.until = end(&pool, queue.recipient).await?;
        }
        queue.after = Key { at: last.recorded_at, position: last.position };
        next = Some(queue);
    }
    Page::of(rows.iter().map(Row::shown), next)
}

/// Where the queue ends now, so that a long one comes to an end while others go on sending.
async fn end(pool: &PgPool, recipient: UserId) -> Result<Key, Problem> {
    let newest = ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query_as!(
                Key,
                "SELECT recorded_at AS at, position FROM relay.relay_pending WHERE recipient_id = $1 ORDER BY recorded_at DESC, position DESC LIMIT 1",
                recipient.0
            )
            .fetch_optional(db)
            .await
        })
    })
    .await?;
    Ok(newest.map_or(Key::LAST, Key::just_after))
}

/// A message that waits.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RelayMessage")]
struct RelayMessage<'a> {
    /// The message.
    id: MessageId,
    /// Who wrote it.
    sender_id: UserId,
    /// Whom it waits for.
    recipient_id: UserId,
    /// Opaque text.
    encrypted_content: &'a str,
    /// Opaque text.
    encrypted_session_key: &'a str,
    /// As its sender named it.
    crypto_version: &'a str,
    /// As its sender named it.
    encryption_algorithm: &'a str,
    /// As its sender named it.
    kdf_algorithm: &'a str,
    /// As they were sent: any JSON.
    #[schemars(with = "Value")]
    signatures: Option<&'a RawValue>,
    /// Whether something is attached.
    has_media: bool,
    /// What is attached.
    #[schemars(with = "Vec<Value>")]
    media_refs: [(); 0],
    /// When it was sent.
    created_at: Timestamp,
    /// How often it was pushed to a socket in vain.
    delivery_attempts: u32,
}

#[derive(Debug)]
struct Row {
    message_id: Uuid,
    recorded_at: OffsetDateTime,
    position: i64,
    sender_id: Uuid,
    recipient_id: Uuid,
    encrypted_content: String,
    encrypted_session_key: String,
    crypto_version: String,
    encryption_algorithm: String,
    kdf_algorithm: String,
    signatures: Option<Json<Box<RawValue>>>,
    /// Of this row and those before it in the page.
    bytes: i64,
}

impl Row {
    fn shown(&self) -> RelayMessage<'_> {
        RelayMessage {
            id: MessageId(self.message_id),
            sender_id: UserId(self.sender_id),
            recipient_id: UserId(self.recipient_id),
            encrypted_content: &self.encrypted_content,
            encrypted_session_key: &self.encrypted_session_key,
            crypto_version: &self.crypto_version,
            encryption_algorithm: &self.encryption_algorithm,
            kdf_algorithm: &self.kdf_algorithm,
            signatures: self.signatures.as_ref().map(|Json(raw)| &**raw),
            has_media: false,
            media_refs: [],
            created_at: self.recorded_at.into(),
            delivery_attempts: 0,
        }
    }
}

async fn rows(db: &mut PgConnection, queue: Queue) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT message_id AS "message_id!", recorded_at AS "recorded_at!", position AS "position!", sender_id AS "sender_id!",
                  recipient_id AS "recipient_id!", encrypted_content AS "encrypted_content!", encrypted_session_key AS "encrypted_session_key!",
                  crypto_version AS "crypto_version!", encryption_algorithm AS "encryption_algorithm!", kdf_algorithm AS "kdf_algorithm!",
                  signatures AS "signatures: Json<Box<RawValue>>", bytes AS "bytes!"
             FROM (SELECT m.*, sum(size) OVER (ORDER BY recorded_at, position ROWS UNBOUNDED PRECEDING)::bigint AS bytes
                     FROM (SELECT *, octet_length(encrypted_content) + octet_length(encrypted_session_key) AS size
                             FROM relay.relay_pending
                            WHERE recipient_id = $1 AND (recorded_at, position) > ($2, $3) AND (recorded_at, position) < ($4, $5) AND expires_at > $6
                            ORDER BY recorded_at, position LIMIT $7) m) sized
            WHERE bytes - size < $8
            ORDER BY recorded_at, position"#,
        queue.recipient.0,
        queue.after.at,
        queue.after.position,
        queue.until.at,
        queue.until.position,
        queue.now,
        PAGE_ROWS,
        PAGE_BYTES
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::waiting;
    use crate::testing::{Tables, text};
    use schemas::UserId;
    use serde_json::Value;
    use uuid::Uuid;

    const SCHEMA: &str = include_str!("../../projectors/src/relay/schema.sql");
    const BOB: UserId = UserId(Uuid::from_u128(2));

    async fn queued(n: i64) -> Tables {
        let tables = Tables::of("relay", SCHEMA).await;
        sqlx::query(
            "INSERT INTO relay.relay_pending (message_id, recipient_id, recorded_at, position, expires_at, sender_id, encrypted_content,
                                              encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm)
             SELECT gen_random_uuid(), $1, timestamptz '2026-01-01 00:00Z' + i / 3 * interval '1 ms', i,
                    CASE WHEN i % 4 = 0 THEN timestamptz '2026-01-02 00:00Z' ELSE timestamptz '9000-01-01 00:00Z' END, $1, i::text, 'k', 'v', 'e', 'h'
               FROM generate_series(1, $2) i ORDER BY md5(i::text)",
        )
        .bind(BOB.0)
        .bind(n)
        .execute(&tables.pool)
        .await
        .expect("rows");
        tables
    }

    #[tokio::test]
    async fn what_has_not_expired_comes_oldest_first_with_its_number() {
        for n in [0, 3, 10, 5_000] {
            let tables = queued(n).await;
            let answer: Value = serde_json::from_str(&text(waiting(&tables.lone, BOB).await.expect("an answer")).await).expect("JSON");
            let expected: Vec<String> = (1..=n).filter(|i| i % 4 != 0).map(|i| i.to_string()).collect();
            assert_eq!(answer["success"], true);
            assert_eq!(answer["count"], expected.len());
            let contents: Vec<&str> =
                answer["messages"].as_array().expect("an array").iter().filter_map(|m| m["encrypted_content"].as_str()).collect();
            assert_eq!(contents, expected);
        }
    }

    #[tokio::test]
    async fn a_relay_message_has_every_field_of_the_contract_and_no_other() {
        let tables = queued(1).await;
        let answer: Value = serde_json::from_str(&text(waiting(&tables.pool, BOB).await.expect("an answer")).await).expect("JSON");
        let mut fields: Vec<&str> = answer["messages"][0].as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut contract =
            "id,sender_id,recipient_id,encrypted_content,encrypted_session_key,crypto_version,encryption_algorithm,kdf_algorithm,signatures,has_media,media_refs,created_at,delivery_attempts"
                .split(',')
                .collect::<Vec<_>>();
        contract.sort_unstable();
        assert_eq!(fields, contract);
    }
}
