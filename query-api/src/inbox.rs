//! `GET /messages/conversations`: with whom the caller has written, newest first, with what was said last and how much is unread.
//!
//! Only who talks to whom and when something was last said is kept; the last message is found by the index of its conversation, and unread ones are counted in the
//! index of what is unread, both in the statement that reads the page: every page is right at one checkpoint. Deleted messages are neither; that something was
//! said is not taken back with them.

use std::collections::HashMap;

use axum::http::{HeaderValue, header};
use axum::response::Response;
use platform::auth::Caller;
use platform::fresh::Fresh;
use platform::http::api::{Api, Rendered, get};
use platform::http::{Params, Problem};
use schemars::JsonSchema;
use schemas::read_models::{Conversations, Profiles, Users};
use schemas::{MessageObject, Timestamp, UserId};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sqlx::types::Json;
use sqlx::{PgConnection, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::Reads;
use crate::database::ask;
use crate::keyset::{Cursor, Key, PAGE_BYTES, PAGE_ROWS, limit, may_go_on};
use crate::message::Row;
use crate::peers::{self, Peer, Viewer};
use crate::streaming::{Page, array};

pub(crate) fn routes() -> Api<Reads> {
    Api::new().route(
        get("/messages/conversations", inbox)
            .says(
                "messages.inbox",
                "My conversations",
                "The inbox: everybody with whom the caller has exchanged messages, the newest conversation first, each with its last message and how many are unread. Without `limit` all of them; \
                 with it so many, and a `Link` to the next ones.",
            )
            .query("limit", json!({"type": "integer", "minimum": 1}), "At most so many. More than 1,000 count as 1,000.")
            .query("before", json!({"type": "string"}), "Only what comes after this place in the list: taken from a `Link`, opaque.")
            .answers_header("Link"),
    )
}

/// The caller's conversations, newest first. Without `limit` all of them; with it that many, and a link to the next ones.
async fn inbox(
    caller: Caller,
    params: Params,
    fresh: Fresh<(Conversations, Users, Profiles)>,
) -> Result<Rendered<Vec<Shown<'static, Value>>>, Problem> {
    params.must_be(&caller)?;
    let (messages, users, _) = fresh.pools();
    let before = params.parse::<Cursor>("before", "must be the cursor of a link that was given")?.map(|Cursor(key)| key);
    Ok(Rendered::of(answer(messages.clone(), users.clone(), caller.user, limit(&params)?, before).await?))
}

async fn answer(messages: PgPool, users: PgPool, caller: UserId, limit: Option<i64>, before: Option<Key>) -> Result<Response, Problem> {
    let range = Range { until: before.unwrap_or(Key::LAST), left: limit.unwrap_or(i64::MAX) };
    let mut next = None;
    if let Some(limit) = limit {
        next = last_of(&messages, caller, range.until, limit).await?;
    }
    let mut response = array("", |_| String::new(), range, move |range| page(messages.clone(), users.clone(), caller, range)).await?;
    if let (Some(limit), Some(last)) = (limit, next) {
        let link = format!("</api/v1/messages/conversations?limit={limit}&before={}>; rel=\"next\"", Cursor(last));
        response.headers_mut().insert(header::LINK, HeaderValue::try_from(link).expect("a cursor is visible ASCII"));
    }
    Ok(response)
}

/// What is still to be read: what comes before a place, and at most so many.
#[derive(Debug, Clone, Copy)]
struct Range {
    until: Key,
    left: i64,
}

