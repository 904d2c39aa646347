use axum::response::Response;
use schemas::{UserId, conversation_id};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};
use std::time::{Duration, Instant};
use uuid::Uuid;

use super::answer;
use crate::keyset::Cursor;
use crate::testing::{Tables, text};

const CONVERSATIONS: &str = include_str!("../../../projectors/src/conversations/schema.sql");
const USERS: &str = include_str!("../../../projectors/src/users/schema.sql");
const PROFILES: &str = include_str!("../../../projectors/src/profiles/schema.sql");
const ANN: UserId = UserId(Uuid::from_u128(1));

fn peer(n: u128) -> UserId {
    UserId(Uuid::from_u128(1_000 + n))
}

/// Ann has written with `peers` people, the first longest ago: `each` messages from each of them in turn, every third of which she has read. Between any two there is
/// one of somebody else's.
async fn written(peers: u32, each: u32) -> Tables {
    let tables = Tables::of("conversations", CONVERSATIONS).await;
    tables.also("users", USERS).await;
    tables.also("profiles", PROFILES).await;
    for n in 0..u128::from(peers) {
        say(&tables.pool, peer(n), ANN, i64::try_from(n).expect("few") * 1_000_000, each).await;
    }
    say(&tables.pool, peer(0), peer(1), 5, each).await;
    sqlx::query("INSERT INTO users.users (user_id, username, full_name, role, is_active, created_at) SELECT id, 'user ' || n, 'name ' || n, 'user', true, now() FROM unnest($1::uuid[]) WITH ORDINALITY u(id, n)")
        .bind((0..u128::from(peers)).map(|n| peer(n).0).collect::<Vec<_>>())
        .execute(&tables.pool)
        .await
        .expect("people");
    tables
}

async fn say(pool: &PgPool, from: UserId, to: UserId, after: i64, messages: u32) {
    let conversation = conversation_id(from, to).0;
    let (low, high) = (from.min(to), from.max(to));
    sqlx::query(
        "INSERT INTO conversations.messages (message_id, conversation_id, recorded_at, position, sender_id, recipient_id, encrypted_content,
                                             encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm, read_at)
         SELECT gen_random_uuid(), $1, timestamptz '2026-01-01 00:00Z' + ($4 + i) * interval '1 ms', $4 + i, $2, $3, i::text, 'k', 'v1', 'e', 'h',
                CASE WHEN i % 3 = 0 THEN timestamptz '2026-02-01 00:00Z' END
           FROM generate_series(1, $5::bigint) i",
    )
    .bind(conversation)
    .bind(from.0)
    .bind(to.0)
    .bind(after)
    .bind(i64::from(messages))
    .execute(pool)
    .await
    .expect("rows");
    sqlx::query("INSERT INTO conversations.inbox SELECT $1, $2, $3, max(recorded_at), max(position) FROM conversations.messages WHERE conversation_id = $1")
        .bind(conversation)
        .bind(low.0)
        .bind(high.0)
        .execute(pool)
        .await
        .expect("a row");
}

async fn shown(response: Response) -> Vec<Value> {
    serde_json::from_str(&text(response).await).expect("an array")
}

#[tokio::test]
async fn conversations_come_newest_first_with_their_last_message_and_what_is_unread() {
    let tables = written(3, 10).await;
    let inbox = shown(answer(tables.pool.clone(), tables.pool.clone(), ANN, None, None).await.expect("an answer")).await;
    assert_eq!(inbox.len(), 3);
    for (n, one) in inbox.iter().enumerate() {
        let with = 2 - n;
        assert_eq!(one["user_id"], serde_json::json!(peer(with as u128)));
        assert_eq!((&one["username"], &one["full_name"]), (&format!("user {}", with + 1).into(), &format!("name {}", with + 1).into()));
        assert_eq!((&one["unread_count"], &one["last_message"]["encrypted_content"]), (&7.into(), &"10".into()));
        assert_eq!(one["last_activity"], one["last_message"]["created_at"]);
        assert_eq!((&one["last_message"]["is_read"], &one["avatar_url"]), (&false.into(), &Value::Null));
        let mut fields: Vec<_> = one.as_object().expect("an object").keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["avatar_url", "full_name", "last_activity", "last_message", "unread_count", "user_id", "username"]);
    }
    let theirs = shown(answer(tables.pool.clone(), tables.pool.clone(), peer(0), None, None).await.expect("an answer")).await;
    assert_eq!(theirs.iter().map(|one| one["unread_count"].clone()).collect::<Vec<_>>(), [Value::from(0), Value::from(0)]);
}

