use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use platform::marks::{Heads, Known, Mark, Marks, WAKE, Wake};
use platform::redis::{Redis, TIME_OUT};
use platform::shutdown::Shutdown;
use schemas::{Topic, UserId};
use sqlx::{Executor, PgPool};
use testkit::servers::database;
use testkit::wait_until;
use uuid::Uuid;

use crate::own_redis::OwnRedis;

const LONG: Duration = Duration::from_secs(10);

fn user() -> UserId {
    UserId(Uuid::now_v7())
}

fn mark(topic: Topic, partition: i32, position: i64) -> Mark {
    Mark { topic, generation: 1, partition, position }
}

/// A process that has been here all along.
async fn process(server: &OwnRedis, kept: Duration) -> (Marks, Redis) {
    let redis = Redis::connect_to_own(&server.url(), Shutdown::new()).unwrap();
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
    (Marks::kept_for(kept, redis.clone(), &Shutdown::new()), redis)
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_only_rise_however_they_are_left() {
    let server = OwnRedis::started().await;
    let (one, _) = process(&server, LONG).await;
    let (two, _) = process(&server, LONG).await;
    let (ann, bob) = (user(), user());
    let mut positions: Vec<i64> = (1..=400).map(|n| n * 7919 % 401).collect();
    positions.push(i64::MAX - 1);
    let leaves = positions.iter().enumerate().map(|(n, position)| {
        let marks = if n % 2 == 0 { one.clone() } else { two.clone() };
        let position = *position;
        tokio::spawn(async move {
            marks.leave(&[ann, bob], &[mark(Topic::Messages, 3, position % 1000), mark(Topic::Auth, 1, position)]).await;
        })
    });
    futures::future::join_all(leaves).await;
    let expected = vec![mark(Topic::Auth, 1, i64::MAX - 1), mark(Topic::Messages, 3, 806)];
    assert_eq!(sorted(one.of(&[ann]).await), expected);
    assert_eq!(sorted(two.of(&[bob, ann, user()]).await), expected);
    // One after the other: nothing but the script compares them.
    let eve = user();
    for (left, kept) in
        [(9, 9), (10, 10), (9, 10), (99, 99), (100, 100), (11, 100), (i64::MAX - 1, i64::MAX - 1), (i64::MAX, i64::MAX), (9, i64::MAX)]
    {
        one.leave(&[eve], &[mark(Topic::Messages, 0, left)]).await;
        assert_eq!(sorted(two.of(&[eve]).await), [mark(Topic::Messages, 0, kept)]);
    }
}

fn sorted(known: Known) -> Vec<Mark> {
    let Known::Marks(mut marks) = known else { panic!("{known:?}") };
    marks.sort();
    marks
}

#[tokio::test]
async fn a_mark_is_kept_for_its_time_and_then_forgotten() {
    let server = OwnRedis::started().await;
    let (marks, _) = process(&server, Duration::from_secs(1)).await;
    let ann = user();
    let begin = Instant::now();
    marks.leave(&[ann], &[mark(Topic::Auth, 1, 1)]).await;
    assert_eq!(sorted(marks.of(&[ann]).await).len(), 1);
    wait_until("the mark is gone", LONG, async || (marks.of(&[ann]).await == Known::Marks(vec![])).then_some(())).await;
    assert!(begin.elapsed() >= Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn marks_of_concurrent_commands_travel_together_and_wake_each_topic_once() {
    let server = OwnRedis::started().await;
    let (marks, redis) = process(&server, LONG).await;
    let mut wakes = redis.subscribe(WAKE);
    let subscribed = async || {
        let (_, count): (String, i64) =
            redis.query::<Vec<(String, i64)>>(::redis::pipe().cmd("PUBSUB").arg("NUMSUB").arg(WAKE)).await.ok()?.pop()?;
        (count == 1).then_some(())
    };
    wait_until("the channel is followed", LONG, subscribed).await;
    futures::future::join_all((1..=1000).map(|n| {
        let marks = marks.clone();
        tokio::spawn(async move { marks.leave(&[user()], &[mark(Topic::Messages, 0, n)]).await })
    }))
    .await;
    let stats: String = ::redis::cmd("INFO").arg("commandstats").query_async(&mut server.directly().await).await.unwrap();
    let calls = |command: &str| -> u64 {
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls="))).unwrap();
        line.split(',').next().unwrap().parse().unwrap()
    };
    assert!(calls("evalsha") < 500, "1000 leaves took {} calls", calls("evalsha"));
    assert!(calls("publish") <= calls("evalsha"));
    let highest = async {
        loop {
            let wake = Wake::read(&wakes.recv().await.unwrap()).unwrap();
            assert_eq!(wake.topic, Topic::Messages);
            if wake.position == 1000 {
                break;
            }
        }
    };
    tokio::time::timeout(LONG, highest).await.expect("the highest position is published");
}

#[tokio::test]
async fn while_redis_hangs_commands_wait_for_one_time_out_and_readers_are_unsure() {
    let server = OwnRedis::started().await;
    let (marks, _) = process(&server, LONG).await;
    server.hang();
    let begin = Instant::now();
    for n in 1..=100 {
        marks.leave(&[user()], &[mark(Topic::Messages, 0, n)]).await;
        assert_eq!(marks.of(&[user()]).await, Known::Unsure);
    }
    assert!(begin.elapsed() < TIME_OUT * 4, "100 leaves took {:?}", begin.elapsed());
}

#[tokio::test]
async fn after_redis_came_back_empty_readers_are_unsure_for_as_long_as_a_mark_would_have_been_kept() {
    let kept = Duration::from_secs(1);
    let mut server = OwnRedis::started().await;
    let (marks, redis) = process(&server, kept).await;
    let ann = user();
    marks.leave(&[ann], &[mark(Topic::Auth, 1, 1)]).await;
    server.kill();
    wait_until("the loss is noticed", LONG, async || (marks.of(&[ann]).await == Known::Unsure).then_some(())).await;
    server.start().await;
    let known = wait_until("readers are sure again", LONG, async || match marks.of(&[ann]).await {
        Known::Unsure => None,
        known => Some((known, redis.up_for().unwrap())),
    })
    .await;
    assert_eq!(known.0, Known::Marks(vec![]));
    assert!(known.1 >= kept, "sure after {:?}", known.1);
}

#[tokio::test]
async fn after_redis_was_emptied_everybody_is_unsure_for_as_long_as_a_mark_would_have_been_kept() {
    let kept = Duration::from_secs(1);
    let server = OwnRedis::started().await;
    let ((one, _), (two, _)) = (process(&server, kept).await, process(&server, kept).await);
    let ann = user();
    assert_eq!((one.of(&[ann]).await, two.of(&[ann]).await), (Known::Marks(vec![]), Known::Marks(vec![])), "it is new, and lacks nothing");
    one.leave(&[ann], &[mark(Topic::Auth, 1, 1)]).await;
    let mut direct = server.directly().await;
    ::redis::cmd("FLUSHALL").exec_async(&mut direct).await.unwrap();
    let begin = Instant::now();
    // No connection was broken by that.
    assert_eq!((two.of(&[ann]).await, one.of(&[ann]).await), (Known::Unsure, Known::Unsure));
    let (late, _) = process(&server, kept).await;
    assert_eq!(late.of(&[ann]).await, Known::Unsure);
    for marks in [&one, &two, &late] {
        wait_until("they are sure again", LONG, async || (marks.of(&[ann]).await == Known::Marks(vec![])).then_some(())).await;
        assert!(begin.elapsed() >= kept, "sure after {:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn who_could_not_leave_a_mark_makes_everybody_unsure_before_it_trusts_redis_again() {
    let server = OwnRedis::started().await;
    let (writer, redis) = process(&server, Duration::from_secs(1)).await;
    let (reader, _) = process(&server, Duration::from_secs(1)).await;
    assert_eq!(reader.of(&[user()]).await, Known::Marks(vec![]));
    // The key of a mark holds something else: the script fails, Redis is there.
    let ann = user();
    let mut direct = server.directly().await;
    ::redis::cmd("SET").arg(format!("mark:{ann}")).arg("no hash").exec_async(&mut direct).await.unwrap();
    writer.leave(&[ann], &[mark(Topic::Auth, 1, 1)]).await;
    assert!(redis.is_up());
    assert_eq!(writer.of(&[user()]).await, Known::Unsure);
    wait_until("the others are unsure", LONG, async || (reader.of(&[user()]).await == Known::Unsure).then_some(())).await;
    wait_until("all are sure again", LONG, async || {
        let both = (writer.of(&[user()]).await, reader.of(&[user()]).await);
        (both == (Known::Marks(vec![]), Known::Marks(vec![]))).then_some(())
    })
    .await;
}

/// A ledger whose head says how often it was asked.
async fn counting_ledger(pool: &PgPool) -> Heads {
    pool.execute(
        "CREATE SCHEMA messages_ledger; CREATE SEQUENCE messages_ledger.asked; CREATE TABLE messages_ledger.held (x int);
         CREATE VIEW messages_ledger.ledger_head AS
           SELECT gen_random_uuid() AS incarnation, 1 AS generation, 12 AS partitions, nextval('messages_ledger.asked') AS head,
                  NULL::text AS cluster, NULL::bigint AS published, NULL::bigint[] AS heads
             FROM (SELECT count(*) FROM messages_ledger.held) x",
    )
    .await
    .unwrap();
    Heads::new(BTreeMap::from([(Topic::Messages, pool.clone())]))
}

#[tokio::test]
async fn all_who_wait_for_a_head_share_one_query() {
    let database = database().await;
    let heads = counting_ledger(&database.pool).await;
    let burst = async || futures::future::join_all((0..200).map(|_| heads.head(Topic::Messages))).await;
    let begin = Instant::now();
    let answers: HashSet<i64> = (burst().await.into_iter().chain(burst().await)).map(|head| head.unwrap().head).collect();
    assert_eq!(answers, HashSet::from([1, 2]));
    assert!(begin.elapsed() >= Duration::from_millis(50), "the second query waited for its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_was_read_after_it_was_asked_for() {
    let database = database().await;
    let heads = counting_ledger(&database.pool).await;
    database.pool.execute("CREATE OR REPLACE VIEW messages_ledger.ledger_head AS
        SELECT gen_random_uuid() AS incarnation, 1 AS generation, 12 AS partitions, coalesce((SELECT max(x) FROM messages_ledger.held), 0)::bigint AS head,
               NULL::text AS cluster, NULL::bigint AS published, NULL::bigint[] AS heads").await.unwrap();
    futures::future::join_all((1..=8).map(|writer| {
        let (heads, pool) = (heads.clone(), database.pool.clone());
        tokio::spawn(async move {
            for n in 0..10 {
                let position = n * 8 + writer;
                sqlx::query("INSERT INTO messages_ledger.held VALUES ($1)").bind(position).execute(&pool).await.unwrap();
                assert!(heads.head(Topic::Messages).await.unwrap().head >= i64::from(position));
            }
        })
    }))
    .await
    .into_iter()
    .for_each(|outcome| outcome.unwrap());
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_an_error_in_bounded_time() {
    let database = database().await;
    let heads = counting_ledger(&database.pool).await;
    let mut lock = database.pool.begin().await.unwrap();
    lock.execute("LOCK TABLE messages_ledger.held IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begin = Instant::now();
    assert!(heads.head(Topic::Messages).await.is_err());
    assert!(begin.elapsed() < Duration::from_secs(3));
    lock.rollback().await.unwrap();
    heads.head(Topic::Messages).await.unwrap();
    assert!(heads.head(Topic::Auth).await.is_err(), "nobody reads that ledger here");
}
