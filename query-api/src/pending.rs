//! `GET /relay/pending`: what waits for the caller, oldest first.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use platform::auth::Caller;
use platform::clock;
use platform::fresh::Fresh;
use platform::http::api::{Api, Rendered, Route, get};
use platform::http::{Id, Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::{Conversations, Relay};
use schemas::{MessageId, Timestamp, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::keyset::{Key, PAGE_BYTES, PAGE_ROWS, invalid, limit, may_go_on};
use crate::streaming::{Page, array};

pub(crate) fn routes() -> Api<Reads> {
    const TEXT: &str = "What waits for the caller, oldest first: all of it in one answer, or with `limit` so many and a `Link` to those behind them. A message waits until it is acknowledged, deleted, or its time \
                        is over.";
    let described = |route: Route<Reads>| {
        route
            .query("limit", json!({"type": "integer", "minimum": 1}), "At most so many, the oldest. More than 1,000 count as 1,000.")
            .query(
                "after",
                json!({"type": "string", "format": "uuid"}),
                "Only what came after this message, which waits for the caller or has waited.",
            )
            .answers_header("Link")
    };
    let own = get("/relay/pending", pending).says("relay.pending", "What waits for me", TEXT);
    let by_id = get("/relay/pending/{user_id}", pending_of).says("relay.pendingOf", "What waits for me (by my id)", TEXT);
    Api::new().route(described(own)).route(described(by_id).path("user_id", "The caller; anybody else is refused."))
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

/// What waits for the caller, oldest first. Without `limit` all of it; with it that many, and a link to the next ones.
async fn pending(caller: Caller, params: Params, fresh: Fresh<(Relay, Conversations)>) -> Result<Rendered<Waiting>, Problem> {
    params.must_be(&caller)?;
    Ok(Rendered::of(waiting(fresh.pools().0, "/relay/pending", caller.user, Asked::of(&params)?).await?))
}

/// The same; the user must be the caller.
async fn pending_of(
    caller: Caller,
    params: Params,
    Id(user): Id<UserId>,
    fresh: Fresh<(Relay, Conversations)>,
) -> Result<Rendered<Waiting>, Problem> {
    params.must_be(&caller)?;
    caller.must_be(Some(user))?;
    Ok(Rendered::of(waiting(fresh.pools().0, &format!("/relay/pending/{user}"), user, Asked::of(&params)?).await?))
}

/// How much of a queue is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Asked {
    limit: Option<i64>,
    after: Option<MessageId>,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, Problem> {
        Ok(Self { limit: limit(params)?, after: params.parse("after", "must be a message's id")? })
    }
}

async fn waiting(pool: &PgPool, path: &str, recipient: UserId, asked: Asked) -> Result<Response, Problem> {
    let now = clock::now().into_inner();
    let pool = pool.clone();
    let after = match asked.after {
        Some(message) => place_of(&pool, recipient, message).await?,
        None => Key::FIRST,
    };
    let queue = Queue { recipient, now, after, until: Key::LAST, left: asked.limit.unwrap_or(i64::MAX) };
    let last = match asked.limit {
        Some(limit) => last_of(&pool, queue, limit).await?,
        None => None,
    };
    // The number is known when the last one is written; members of a JSON object have no order.
    let messages =
        array(r#"{"success":true,"messages":"#, |count| format!(r#","count":{count}}}"#), queue, move |queue| page(pool.clone(), queue));
    let mut response = messages.await?;
    if let (Some(limit), Some(after)) = (asked.limit, last) {
        let link = format!("</api/v1{path}?limit={limit}&after={after}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, HeaderValue::try_from(link).expect("ids and digits are visible ASCII"));
    }
    Ok(response)
}

/// Where a message stands that waits for somebody, or has waited: who goes on after it has acknowledged it meanwhile.
async fn place_of(pool: &PgPool, recipient: UserId, message: MessageId) -> Result<Key, Problem> {
    ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query_as!(
                Key,
                r#"SELECT recorded_at AS "at!", position AS "position!" FROM relay.relay_pending WHERE message_id = $1 AND recipient_id = $2
                   UNION ALL
                   SELECT recorded_at, position FROM conversations.messages WHERE message_id = $1 AND recipient_id = $2
                   UNION ALL
                   SELECT d.recorded_at, d.position FROM conversations.messages_deleted d JOIN conversations.inbox i USING (conversation_id)
                    WHERE d.message_id = $1 AND $2 IN (i.low_id, i.high_id)
                   LIMIT 1"#,
                message.0,
                recipient.0
            )
            .fetch_optional(db)
            .await
        })
    })
    .await?
    .ok_or_else(|| invalid("after", "is no message that has waited for you"))
}

/// The message that a page of so many ends with, when there is more behind it.
async fn last_of(pool: &PgPool, queue: Queue, limit: i64) -> Result<Option<Uuid>, Problem> {
    let found = ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query_scalar!(
                "SELECT message_id FROM relay.relay_pending
                  WHERE recipient_id = $1 AND (recorded_at, position) > ($2, $3) AND expires_at > $4
                  ORDER BY recorded_at, position OFFSET $5 LIMIT 2",
                queue.recipient.0,
                queue.after.at,
                queue.after.position,
                queue.now,
                limit - 1
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.first().copied().filter(|_| found.len() > 1))
}

/// What is still to be read of a queue: between two places, both excluded, and at most so many.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queue {
    pub(crate) recipient: UserId,
    /// What has expired by then does not wait. Only that: times of events are another clock's.
    pub(crate) now: OffsetDateTime,
    pub(crate) after: Key,
    pub(crate) until: Key,
    pub(crate) left: i64,
}

