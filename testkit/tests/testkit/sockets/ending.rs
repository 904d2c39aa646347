//! How sockets end: with their session, with the process, or because nobody reads them.

use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::AssertSqlSafe;
use testkit::person::Person;
use testkit::servers::Pair;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;

use super::{acknowledge, messages, people, send, until_message};

const BOUND: Duration = Duration::from_secs(10);
const A_SECOND: Duration = Duration::from_millis(1_500);

#[tokio::test]
async fn a_session_that_ends_takes_its_sockets_along_and_no_others_in_every_process() {
    let servers = Pair::start().await;
    let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
    let (one, two) = tokio::join!(System::start(config.clone()), System::start(config));
    let ann = Person::register(&one, "ann").await;
    let other = ann.login().await;
    let (mut here, mut there) = (Socket::open(&ann).await, Socket::open(&ann.at(&two)).await);
    let (mut stays, mut stays_there) = (Socket::open(&other).await, Socket::open(&other.at(&two)).await);
    assert_eq!(ann.post("/api/v1/auth/logout", json!({})).await.status, 200);
    let began = Instant::now();
    for socket in [&mut here, &mut there] {
        assert_eq!(socket.ended_within(Duration::from_secs(10)).await.code, 4001);
        assert!(began.elapsed() < A_SECOND, "{:?}", began.elapsed());
    }
    stays.before_pong().await;
    stays_there.before_pong().await;
}

#[tokio::test]
async fn a_session_that_ends_while_its_socket_opens_takes_it_along() {
    let mut system = System::start(SystemConfig::default()).await;
    // What an opening socket looks up: first of all, and when everybody but its client knows of it.
    for (database, table, by_header) in [("message_db", "blocks.blocks", Err(401)), ("user_db", "contacts.contacts", Ok(4001))] {
        let people = [Person::register(&system, "ann").await, Person::register(&system, "bob").await];
        let mut postgres = system.postgres(database).await;
        sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")))
            .execute(&mut postgres)
            .await
            .expect("it locks");
        let [browser, native] = people.clone();
        let opening = tokio::spawn(async move { Socket::connect(&browser, "").await });
        let header = format!("Bearer {}", native.token);
        let opening_by_header = tokio::spawn(async move { Socket::dial(&native.socket_url(), &[("authorization", &header)]).await });
        wait_until("both wait", BOUND, async || {
            let waiting = format!("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = '{table}'::regclass");
            let waiting: i64 = sqlx::query_scalar(AssertSqlSafe(waiting)).fetch_one(&mut postgres).await.expect("it answers");
            (waiting >= 2).then_some(())
        })
        .await;
        for who in &people {
            assert_eq!(who.post("/api/v1/auth/logout", json!({})).await.status, 200);
        }
        sqlx::raw_sql("ROLLBACK").execute(&mut postgres).await.expect("it unlocks");
        let ended = opening.await.expect("no panic").expect("a browser sees no other answer").ended_within(BOUND).await;
        assert_eq!((ended.code, ended.frames), (4001, vec![]), "{table}");
        let by_other = match opening_by_header.await.expect("no panic") {
            Ok(mut socket) => Ok(socket.ended_within(BOUND).await.code),
            Err(refused) => Err(refused.status),
        };
        assert_eq!(by_other, by_header, "{table}");
    }
    system.stop().await;
}

#[tokio::test]
async fn a_token_that_expires_ends_its_socket() {
    let mut system = System::start(SystemConfig::default().env("POSTRIDER_AUTH__ACCESS_TOKEN_SECONDS", 4)).await;
    let ann = Person::register(&system, "ann").await;
    let began = Instant::now();
    let mut socket = Socket::open(&ann).await;
    assert_eq!(socket.ended_within(Duration::from_secs(10)).await.code, 4001);
    let lived = began.elapsed();
    assert!((Duration::from_secs(2)..Duration::from_secs(4) + A_SECOND).contains(&lived), "{lived:?}");
    system.stop().await;
}

#[tokio::test]
async fn a_stop_ends_sockets_with_1012_and_whoever_comes_back_has_missed_nothing() {
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob) = people(&system).await;
    let (mut bobs, cursor) = {
        let mut socket = Socket::open(&bob).await;
        let id = send(&ann, &bob, "before").await;
        until_message(&mut socket, id).await;
        let cursor = socket.cursor();
        (socket, cursor)
    };
    let ended = tokio::spawn(async move { bobs.ended_within(Duration::from_secs(10)).await });
    let (status, took) = system.stop().await;
    assert!(status.success() && took < Duration::from_secs(8), "{status} after {took:?}");
    assert_eq!(ended.await.expect("no panic").code, 1012);
    system.start_again();
    system.ready().await;
    let after = send(&ann, &bob, "after").await;
    let mut back = Socket::open_after(&bob, &cursor).await;
    assert_eq!(messages(&until_message(&mut back, after).await), [after]);
}

#[tokio::test]
async fn whoever_does_not_read_is_ended_without_holding_up_others_and_finds_everything_again() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (mut slow, mut quick) = (Socket::open(&bob).await, Socket::open(&bob).await);
    let cursor = slow.cursor();
    let content = "x".repeat(200 * 1024);
    let mut sent = Vec::new();
    // More than a megabyte beyond what the kernel holds for a client that does not read.
    for _ in 0..60 {
        let id = send(&ann, &bob, &content).await;
        until_message(&mut quick, id).await;
        acknowledge(&bob, id).await;
        sent.push(id);
    }
    let ended = slow.ended_within(Duration::from_secs(20)).await;
    assert_eq!(ended.code, 4008, "{}", ended.reason);
    let seen = messages(&ended.frames);
    assert_eq!(seen, sent[..seen.len()]);
    assert!(seen.len() < sent.len());
    let cursor = if seen.is_empty() { cursor } else { slow.cursor() };
    let mut back = Socket::open_after(&bob, &cursor).await;
    assert_eq!(messages(&back.until(|frame| frame["type"] == "resumed").await), sent[seen.len()..]);
}

#[tokio::test]
async fn two_processes_each_tell_every_socket_of_a_user_everything_once() {
    let servers = Pair::start().await;
    let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
    let (mut one, two) = tokio::join!(System::start(config.clone()), System::start(config));
    let (ann, bob) = people(&one).await;
    let (mut here, mut there) = (Socket::open(&bob).await, Socket::open(&bob.at(&two)).await);
    let mut sent = Vec::new();
    for n in 0..20 {
        let from = if n % 2 == 0 { ann.clone() } else { ann.at(&two) };
        sent.push(send(&from, &bob, &format!("message {n}")).await);
    }
    for socket in [&mut here, &mut there] {
        assert_eq!(messages(&until_message(socket, sent[19]).await), sent);
    }
    // A cursor of one is good at the other, also when the one is dead.
    let cursor = here.cursor();
    one.kill();
    let ann = ann.at(&two);
    let last = send(&ann, &bob, "last").await;
    assert_eq!(messages(&until_message(&mut there, last).await), [last]);
    let mut back = Socket::open_after(&bob.at(&two), &cursor).await;
    assert_eq!(messages(&back.until(|frame| frame["type"] == "resumed").await), [last]);
}
