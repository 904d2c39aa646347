//! `GET /messages/conversation/{user_id}`: what two people wrote to each other, oldest first.
//!
//! The conversation is the caller's and the named user's by construction: there is no way to ask for somebody else's. Nobody ever
//! written to, or nobody at all, is an empty conversation.

use axum::http::{HeaderValue, header};
use axum::response::Response;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, Rendered, get};
use platform::http::{Id, Params, Problem};
use schemas::read_models::{Conversations, Profiles, Users};
use schemas::{ConversationId, MessageId, MessageObject, UserId, conversation_id};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::keyset::{Key, PAGE_BYTES, PAGE_ROWS, invalid, limit, may_go_on};
use crate::message::Row;
use crate::peers::{self, Viewer};
use crate::streaming::{Page, array};

pub(crate) fn routes() -> Api<Reads> {
    Api::new().route(
        get("/messages/conversation/{user_id}", conversation)
            .says(
                "messages.conversation",
                "A conversation",
                "What the caller and one other person wrote to each other, oldest first, without what was deleted. Without `limit` the whole of it, streamed; with it the newest \
                 so many, and a `Link` to those before them. With somebody whom the caller never wrote to, or who does not exist, it is empty.",
            )
            .path("user_id", "The other person.")
            .query("limit", json!({"type": "integer", "minimum": 1}), "At most so many, the newest. More than 1,000 count as 1,000.")
            .query("before", json!({"type": "string", "format": "uuid"}), "Only what came before this message of the conversation.")
            .answers_header("Link"),
    )
}

/// What the caller and somebody else wrote to each other, oldest first. Whether and when the other has read something is shown as far as their settings allow.
async fn conversation(
    caller: Caller,
    params: Params,
    Id(other): Id<UserId>,
    fresh: Fresh<(Conversations, Users, Profiles)>,
) -> Result<Rendered<Vec<MessageObject<'static, Value>>>, Problem> {
    params.must_be(&caller)?;
    let asked = Asked::of(&params)?;
    let (messages, users, _) = fresh.pools();
    let viewer = match peers::of(users, &[other.0]).await {
        Ok(known) => Viewer::of(caller.user, known.get(&other.0)),
        // What people said does not wait for what one of them wants: until that is known again, nothing of it is shown.
        Err(_) => Viewer { user: caller.user, sees_reading: false },
    };
    Ok(Rendered::of(answer(messages.clone(), viewer, other, asked).await?))
}

async fn answer(pool: PgPool, caller: Viewer, other: UserId, asked: Asked) -> Result<Response, Problem> {
    let conversation = conversation_id(caller.user, other);
    let until = match asked.before {
        Some(message) => place_of(&pool, conversation, message).await?,
        None => Key::LAST,
    };
    let mut range = Range { after: Key::FIRST, until, left: i64::MAX };
    let mut older = None;
    if let Some(limit) = asked.limit {
        range.left = limit;
        if let Some(newest) = newest(&pool, conversation, until, limit).await? {
            range.after = newest.begin.just_before();
            older = newest.older_than;
        }
    }

    let mut response = array("", |_| String::new(), range, move |range| page(pool.clone(), caller, conversation, range)).await?;
    if let (Some(limit), Some(before)) = (asked.limit, older) {
        let link = format!("</api/v1/messages/conversation/{other}?limit={limit}&before={before}>; rel=\"next\"");
        response.headers_mut().insert(header::LINK, HeaderValue::try_from(link).expect("ids and digits are visible ASCII"));
    }
    Ok(response)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Asked {
    limit: Option<i64>,
    before: Option<MessageId>,
}

impl Asked {
    fn of(params: &Params) -> Result<Self, Problem> {
        Ok(Self { limit: limit(params)?, before: params.parse("before", "must be a message's id")? })
    }
}

/// What is still to be read: between two places (both excluded), and at most so many.
#[derive(Debug, Clone, Copy)]
struct Range {
    after: Key,
    until: Key,
    left: i64,
}

/// Where a message of this conversation stands, or stood until it was deleted; one of another, or none, is no place in it.
async fn place_of(pool: &PgPool, conversation: ConversationId, message: MessageId) -> Result<Key, Problem> {
    ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query_as!(
                Key,
                r#"SELECT recorded_at AS "at!", position AS "position!" FROM conversations.messages WHERE message_id = $1 AND conversation_id = $2
                   UNION ALL
                   SELECT recorded_at, position FROM conversations.messages_deleted WHERE message_id = $1 AND conversation_id = $2
                   LIMIT 1"#,
                message.0,
                conversation.0
            )
            .fetch_optional(db)
            .await
        })
    })
    .await?
    .ok_or_else(|| invalid("before", "is no message of this conversation"))
}