/// Where a page of so many ends, when there is more behind it.
async fn last_of(pool: &PgPool, caller: UserId, until: Key, limit: i64) -> Result<Option<Key>, Problem> {
    let found = ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query_as!(
                Key,
                r#"SELECT last_at AS "at!", last_position AS "position!"
                     FROM (SELECT last_at, last_position FROM conversations.inbox WHERE low_id = $1
                           UNION ALL
                           SELECT last_at, last_position FROM conversations.inbox WHERE high_id = $1 AND low_id <> $1) mine
                    WHERE (last_at, last_position) < ($2, $3)
                    ORDER BY last_at DESC, last_position DESC OFFSET $4 LIMIT 2"#,
                caller.0,
                until.at,
                until.position,
                limit - 1
            )
            .fetch_all(db)
            .await
        })
    })
    .await?;
    Ok(found.first().copied().filter(|_| found.len() > 1))
}

async fn page(messages: PgPool, users: PgPool, caller: UserId, mut range: Range) -> Result<Page<Range>, Problem> {
    let asked = range.left.min(PAGE_ROWS);
    let rows = ask(&messages, move |db| Box::pin(rows(db, caller, range.until, asked))).await?;
    let ids: Vec<Uuid> = rows.iter().map(|row| row.peer_id).collect();
    let known = if ids.is_empty() { HashMap::new() } else { peers::of(&users, &ids).await? };
    let mut next = None;
    if let Some(last) = rows.last() {
        range.left -= i64::try_from(rows.len()).unwrap_or(i64::MAX);
        if range.left > 0 && may_go_on(rows.len(), asked, last.bytes) {
            range.until = Key { at: last.last_at, position: last.last_position };
            next = Some(range);
        }
    }
    let rows: Vec<_> = rows.into_iter().map(Conversation::of).collect();
    Page::of(rows.iter().map(|row| row.shown(caller, known.get(&row.peer_id))), next)
}

/// One of the caller's conversations.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Conversation")]
struct Shown<'a, V> {
    /// With whom.
    user_id: Uuid,
    /// What they are called; `null` when nobody knows (any more).
    username: Option<&'a str>,
    /// As they want to be called.
    full_name: Option<&'a str>,
    /// A picture of them.
    avatar_url: Option<&'a str>,
    /// What was said last and still stands; `null` when all of it was deleted.
    last_message: Option<MessageObject<'a, V>>,
    /// How many messages to the caller they have not read.
    unread_count: i64,
    /// When something was last said, deleted since or not: what the list is ordered by.
    last_activity: Timestamp,
}

struct Conversation {
    peer_id: Uuid,
    unread: i64,
    last_at: OffsetDateTime,
    last: Option<Row>,
}

impl Conversation {
    fn of(row: Joined) -> Self {
        let Joined { peer_id, unread, last_at, .. } = row;
        Self { peer_id, unread, last_at, last: row.last() }
    }

    fn shown<'a>(&'a self, caller: UserId, peer: Option<&'a Peer>) -> Shown<'a, &'a RawValue> {
        Shown {
            user_id: self.peer_id,
            username: peer.and_then(|peer| peer.username.as_deref()),
            full_name: peer.and_then(|peer| peer.full_name.as_deref()),
            avatar_url: peer.and_then(|peer| peer.avatar_url.as_deref()),
            last_message: self.last.as_ref().map(|row| row.shown(Viewer::of(caller, peer))),
            unread_count: self.unread,
            last_activity: self.last_at.into(),
        }
    }
}

/// A conversation, and its last message where there is one.
#[derive(Debug)]
struct Joined {
    peer_id: Uuid,
    last_at: OffsetDateTime,
    last_position: i64,
    unread: i64,
    message_id: Option<Uuid>,
    recorded_at: Option<OffsetDateTime>,
    position: Option<i64>,
    sender_id: Option<Uuid>,
    recipient_id: Option<Uuid>,
    encrypted_content: Option<String>,
    encrypted_session_key: Option<String>,
    sender_encrypted_content: Option<String>,
    crypto_version: Option<String>,
    encryption_algorithm: Option<String>,
    kdf_algorithm: Option<String>,
    signatures: Option<Json<Box<RawValue>>>,
    reply_to: Option<Uuid>,
    delivered_at: Option<OffsetDateTime>,
    read_at: Option<OffsetDateTime>,
    /// Of this row and those before it in the page.
    bytes: i64,
}