#[tokio::test]
async fn whoever_does_not_show_what_they_read_is_shown_as_not_having_read_it() {
    let tables = written(2, 3).await;
    sqlx::query("INSERT INTO profiles.profiles (user_id, full_name_set, full_name, avatar_url, read_receipts) VALUES ($1, true, 'Another', '/a.png', false)")
        .bind(ANN.0)
        .execute(&tables.pool)
        .await
        .expect("a row");
    let inbox = async |of: UserId| shown(answer(tables.pool.clone(), tables.pool.clone(), of, None, None).await.expect("an answer")).await;
    // The last of three messages was read.
    assert_eq!(inbox(ANN).await[0]["last_message"]["is_read"], true, "its reader knows");
    let theirs = inbox(peer(1)).await;
    let last = &theirs[0]["last_message"];
    assert_eq!((&last["is_read"], &last["read_at"]), (&Value::from(false), &Value::Null));
    // There is no row of Ann among the users here, so that nothing of her is known but what she wants.
    sqlx::query("INSERT INTO users.users (user_id, username, full_name, role, is_active, created_at) VALUES ($1, 'ann', 'Ann', 'user', true, now())").bind(ANN.0).execute(&tables.pool).await.expect("a row");
    let theirs = inbox(peer(1)).await;
    assert_eq!((&theirs[0]["full_name"], &theirs[0]["avatar_url"]), (&"Another".into(), &"/a.png".into()));
    assert_eq!(theirs[0]["last_message"]["is_read"], false);
}

#[tokio::test]
async fn a_conversation_whose_messages_are_gone_stays_where_it_was_and_a_note_to_oneself_is_never_unread() {
    let tables = written(2, 3).await;
    say(&tables.pool, ANN, ANN, 500_000, 4).await;
    sqlx::query("DELETE FROM conversations.messages WHERE sender_id = $1").bind(peer(1).0).execute(&tables.pool).await.expect("gone");
    let inbox = shown(answer(tables.pool.clone(), tables.pool.clone(), ANN, None, None).await.expect("an answer")).await;
    let told: Vec<_> =
        inbox.iter().map(|one| (one["user_id"].clone(), one["last_message"].is_null(), one["unread_count"].clone())).collect();
    let id = |user: UserId| serde_json::json!(user);
    assert_eq!(told, [(id(peer(1)), true, 0.into()), (id(ANN), false, 0.into()), (id(peer(0)), false, 2.into())]);
    assert!(inbox[0]["last_activity"].is_string());
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap_and_the_last_offers_no_next() {
    let tables = written(7, 1).await;
    let (mut before, mut seen) = (None, Vec::new());
    for (expected, more) in [(3, true), (3, true), (1, false)] {
        let response = answer(tables.pool.clone(), tables.pool.clone(), ANN, Some(3), before).await.expect("an answer");
        let link = response.headers().get("link").map(|link| link.to_str().expect("ASCII").to_owned());
        assert_eq!(link.is_some(), more);
        before = link.map(|link| {
            let cursor = link.split("before=").nth(1).and_then(|rest| rest.split('>').next()).expect("a cursor");
            cursor.parse::<Cursor>().expect("it reads").0
        });
        let page = shown(response).await;
        assert_eq!(page.len(), expected);
        seen.extend(page.into_iter().map(|one| one["user_id"].as_str().expect("an id").to_owned()));
    }
    assert_eq!(seen, (0..7).rev().map(|n| peer(n).to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_thousand_conversations_one_of_them_a_hundred_thousand_long_are_read_by_index() {
    let tables = written(1_000, 3).await;
    say(&tables.pool, UserId(Uuid::from_u128(5)), ANN, 2_000_000_000, 100_000).await;
    for table in ["messages", "inbox"] {
        let analyse = format!("VACUUM ANALYZE conversations.{table}");
        sqlx::raw_sql(AssertSqlSafe(analyse)).execute(&tables.pool).await.expect("it is analysed");
    }
    for limit in [None, Some(50)] {
        let begin = Instant::now();
        let inbox = answer(tables.pool.clone(), tables.pool.clone(), ANN, limit, None).await.expect("an answer");
        let inbox = shown(inbox).await;
        let took = begin.elapsed();
        assert_eq!(inbox.len(), limit.map_or(1_001, |_| 50));
        assert_eq!(inbox[0]["unread_count"], 66_667);
        println!("{} conversations: {took:?}", inbox.len());
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    for (what, index, only) in [
        (
            "SELECT count(*) FROM conversations.messages WHERE recipient_id = '{ann}' AND conversation_id = '{c}' AND read_at IS NULL",
            "messages_unread",
            true,
        ),
        (
            "SELECT * FROM conversations.messages WHERE conversation_id = '{c}' ORDER BY recorded_at DESC, position DESC LIMIT 1",
            "messages_in_order",
            false,
        ),
        ("SELECT * FROM conversations.inbox WHERE high_id = '{ann}'", "inbox_of_high", false),
        ("SELECT * FROM conversations.inbox WHERE low_id = '{c}'", "inbox_of_low", false),
        (
            "UPDATE conversations.messages SET read_at = now() WHERE recipient_id = '{ann}' AND conversation_id = '{c}' AND position > 5 AND position <= 9 AND read_at IS NULL",
            "messages_unread",
            false,
        ),
    ] {
        let question = what.replace("{ann}", &ANN.to_string()).replace("{c}", &conversation_id(peer(0), ANN).to_string());
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {question}"))).fetch_all(&tables.pool).await.expect("a plan");
        let plan = plan.join("\n");
        assert!(plan.contains(index) && !plan.contains("Seq Scan") && !plan.contains("Sort"), "{question}: {plan}");
        assert!(!only || plan.contains("Index Only Scan"), "{question}: {plan}");
    }
}