async fn page(pool: PgPool, mut queue: Queue) -> Result<Page<Queue>, Problem> {
    let asked = queue.left.min(PAGE_ROWS);
    let rows = ask(&pool, move |db| Box::pin(rows(db, queue, asked))).await?;
    queue.left -= i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut next = None;
    if let Some(last) = rows.last().filter(|last| queue.left > 0 && may_go_on(rows.len(), asked, last.bytes)) {
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

// `Text`: how its texts are at hand, read or still as JSON.
/// A message that waits.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "RelayMessage")]
pub(crate) struct RelayMessage<'a, Text = &'a str> {
    /// The message.
    pub(crate) id: MessageId,
    /// Who wrote it.
    pub(crate) sender_id: UserId,
    /// Whom it waits for.
    pub(crate) recipient_id: UserId,
    /// Opaque text.
    pub(crate) encrypted_content: Text,
    /// Opaque text.
    pub(crate) encrypted_session_key: Text,
    /// As its sender named it.
    pub(crate) crypto_version: Text,
    /// As its sender named it.
    pub(crate) encryption_algorithm: Text,
    /// As its sender named it.
    pub(crate) kdf_algorithm: Text,
    /// As they were sent: any JSON.
    #[schemars(with = "Value")]
    pub(crate) signatures: Option<&'a RawValue>,
    /// Whether something is attached.
    pub(crate) has_media: bool,
    /// What is attached.
    #[schemars(with = "Vec<Value>")]
    pub(crate) media_refs: [(); 0],
    /// When it was sent.
    pub(crate) created_at: Timestamp,
    /// How often it was pushed to a socket in vain.
    pub(crate) delivery_attempts: u32,
}

/// A message that waits, as it stands in `relay.relay_pending`.
#[derive(Debug)]
pub(crate) struct Row {
    message_id: Uuid,
    pub(crate) recorded_at: OffsetDateTime,
    pub(crate) position: i64,
    pub(crate) sender_id: Uuid,
    recipient_id: Uuid,
    encrypted_content: String,
    encrypted_session_key: String,
    crypto_version: String,
    encryption_algorithm: String,
    kdf_algorithm: String,
    signatures: Option<Json<Box<RawValue>>>,
    /// Of this row and those before it in the page.
    pub(crate) bytes: i64,
}

impl Row {
    /// As the contract's relay message.
    pub(crate) fn shown(&self) -> RelayMessage<'_> {
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

/// Rows of a queue in their order, up to a page's worth of bytes.
pub(crate) async fn rows(db: &mut PgConnection, queue: Queue, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
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
        limit,
        PAGE_BYTES
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::{Asked, waiting};
    use crate::testing::{Tables, text};
    use schemas::{MessageId, UserId};
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
            let answer: Value =
                serde_json::from_str(&text(waiting(&tables.lone, "/p", BOB, Asked::default()).await.expect("an answer")).await)
                    .expect("JSON");
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
        let answer: Value =
            serde_json::from_str(&text(waiting(&tables.pool, "/p", BOB, Asked::default()).await.expect("an answer")).await).expect("JSON");
        let mut fields: Vec<&str> = answer["messages"][0].as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        let mut contract =
            "id,sender_id,recipient_id,encrypted_content,encrypted_session_key,crypto_version,encryption_algorithm,kdf_algorithm,signatures,has_media,media_refs,created_at,delivery_attempts"
                .split(',')
                .collect::<Vec<_>>();
        contract.sort_unstable();
        assert_eq!(fields, contract);
    }

    #[tokio::test]
    async fn pages_of_a_queue_meet_whether_or_not_what_came_before_was_acknowledged_meanwhile() {
        let tables = queued(10).await;
        tables.also("conversations", include_str!("../../projectors/src/conversations/schema.sql")).await;
        sqlx::raw_sql(
            "INSERT INTO conversations.messages (message_id, conversation_id, recorded_at, position, sender_id, recipient_id, encrypted_content,
                                                 encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm)
             SELECT message_id, message_id, recorded_at, position, sender_id, recipient_id, 'c', 'k', 'v', 'e', 'h' FROM relay.relay_pending",
        )
        .execute(&tables.pool)
        .await
        .expect("rows");
        for acknowledging in [false, true] {
            let (mut after, mut seen) = (None, Vec::new());
            for (expected, more) in [(3, true), (3, true), (2, false)] {
                let response = waiting(&tables.pool, "/p", BOB, Asked { limit: Some(3), after }).await.expect("an answer");
                let link = response.headers().get("link").map(|link| link.to_str().expect("ASCII").to_owned());
                assert_eq!(link.is_some(), more);
                let page: Value = serde_json::from_str(&text(response).await).expect("JSON");
                assert_eq!(page["count"], expected);
                for message in page["messages"].as_array().expect("an array") {
                    seen.push(message["encrypted_content"].as_str().expect("text").to_owned());
                    let id: MessageId = message["id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
                    after = Some(id);
                    if acknowledging {
                        sqlx::query("DELETE FROM relay.relay_pending WHERE message_id = $1")
                            .bind(id.0)
                            .execute(&tables.pool)
                            .await
                            .expect("gone");
                    }
                }
                if let Some(link) = link {
                    assert_eq!(link, format!("</api/v1/p?limit=3&after={}>; rel=\"next\"", after.expect("the last one")));
                }
            }
            assert_eq!(seen, ["1", "2", "3", "5", "6", "7", "9", "10"]);
        }
        let foreign = Asked { limit: None, after: Some(MessageId(Uuid::from_u128(9))) };
        assert_eq!(waiting(&tables.pool, "/p", BOB, foreign).await.expect_err("refused").status.as_u16(), 422);
    }
}
