use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use platform::auth::{Caller, Tokens};
use platform::fresh::{BOUND, Behind, Fresh, Freshness, Progress, Reached};
use platform::http::Problem;
use platform::marks::{ConsistencyToken, Heads, Mark, Marks};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::read_models::{Conversations, People, Relay};
use schemas::{SessionId, Topic, UserId};
use sqlx::{Executor, PgPool};
use testkit::servers::database;
use testkit::wait_until;
use uuid::Uuid;

use crate::own_redis::OwnRedis;

const LONG: Duration = Duration::from_secs(10);
const SHORT: Duration = Duration::from_millis(100);

fn mark(partition: i32, position: i64) -> Mark {
    Mark { topic: Topic::Messages, generation: 1, partition, position }
}

fn scanned(scanned: i64) -> Progress {
    Progress { scanned, ..Progress::default() }
}

fn applied(partitions: &[(i32, i64)]) -> Progress {
    Progress { partitions: partitions.iter().copied().collect(), scanned: 0 }
}

fn connect(server: &OwnRedis) -> Redis {
    Redis::connect_to_own(&server.url(), Shutdown::new()).unwrap()
}

/// Knows only what it is told.
fn reached_without_redis() -> Reached {
    Reached::new(connect(&OwnRedis::planned()), BTreeMap::new(), Shutdown::new())
}

/// A message database with a ledger whose head a test sets, and the checkpoints of `relay`.
async fn message_db() -> PgPool {
    let pool = database().await.pool;
    let mut connection = pool.acquire().await.unwrap();
    let ledger = "CREATE SCHEMA messages_ledger; CREATE SCHEMA relay;
        CREATE TABLE messages_ledger.now (head bigint, published bigint, heads bigint[]);
        INSERT INTO messages_ledger.now VALUES (0, NULL, NULL);
        CREATE VIEW messages_ledger.ledger_head AS
          SELECT '01020304-0000-0000-0000-000000000000'::uuid AS incarnation, 1 AS generation, 12 AS partitions, head, NULL::text AS cluster, published, heads
            FROM messages_ledger.now";
    connection.execute(ledger).await.unwrap();
    connection.execute("SET search_path = relay").await.unwrap();
    connection.execute(include_str!("../../src/log/checkpoints.sql")).await.unwrap();
    connection.execute("RESET search_path").await.unwrap();
    drop(connection);
    pool
}

async fn set_head(pool: &PgPool, head: i64, published: Option<(i64, Vec<i64>)>) {
    let (published, heads) = published.unzip();
    let set = sqlx::query("UPDATE messages_ledger.now SET head = $1, published = $2, heads = $3");
    set.bind(head).bind(published).bind(heads).execute(pool).await.unwrap();
}

fn heads(pool: &PgPool) -> Heads {
    Heads::new(BTreeMap::from([(Topic::Messages, pool.clone())]))
}

/// Waits that must end by what the test does, not by the bound.
async fn soon(wait: tokio::task::JoinHandle<bool>) {
    assert!(tokio::time::timeout(Duration::from_secs(5), wait).await.expect("it was woken").unwrap());
}

#[tokio::test]
async fn a_mark_is_covered_when_its_partition_is_applied_or_everything_has_been_scanned() {
    let reached = reached_without_redis();
    reached.advance("relay", Topic::Messages, &applied(&[(3, 10), (4, 99)]));
    assert!(reached.covers("relay", &[mark(3, 10), mark(4, 7)], SHORT).await);
    assert!(!reached.covers("relay", &[mark(3, 11)], SHORT).await);
    assert!(!reached.covers("relay", &[mark(5, 1)], SHORT).await);
    assert!(!reached.covers("conversations", &[mark(3, 10)], SHORT).await, "another projection");
    assert!(!reached.covers("relay", &[Mark { topic: Topic::Auth, ..mark(3, 10) }], SHORT).await, "another topic");
    assert!(reached.covers("conversations", &[], SHORT).await);
    reached.advance("relay", Topic::Messages, &scanned(50));
    assert!(reached.covers("relay", &[mark(3, 50), mark(7, 50)], SHORT).await);
    reached.advance("relay", Topic::Messages, &Progress { scanned: 1, ..applied(&[(4, 1)]) });
    assert!(reached.covers("relay", &[mark(3, 50), mark(4, 99)], SHORT).await, "a late report takes nothing back");
}

