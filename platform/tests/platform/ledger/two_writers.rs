//! Several processes on one ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::task::JoinSet;
use uuid::Uuid;

use super::fixture::{LedgerDatabase, founding};

const APPENDS: usize = 3_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_behind_two_writers_skips_nothing_and_times_never_fall() {
    let database = LedgerDatabase::new().await;
    let writers = [database.writer().await, database.writer().await];
    let done = Arc::new(AtomicBool::new(false));
    let reader = tokio::spawn({
        let (pool, done) = (database.pool.clone(), Arc::clone(&done));
        async move {
            let (mut seen, mut cursor): (Vec<(i64, time::OffsetDateTime)>, i64) = (Vec::new(), 0);
            loop {
                let last_round = done.load(Ordering::Acquire);
                let page: Vec<(i64, time::OffsetDateTime)> =
                    sqlx::query_as("SELECT position, recorded_at FROM events WHERE position > $1 ORDER BY position LIMIT 500")
                        .bind(cursor)
                        .fetch_all(&pool)
                        .await
                        .unwrap();
                if page.is_empty() && last_round {
                    return seen;
                }
                cursor = page.last().map_or(cursor, |last| last.0);
                seen.extend(page);
            }
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..32 {
        let writer = writers[task % 2].clone();
        tasks.spawn(async move {
            let (mut stored, mut before) = (Vec::new(), 0);
            for _ in 0..APPENDS / 32 {
                let place = writer.append(founding(Uuid::now_v7())).await.unwrap()[0];
                assert!(place.position > before, "what is begun after an answer comes later");
                before = place.position;
                stored.push((place.position, time::OffsetDateTime::from(place.at)));
            }
            stored
        });
    }
    let mut answered: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    done.store(true, Ordering::Release);
    let seen = reader.await.unwrap();
    answered.sort_unstable();
    assert_eq!(seen, answered, "the reader saw exactly what was acknowledged, in one pass");
    assert!(seen.is_sorted_by_key(|(_, at)| *at), "times never fall");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_that_race_for_a_stream_one_wins_each_sequence() {
    let database = LedgerDatabase::new().await;
    let writers = [database.writer().await, database.writer().await];
    for _ in 0..50 {
        let stream = Uuid::now_v7();
        let answers = tokio::join!(writers[0].append(founding(stream)), writers[1].append(founding(stream)));
        assert!(answers.0.is_ok() ^ answers.1.is_ok(), "{answers:?}");
    }
    assert_eq!(database.count("events").await, 50);
}