impl Joined {
    fn last(self) -> Option<Row> {
        Some(Row {
            message_id: self.message_id?,
            recorded_at: self.recorded_at?,
            position: self.position?,
            sender_id: self.sender_id?,
            recipient_id: self.recipient_id?,
            encrypted_content: self.encrypted_content?,
            encrypted_session_key: self.encrypted_session_key?,
            sender_encrypted_content: self.sender_encrypted_content,
            crypto_version: self.crypto_version?,
            encryption_algorithm: self.encryption_algorithm?,
            kdf_algorithm: self.kdf_algorithm?,
            signatures: self.signatures,
            reply_to: self.reply_to,
            delivered_at: self.delivered_at,
            read_at: self.read_at,
            bytes: self.bytes,
        })
    }
}

/// What one writes to oneself is never unread.
async fn rows(db: &mut PgConnection, caller: UserId, until: Key, limit: i64) -> Result<Vec<Joined>, sqlx::Error> {
    sqlx::query_as!(
        Joined,
        r#"SELECT peer_id AS "peer_id!", last_at AS "last_at!", last_position AS "last_position!",
                  CASE WHEN peer_id = $1 THEN 0 ELSE (SELECT count(*) FROM conversations.messages u
                     WHERE u.recipient_id = $1 AND u.conversation_id = sized.conversation_id AND u.read_at IS NULL) END AS "unread!",
                  message_id AS "message_id?", recorded_at AS "recorded_at?", position AS "position?", sender_id AS "sender_id?",
                  recipient_id AS "recipient_id?", encrypted_content AS "encrypted_content?", encrypted_session_key AS "encrypted_session_key?",
                  sender_encrypted_content AS "sender_encrypted_content?", crypto_version AS "crypto_version?",
                  encryption_algorithm AS "encryption_algorithm?", kdf_algorithm AS "kdf_algorithm?",
                  signatures AS "signatures?: Json<Box<RawValue>>", reply_to AS "reply_to?", delivered_at AS "delivered_at?",
                  read_at AS "read_at?", bytes AS "bytes!"
             FROM (SELECT page.conversation_id, peer_id, last_at, last_position, message_id, recorded_at, position, sender_id, recipient_id,
                          encrypted_content, encrypted_session_key, sender_encrypted_content, crypto_version, encryption_algorithm, kdf_algorithm,
                          signatures, reply_to, delivered_at, read_at, coalesce(size, 0) AS size,
                          sum(coalesce(size, 0)) OVER (ORDER BY last_at DESC, last_position DESC ROWS UNBOUNDED PRECEDING)::bigint AS bytes
                     FROM (SELECT conversation_id, peer_id, last_at, last_position
                             FROM (SELECT conversation_id, high_id AS peer_id, last_at, last_position FROM conversations.inbox WHERE low_id = $1
                                   UNION ALL
                                   SELECT conversation_id, low_id, last_at, last_position FROM conversations.inbox WHERE high_id = $1 AND low_id <> $1) mine
                            WHERE (last_at, last_position) < ($2, $3)
                            ORDER BY last_at DESC, last_position DESC LIMIT $4) page
                     LEFT JOIN LATERAL (SELECT m.*, octet_length(encrypted_content) + octet_length(encrypted_session_key)
                                                    + coalesce(octet_length(sender_encrypted_content), 0) AS size
                                          FROM conversations.messages m WHERE m.conversation_id = page.conversation_id
                                         ORDER BY m.recorded_at DESC, m.position DESC LIMIT 1) newest ON true) sized
            WHERE bytes - size < $5
            ORDER BY last_at DESC, last_position DESC"#,
        caller.0,
        until.at,
        until.position,
        limit,
        PAGE_BYTES
    )
    .fetch_all(db)
    .await
}

#[cfg(test)]
mod tests;