#[tokio::test]
async fn who_waits_is_woken_by_a_runner_of_this_process() {
    let reached = reached_without_redis();
    let wait = tokio::spawn({
        let reached = reached.clone();
        async move { reached.covers("relay", &[mark(0, 5)], LONG).await }
    });
    tokio::task::yield_now().await;
    for position in 1..=5 {
        reached.advance("relay", Topic::Messages, &scanned(position));
    }
    soon(wait).await;
}

#[tokio::test]
async fn who_waits_is_woken_by_a_runner_elsewhere() {
    let server = OwnRedis::started().await;
    let (here, there) = (
        Reached::new(connect(&server), BTreeMap::new(), Shutdown::new()),
        Reached::new(connect(&server), BTreeMap::new(), Shutdown::new()),
    );
    let mut position = 0;
    // Until the channel is followed, news are lost.
    let begin = Instant::now();
    loop {
        position += 1;
        there.advance("relay", Topic::Messages, &applied(&[(2, position)]));
        if here.covers("relay", &[mark(2, position)], SHORT).await {
            break;
        }
        assert!(begin.elapsed() < LONG);
    }
    let wait = tokio::spawn(async move { here.covers("relay", &[mark(2, position + 100)], LONG).await });
    for _ in 0..100 {
        position += 1;
        there.advance("relay", Topic::Messages, &applied(&[(2, position)]));
    }
    soon(wait).await;
}

#[tokio::test]
async fn without_news_the_checkpoints_are_read() {
    let pool = message_db().await;
    let reached = Reached::new(connect(&OwnRedis::planned()), BTreeMap::from([("relay", pool.clone())]), Shutdown::new());
    let checkpoint = async |partition: i32, position: i64, source: &str, offset: i64| {
        let upsert = sqlx::query(
            "INSERT INTO relay.checkpoints VALUES ('messages', $1, 1, 'live', gen_random_uuid(), 1, $2, $3, $4)
             ON CONFLICT (topic, partition) DO UPDATE SET last_position = $2, source = $3, next_offset = $4",
        );
        upsert.bind(partition).bind(position).bind(source).bind(offset).execute(&pool).await.unwrap();
    };
    checkpoint(3, 10, "kafka:a/b", 4711).await;
    assert!(reached.covers("relay", &[mark(3, 10)], LONG).await);
    assert!(!reached.covers("relay", &[mark(3, 4711)], SHORT).await, "a broker's offset is no position");
    let wait = tokio::spawn({
        let reached = reached.clone();
        async move { reached.covers("relay", &[mark(3, 20), mark(5, 30)], LONG).await }
    });
    checkpoint(3, 20, "ledger", 20).await;
    checkpoint(-1, 20, "ledger", 30).await;
    soon(wait).await;
    sqlx::query("UPDATE relay.checkpoints SET state = 'retired', next_offset = 99").execute(&pool).await.unwrap();
    assert!(!reached.covers("relay", &[mark(5, 31)], SHORT).await, "what a rebuild has retired says nothing");
}