/// The newest so many.
struct Newest {
    begin: Key,
    /// When there are older ones: the message that they come before.
    older_than: Option<Uuid>,
}

/// Where the newest `limit` messages before a place begin; `None`: there are fewer, so at the beginning. Counts along the index, without touching the rows.
async fn newest(pool: &PgPool, conversation: ConversationId, until: Key, limit: i64) -> Result<Option<Newest>, Problem> {
    let found = ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query!(
                r#"SELECT m.message_id, m.recorded_at, m.position
                     FROM (SELECT recorded_at, position FROM conversations.messages
                            WHERE conversation_id = $1 AND (recorded_at, position) < ($2, $3)
                            ORDER BY recorded_at DESC, position DESC OFFSET $4 LIMIT 2) place
                     JOIN conversations.messages m
                       ON m.conversation_id = $1 AND m.recorded_at = place.recorded_at AND m.position = place.position
                    ORDER BY m.recorded_at DESC, m.position DESC"#,
                conversation.0,
                until.at,
                until.position,
                limit - 1
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.first().map(|oldest| Newest {
        begin: Key { at: oldest.recorded_at, position: oldest.position },
        older_than: (found.len() > 1).then_some(oldest.message_id),
    }))
}

/// Where the conversation ends now, so that a whole one comes to an end while its people go on writing.
async fn end(pool: &PgPool, conversation: ConversationId) -> Result<Key, Problem> {
    Ok(newest(pool, conversation, Key::LAST, 1).await?.map_or(Key::LAST, |newest| newest.begin.just_after()))
}

async fn page(pool: PgPool, caller: Viewer, conversation: ConversationId, mut range: Range) -> Result<Page<Range>, Problem> {
    let asked = range.left.min(PAGE_ROWS);
    let rows = ask(&pool, move |db| Box::pin(rows(db, conversation, range, asked))).await?;
    let mut next = None;
    if let Some(last) = rows.last() {
        range.left -= i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if range.left > 0 && may_go_on(rows.len(), asked, last.bytes) {
            if range.until == Key::LAST {
                range.until = end(&pool, conversation).await?;
            }
            range.after = Key { at: last.recorded_at, position: last.position };
            next = Some(range);
        }
    }
    Page::of(rows.iter().map(|row| row.shown(caller)), next)
}

