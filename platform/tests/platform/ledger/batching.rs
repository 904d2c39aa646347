//! What happens to appends that share a batch.

use platform::ledger::{Append, AppendError, Effect, NotStorable, Stored};
use testkit::wait_until;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::fixture::{BOUND, LedgerDatabase, event, founding, raw, recorded};

/// Everything that is appended while the lane is held comes in one batch: the first alone, the rest together.
async fn together(database: &LedgerDatabase, appends: Vec<Append>) -> Vec<Result<Vec<Stored>, AppendError>> {
    let writer = database.writer().await;
    let holder = database.hold_lane().await;
    let mut first = Box::pin(writer.append(founding(Uuid::now_v7())));
    tokio::select! {
        _ = &mut first => panic!("the lane is held"),
        _ = wait_until("the first batch at the lane", BOUND, async || (database.parked().await.len() == 1).then_some(())) => {}
    }
    let mut answers: Vec<_> = appends.into_iter().map(|append| Box::pin(writer.append(append))).collect();
    for answer in &mut answers {
        assert!(futures::poll!(answer).is_pending());
    }
    drop(holder);
    first.await.unwrap();
    futures::future::join_all(answers).await
}

#[tokio::test]
async fn an_append_is_durable_and_says_where_and_when() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let stream = Uuid::now_v7();
    let append = Append { events: vec![event(stream, 1), event(stream, 2)], ..Append::default() };
    let stored = writer.append(append).await.unwrap();
    let rows: Vec<(i64, time::OffsetDateTime, String)> =
        sqlx::query_as("SELECT position, recorded_at, payload::text FROM events ORDER BY position")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert_eq!(rows.iter().map(|row| Stored { position: row.0, at: row.1.into() }).collect::<Vec<_>>(), stored);
    assert_eq!(rows[0].2, r#"{"text":"hello"}"#, "byte for byte");
    assert_eq!(stored[0].at, stored[1].at);
}

#[tokio::test]
async fn among_256_concurrent_appends_only_the_culprits_fail() {
    let database = LedgerDatabase::new().await;
    let writer = database.writer().await;
    let contested = Uuid::now_v7();
    writer.append(founding(contested)).await.unwrap();
    let mut tasks = JoinSet::new();
    for i in 0..256 {
        let writer = writer.clone();
        let mut append = founding(if i % 8 == 0 { contested } else { Uuid::now_v7() });
        if i == 101 {
            // Refused by the database alone: no index holds such a key.
            let key = (0..4_000).map(|_| Uuid::now_v7().simple().to_string()).collect();
            append.effects = vec![Effect::Put { kind: "x", key, value: vec![1], expires_at: None }];
        }
        if i == 102 {
            append.events[0].payload = raw(r#""\u0000""#);
        }
        tasks.spawn(async move { (i, writer.append(append).await) });
    }
    let (mut stored, mut conflicts, mut rejected) = (0, 0, 0);
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (_, Ok(_)) => stored += 1,
            (i, Err(AppendError::Conflict { head: 1, expected: 0, .. })) if i % 8 == 0 => conflicts += 1,
            (101, Err(AppendError::Rejected(NotStorable::Refused(state)))) if state == "54000" => rejected += 1,
            (102, Err(AppendError::Rejected(NotStorable::Nul))) => rejected += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, conflicts, rejected), (222, 32, 2));
    assert_eq!(database.count("events").await, 223);
    assert_eq!(database.count("secrets").await, 0, "nothing of the refused one");
}

#[tokio::test]
async fn of_appends_of_one_batch_that_found_one_stream_the_first_wins_and_the_others_learn_its_head() {
    let database = LedgerDatabase::new().await;
    let stream = Uuid::now_v7();
    let first = Append { events: vec![event(stream, 1), event(stream, 2)], ..Append::default() };
    let answers = together(&database, vec![first, founding(stream), founding(Uuid::now_v7())]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    let conflict = AppendError::Conflict { aggregate_type: "message".into(), aggregate_id: stream.to_string(), expected: 0, head: 2 };
    assert_eq!(answers[1], Err(conflict));
}

#[tokio::test]
async fn of_appends_of_one_batch_that_claim_one_name_the_first_owner_wins() {
    let database = LedgerDatabase::new().await;
    let claim = |owner: &str| Append {
        effects: vec![Effect::Claim { kind: "email.v1", key: "ann".into(), owner: owner.into(), expires_at: None }],
        ..founding(Uuid::now_v7())
    };
    let answers = together(&database, vec![claim("a"), claim("b"), claim("a")]).await;
    assert!(answers[0].is_ok() && answers[2].is_ok(), "an owner may claim its own again");
    assert_eq!(answers[1], Err(AppendError::Reserved { kind: "email.v1".into(), owner: "a".into() }));
    // and against what is stored
    let later = together(&database, vec![claim("c")]).await;
    assert_eq!(later[0], Err(AppendError::Reserved { kind: "email.v1".into(), owner: "a".into() }));
}

#[tokio::test]
async fn of_appends_of_one_batch_with_one_key_the_first_counts_and_the_others_learn_its_events() {
    let database = LedgerDatabase::new().await;
    let command = |digest| recorded(founding(Uuid::now_v7()), "key", digest);
    let mut answers = together(&database, vec![command(1), command(1), command(2)]).await;
    let first = answers.remove(0).unwrap();
    let duplicate = AppendError::Duplicate { digest: vec![1; 32], status: 200, positions: vec![first[0].position] };
    assert_eq!(answers, [Err(duplicate.clone()), Err(duplicate)]);
}

#[tokio::test]
async fn a_larger_payload_than_a_batch_goes_alone() {
    let database = LedgerDatabase::new().await;
    let large = |_| {
        let stream = Uuid::now_v7();
        let mut append = founding(stream);
        append.events = (1..=6).map(|sequence| event(stream, sequence)).collect();
        append.events.iter_mut().for_each(|event| event.payload = raw(&format!("\"{}\"", "x".repeat(890 << 10))));
        append
    };
    let answers = together(&database, (0..2).map(large).collect()).await;
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(database.count("events WHERE size > 890 * 1024").await, 12);
}
