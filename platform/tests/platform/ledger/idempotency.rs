//! Idempotency records.

use platform::ledger::{Append, AppendError, Effect};
use uuid::Uuid;

use super::fixture::{LedgerDatabase, event, founding, recorded};

#[tokio::test]
async fn a_repeated_key_is_answered_with_the_first_digest_status_and_positions() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let stream = Uuid::now_v7();
    let several = Append { events: vec![event(stream, 1), event(stream, 2)], ..Append::default() };
    for (key, append) in [("one", founding(Uuid::now_v7())), ("two", several)] {
        let first = writer.append(recorded(append, key, 7)).await.unwrap();
        let again = writer.append(recorded(founding(Uuid::now_v7()), key, 8)).await;
        let positions = first.iter().map(|stored| stored.position).collect();
        assert_eq!(again, Err(AppendError::Duplicate { digest: vec![7; 32], status: 200, positions }));
    }
    assert_eq!(database.count("events").await, 3);
}

#[tokio::test]
async fn the_key_is_recognised_even_where_the_stream_would_be_a_conflict() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let stream = Uuid::now_v7();
    writer.append(recorded(founding(stream), "key", 1)).await.unwrap();
    let again = writer.append(recorded(founding(stream), "key", 1)).await;
    assert!(matches!(again, Err(AppendError::Duplicate { .. })), "{again:?}");
}

#[tokio::test]
async fn a_command_without_events_is_recorded_too() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let nothing = |digest| recorded(Append::default(), "key", digest);
    assert_eq!(writer.append(nothing(1)).await, Ok(vec![]));
    assert_eq!(writer.append(nothing(1)).await, Ok(vec![]), "its own record: stored already");
    let other = writer.append(nothing(2)).await;
    assert_eq!(other, Err(AppendError::Duplicate { digest: vec![1; 32], status: 200, positions: vec![] }));
}

#[tokio::test]
async fn after_a_day_a_key_is_free_again() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let several = || {
        let stream = Uuid::now_v7();
        Append { events: vec![event(stream, 1), event(stream, 2)], ..Append::default() }
    };
    for (key, next) in [("one event", founding(Uuid::now_v7())), ("several", several()), ("none", Append::default())] {
        writer.append(recorded(founding(Uuid::now_v7()), key, 1)).await.unwrap();
        sqlx::query("UPDATE command_results SET recorded_at = recorded_at - interval '24 hours 1 second'")
            .execute(&database.pool)
            .await
            .unwrap();
        let second = writer.append(recorded(next, key, 2)).await.unwrap();
        let third = writer.append(recorded(founding(Uuid::now_v7()), key, 3)).await;
        let positions = second.iter().map(|stored| stored.position).collect();
        assert_eq!(third, Err(AppendError::Duplicate { digest: vec![2; 32], status: 200, positions }));
    }
}

#[tokio::test]
async fn a_refused_append_leaves_neither_record_nor_reservation_nor_secret() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let stream = Uuid::now_v7();
    writer.append(founding(stream)).await.unwrap();
    let mut append = recorded(founding(stream), "key", 1);
    append.effects = vec![
        Effect::Claim { kind: "email.v1", key: "ann".into(), owner: "a".into(), expires_at: None },
        Effect::Put { kind: "password", key: "a".into(), value: vec![1], expires_at: None },
    ];
    assert!(matches!(writer.append(append).await, Err(AppendError::Conflict { .. })));
    assert_eq!(database.count("command_results").await + database.count("reservations").await + database.count("secrets").await, 0);
}

#[tokio::test]
async fn a_released_or_lapsed_name_can_be_claimed_by_another() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let claim = |owner: &str, expires_at| Append {
        effects: vec![Effect::Claim { kind: "email.v1", key: "ann".into(), owner: owner.into(), expires_at }],
        ..Append::default()
    };
    let release = Append { effects: vec![Effect::Release { kind: "email.v1", key: "ann".into(), owner: "a".into() }], ..Append::default() };
    writer.append(claim("a", None)).await.unwrap();
    assert!(matches!(writer.append(claim("b", None)).await, Err(AppendError::Reserved { .. })));
    writer.append(release).await.unwrap();
    writer.append(claim("b", Some("2020-01-01T00:00:00Z".parse().unwrap()))).await.unwrap();
    writer.append(claim("c", None)).await.unwrap();
    assert_eq!(database.count("reservations WHERE owner = 'c'").await, 1);
}