#[tokio::test]
async fn a_wait_ends_at_its_bound_while_the_database_hangs() {
    let pool = message_db().await;
    let reached = Reached::new(connect(&OwnRedis::planned()), BTreeMap::from([("relay", pool.clone())]), Shutdown::new());
    let mut lock = pool.begin().await.unwrap();
    lock.execute("LOCK TABLE relay.checkpoints IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let begin = Instant::now();
    assert!(!reached.covers("relay", &[mark(0, 1)], SHORT).await);
    assert!(begin.elapsed() < SHORT * 5, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_head_is_reached_by_scanning_the_ledger_through_it() {
    let pool = message_db().await;
    let (reached, heads) = (reached_without_redis(), heads(&pool));
    assert!(reached.reaches_head("relay", &[Topic::Messages], &heads, LONG).await, "an empty ledger");
    set_head(&pool, 7, None).await;
    reached.advance("relay", Topic::Messages, &applied(&[(0, 7)]));
    assert!(!reached.reaches_head("relay", &[Topic::Messages], &heads, SHORT * 2).await, "one partition says nothing about the others");
    let wait = tokio::spawn({
        let reached = reached.clone();
        async move { reached.reaches_head("relay", &[Topic::Messages], &heads, LONG).await }
    });
    reached.advance("relay", Topic::Messages, &scanned(7));
    soon(wait).await;
}

#[tokio::test]
async fn a_head_is_reached_through_a_log_when_it_is_published_and_every_partition_is_applied() {
    let pool = message_db().await;
    let (reached, heads) = (reached_without_redis(), heads(&pool));
    set_head(&pool, 9, Some((5, vec![5, 4, 0]))).await;
    reached.advance("relay", Topic::Messages, &applied(&[(0, 5), (1, 4)]));
    assert!(!reached.reaches_head("relay", &[Topic::Messages], &heads, SHORT * 2).await, "what is not published cannot be applied");
    let wait = tokio::spawn({
        let (reached, heads) = (reached.clone(), heads.clone());
        async move { reached.reaches_head("relay", &[Topic::Messages], &heads, LONG).await }
    });
    set_head(&pool, 9, Some((9, vec![8, 9, 0]))).await;
    reached.advance("relay", Topic::Messages, &applied(&[(1, 9)]));
    assert!(!reached.reaches_head("relay", &[Topic::Messages], &heads, SHORT * 2).await, "partition 0 is missing");
    reached.advance("relay", Topic::Messages, &applied(&[(0, 8)]));
    soon(wait).await;
}

#[tokio::test]
async fn the_head_of_a_source_that_cannot_be_asked_is_never_reached() {
    let pool = message_db().await;
    let (reached, heads) = (reached_without_redis(), heads(&pool));
    reached.advance("relay", Topic::Messages, &scanned(i64::MAX));
    pool.close().await;
    assert!(!reached.reaches_head("relay", &[Topic::Messages], &heads, LONG).await);
    assert!(!reached.reaches_head("people", &[Topic::Auth], &heads, LONG).await, "nobody reads that ledger here");
}

struct State(Freshness);

impl FromRef<State> for Freshness {
    fn from_ref(state: &State) -> Self {
        state.0.clone()
    }
}

impl FromRef<State> for Tokens {
    fn from_ref(_: &State) -> Self {
        unreachable!("the caller is known already")
    }
}

async fn state(server: &OwnRedis, pool: &PgPool) -> State {
    let redis = connect(server);
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
    State(Freshness {
        marks: Marks::new(redis.clone(), &Shutdown::new()),
        heads: heads(pool),
        reached: Reached::new(redis, BTreeMap::new(), Shutdown::new()),
        pools: Arc::new(BTreeMap::from([("messages", pool.clone())])),
    })
}

fn user() -> UserId {
    UserId(Uuid::now_v7())
}

fn request(user: UserId, token: Option<&str>) -> Parts {
    let mut request = Request::builder();
    if let Some(token) = token {
        request = request.header("X-Consistency-Token", token);
    }
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    parts.extensions.insert(Behind::default());
    parts.extensions.insert(Caller { user, session: SessionId(Uuid::now_v7()), role: "user".to_owned(), token_ends: i64::MAX });
    parts
}

/// Whether the answer is marked as behind.
async fn read(state: &State, user: UserId, token: Option<&str>) -> Result<bool, Problem> {
    let mut parts = request(user, token);
    let fresh = Fresh::<(Conversations, Relay)>::from_request_parts(&mut parts, state).await?;
    assert!(!fresh.pools().0.is_closed());
    Ok(parts.extensions.get::<Behind>().unwrap().is_set())
}

fn token(incarnation: u32, position: i64) -> String {
    ConsistencyToken { incarnations: BTreeMap::from([(Topic::Messages, incarnation)]), marks: vec![mark(1, position)] }.encode()
}

const THIS_LIFE: u32 = 0x0102_0304;

#[tokio::test]
async fn a_read_waits_for_what_its_caller_did_in_every_model_it_reads() {
    let (server, pool) = (OwnRedis::started().await, message_db().await);
    let state = state(&server, &pool).await;
    let (ann, bob) = (user(), user());
    state.0.marks.leave(&[ann], &[mark(1, 8), Mark { topic: Topic::Auth, ..mark(1, 1000) }]).await;
    assert!(!read(&state, bob, None).await.unwrap(), "bob did nothing");

    state.0.reached.advance("conversations", Topic::Messages, &scanned(8));
    let begin = Instant::now();
    assert!(read(&state, ann, None).await.unwrap(), "relay is behind: the available answer, marked");
    assert!(begin.elapsed() >= BOUND && begin.elapsed() < BOUND * 2);

    let (reading, advancing) = tokio::join!(read(&state, ann, None), async {
        tokio::task::yield_now().await;
        state.0.reached.advance("relay", Topic::Messages, &scanned(8));
    });
    let () = advancing;
    assert!(!reading.unwrap());
}

#[tokio::test]
async fn a_read_with_a_token_has_what_it_names_or_is_refused() {
    let (server, pool) = (OwnRedis::started().await, message_db().await);
    let state = state(&server, &pool).await;
    set_head(&pool, 8, None).await;
    for model in ["conversations", "relay"] {
        state.0.reached.advance(model, Topic::Messages, &scanned(8));
    }
    assert!(!read(&state, user(), Some(&token(THIS_LIFE, 8))).await.unwrap());
    let begin = Instant::now();
    let problem = read(&state, user(), Some(&token(THIS_LIFE, 9))).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (StatusCode::SERVICE_UNAVAILABLE, "projection_behind"));
    assert!(problem.retry_after.is_some());
    assert!(begin.elapsed() >= BOUND);
    let begin = Instant::now();
    assert!(!read(&state, user(), Some(&token(0xdead_beef, 9))).await.unwrap(), "another life of the ledger asks for nothing");
    assert!(begin.elapsed() < BOUND / 2);
    for nonsense in ["", "1.", "abc", "1.____", "2.AAA"] {
        let problem = read(&state, user(), Some(nonsense)).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (StatusCode::UNPROCESSABLE_ENTITY, "consistency_token"), "{nonsense}");
    }
}

#[tokio::test]
async fn without_redis_reads_wait_for_the_heads_instead() {
    let (mut server, pool) = (OwnRedis::started().await, message_db().await);
    let state = state(&server, &pool).await;
    server.kill();
    set_head(&pool, 3, None).await;
    let (ann, reached) = (user(), state.0.reached.clone());
    state.0.marks.leave(&[ann], &[mark(1, 3)]).await;
    let (reading, ()) = tokio::join!(read(&state, ann, None), async {
        tokio::task::yield_now().await;
        reached.advance("conversations", Topic::Messages, &scanned(3));
        reached.advance("relay", Topic::Messages, &scanned(3));
    });
    assert!(!reading.unwrap());
    assert!(state.0.settle::<Relay>(&[ann]).await);
    assert!(!state.0.settle::<People>(&[ann]).await, "its source cannot be asked");
}

#[tokio::test]
async fn a_command_settles_on_marks_and_refuses_on_heads() {
    let (server, pool) = (OwnRedis::started().await, message_db().await);
    let state = state(&server, &pool).await;
    let ann = user();
    state.0.marks.leave(&[ann], &[mark(1, 8)]).await;
    set_head(&pool, 20, None).await;
    state.0.reached.advance("relay", Topic::Messages, &scanned(8));
    assert!(state.0.settle::<Relay>(&[user(), ann]).await, "a pass needs what ann did, not the head");
    assert!(state.0.settle::<People>(&[ann]).await, "she did nothing in that topic");
    let problem = state.0.or_refuse::<Relay>().await.unwrap_err();
    assert_eq!((problem.status, problem.code), (StatusCode::SERVICE_UNAVAILABLE, "projection_behind"));
    state.0.reached.advance("relay", Topic::Messages, &scanned(20));
    state.0.or_refuse::<Relay>().await.unwrap();
    state.0.or_refuse::<People>().await.unwrap_err();
}