/// `octet_length` asks a stored value for its size without fetching it: what lies beyond the page is never unpacked.
async fn rows(db: &mut PgConnection, conversation: ConversationId, range: Range, limit: i64) -> Result<Vec<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"SELECT message_id AS "message_id!", recorded_at AS "recorded_at!", position AS "position!", sender_id AS "sender_id!",
                  recipient_id AS "recipient_id!", encrypted_content AS "encrypted_content!", encrypted_session_key AS "encrypted_session_key!",
                  sender_encrypted_content, crypto_version AS "crypto_version!", encryption_algorithm AS "encryption_algorithm!",
                  kdf_algorithm AS "kdf_algorithm!", signatures AS "signatures: Json<Box<RawValue>>", reply_to, delivered_at, read_at, bytes AS "bytes!"
             FROM (SELECT m.*, sum(size) OVER (ORDER BY recorded_at, position ROWS UNBOUNDED PRECEDING)::bigint AS bytes
                     FROM (SELECT *, octet_length(encrypted_content) + octet_length(encrypted_session_key)
                                     + coalesce(octet_length(sender_encrypted_content), 0) AS size
                             FROM conversations.messages
                            WHERE conversation_id = $1 AND (recorded_at, position) > ($2, $3) AND (recorded_at, position) < ($4, $5)
                            ORDER BY recorded_at, position LIMIT $6) m) sized
            WHERE bytes - size < $7
            ORDER BY recorded_at, position"#,
        conversation.0,
        range.after.at,
        range.after.position,
        range.until.at,
        range.until.position,
        limit,
        PAGE_BYTES
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests {
    use super::{Asked, answer};
    use crate::peers::Viewer;
    use crate::testing::{Tables, text};
    use futures::StreamExt;
    use platform::http::Params;
    use schemas::{MessageId, UserId, conversation_id};
    use serde_json::Value;
    use std::time::{Duration, Instant};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));
    const SCHEMA: &str = include_str!("../../projectors/src/conversations/schema.sql");

    /// Messages 1 to `n` between Ann and Bob, three to a time, with a neighbour's between any two; the content is the number, padded.
    async fn written(n: i64, bytes: i32) -> Tables {
        let tables = Tables::of("conversations", SCHEMA).await;
        sqlx::query(
            "INSERT INTO conversations.messages (message_id, conversation_id, recorded_at, position, sender_id, recipient_id, encrypted_content,
                                                 encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm, signatures)
             SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(2 * i + odd), 12, '0'))::uuid, CASE odd WHEN 0 THEN $1 ELSE $2 END,
                    timestamptz '2026-01-01 00:00Z' + i / 3 * interval '1 ms', 2 * i + odd, $3, $4, rpad(i::text, $6, '.'), 'k', 'v1', 'e', 'h', '[1]'
               FROM generate_series(1, $5::bigint) i, generate_series(0, 1) odd ORDER BY md5(i::text)",
        )
        .bind(conversation_id(ANN, BOB).0)
        .bind(Uuid::nil())
        .bind(ANN.0)
        .bind(BOB.0)
        .bind(n)
        .bind(bytes)
        .execute(&tables.pool)
        .await
        .expect("rows");
        tables
    }

    fn seen_by(user: UserId) -> Viewer {
        Viewer { user, sees_reading: true }
    }

    fn id(n: u128) -> MessageId {
        MessageId(Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 + 2 * n))
    }

    fn numbers(body: &str) -> Vec<i64> {
        let messages: Vec<Value> = serde_json::from_str(body).expect("an array");
        messages
            .iter()
            .map(|m| m["encrypted_content"].as_str().and_then(|c| c.trim_end_matches('.').parse().ok()).expect("a number"))
            .collect()
    }

    #[tokio::test]
    async fn the_newest_n_come_oldest_first_and_pages_meet_without_gap_or_overlap() {
        let tables = written(25, 10).await;
        let mut before = None;
        for (expected, more) in [(16..=25, true), (6..=15, true), (1..=5, false)] {
            let response = answer(tables.pool.clone(), seen_by(BOB), ANN, Asked { limit: Some(10), before }).await.expect("an answer");
            let oldest = id(u128::try_from(*expected.start()).expect("positive"));
            let link = response.headers().get("link").map(|l| l.to_str().expect("ASCII").to_owned());
            assert_eq!(link, more.then(|| format!("</api/v1/messages/conversation/{ANN}?limit=10&before={oldest}>; rel=\"next\"")));
            assert_eq!(numbers(&text(response).await), expected.collect::<Vec<i64>>());
            before = Some(oldest);
        }
    }

    #[tokio::test]
    async fn a_page_that_ends_exactly_at_the_beginning_offers_no_next() {
        let tables = written(10, 10).await;
        let response = answer(tables.pool.clone(), seen_by(ANN), BOB, Asked { limit: Some(10), before: None }).await.expect("an answer");
        assert!(response.headers().get("link").is_none());
        assert_eq!(numbers(&text(response).await), (1..=10).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_sees_what_others_wrote_and_a_foreign_before_is_refused() {
        let tables = written(3, 10).await;
        let carl = UserId(Uuid::from_u128(3));
        for (caller, other) in [(carl, ANN), (ANN, carl), (ANN, ANN)] {
            let response = answer(tables.pool.clone(), seen_by(caller), other, Asked::default()).await.expect("an answer");
            assert_eq!(text(response).await, "[]");
            let asked = Asked { limit: None, before: Some(id(2)) };
            assert_eq!(answer(tables.pool.clone(), seen_by(caller), other, asked).await.expect_err("refused").status.as_u16(), 422);
        }
        let unknown = Asked { limit: None, before: Some(MessageId(Uuid::from_u128(99))) };
        assert_eq!(answer(tables.pool.clone(), seen_by(ANN), BOB, unknown).await.expect_err("refused").status.as_u16(), 422);
    }

    #[tokio::test]
    async fn a_hundred_thousand_messages_stream_in_bounded_pieces_and_hold_no_connection() {
        let tables = written(100_000, 600).await;
        sqlx::raw_sql("VACUUM ANALYZE conversations.messages").execute(&tables.pool).await.expect("it is analysed");

        let begin = Instant::now();
        let newest = answer(tables.pool.clone(), seen_by(ANN), BOB, Asked { limit: Some(1_000), before: None }).await.expect("an answer");
        let newest = text(newest).await;
        let took = begin.elapsed();
        assert_eq!(numbers(&newest), (99_001..=100_000).collect::<Vec<_>>());
        println!("newest 1,000 of 100,000: {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");

        let response = answer(tables.lone.clone(), seen_by(ANN), BOB, Asked::default()).await.expect("an answer");
        let mut body = response.into_body().into_data_stream();
        let mut whole = Vec::new();
        while let Some(piece) = body.next().await {
            let piece = piece.expect("whole");
            assert!(piece.len() < 4 << 20, "a piece of {} bytes", piece.len());
            whole.extend_from_slice(&piece);
            // The only connection of this pool is free while the client reads.
            tables.lone.acquire().await.expect("it is free");
        }
        assert_eq!(numbers(std::str::from_utf8(&whole).expect("text")), (1..=100_000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn pages_are_cut_by_bytes_before_they_are_cut_by_rows() {
        let tables = written(40, 256 * 1024).await;
        let response = answer(tables.pool.clone(), seen_by(ANN), BOB, Asked { limit: Some(30), before: None }).await.expect("an answer");
        let mut body = response.into_body().into_data_stream();
        let (mut pieces, mut whole) = (0, Vec::new());
        while let Some(piece) = body.next().await {
            whole.extend_from_slice(&piece.expect("whole"));
            pieces += 1;
        }
        assert_eq!(pieces, 8, "four to a page");
        assert_eq!(numbers(std::str::from_utf8(&whole).expect("text")), (11..=40).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_limit_is_a_positive_integer_and_more_than_1000_is_1000() {
        use axum::extract::FromRequestParts;
        for (query, right) in [
            ("", true),
            ("limit=1", true),
            ("limit=1000", true),
            ("limit=0", false),
            ("limit=1001", true),
            ("limit=-1", false),
            ("limit=ten", false),
            ("limit=", false),
            ("before=ten", false),
        ] {
            let (mut parts, ()) = axum::http::Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
            let params = Params::from_request_parts(&mut parts, &()).await.expect("readable");
            assert_eq!(
                Asked::of(&params).map_err(|problem| problem.status.as_u16()).map(|_| ()),
                if right { Ok(()) } else { Err(422) },
                "{query}"
            );
        }
    }
}
