//! What no ledger can hold is refused before it reaches the lane.

use platform::ledger::{Append, AppendError, CommandRecord, NotStorable};
use uuid::Uuid;

use super::fixture::{LedgerDatabase, event, founding, raw};

#[tokio::test]
async fn what_cannot_be_stored_is_refused_and_changes_nothing() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let with = |json: &str| {
        let mut append = founding(Uuid::now_v7());
        append.events[0].payload = raw(json);
        append
    };
    let large = format!("\"{}\"", "x".repeat(900 << 10));
    let stream = Uuid::now_v7();
    let hole = Append { events: vec![event(stream, 1), event(stream, 3)], ..Append::default() };
    let mut nul_key = founding(Uuid::now_v7());
    nul_key.record = Some(CommandRecord { actor: "ann".into(), key: "a\0b".into(), digest: [0; 32], status: 200 });
    for (append, reason) in [
        (with(&large), NotStorable::TooLarge { bytes: (900 << 10) + 2 }),
        (with(r#"{"text":"\u0000"}"#), NotStorable::Nul),
        (with(r#"{"text":"\ud800"}"#), NotStorable::LoneSurrogate),
        (hole, NotStorable::Disorder),
        (nul_key, NotStorable::Nul),
    ] {
        assert_eq!(writer.append(append).await, Err(AppendError::Rejected(reason)));
    }
    assert_eq!(database.count("events").await + database.count("command_results").await, 0);
    let escapes = writer.append(with(r#"{"text":"\\u0000 \ud83d\ude00"}"#)).await;
    assert!(escapes.is_ok(), "an escaped backslash and a whole pair are text like any other: {escapes:?}");
}

#[tokio::test]
async fn an_append_that_expects_events_which_are_not_there_is_a_conflict() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let stream = Uuid::now_v7();
    let early = Append { events: vec![event(stream, 3)], ..Append::default() };
    let answer = writer.append(early).await;
    let conflict = AppendError::Conflict { aggregate_type: "message".into(), aggregate_id: stream.to_string(), expected: 2, head: 0 };
    assert_eq!(answer, Err(conflict));
}

#[tokio::test]
async fn a_server_that_would_lose_what_it_acknowledged_is_refused_by_the_name_of_its_setting() {
    let database = testkit::servers::database().await;
    platform::postgres::must_be_durable(&database.pool).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()").fetch_one(&database.pool).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("ALTER DATABASE {name} SET synchronous_commit = off"))).execute(&database.pool).await.unwrap();
    let fresh = sqlx::PgPool::connect(&database.url).await.unwrap();
    let refusal = platform::postgres::must_be_durable(&fresh).await.unwrap_err();
    assert!(refusal.to_string().contains("`synchronous_commit` off"), "{refusal}");
}
