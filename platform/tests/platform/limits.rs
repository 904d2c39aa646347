use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use platform::http::api::{Api, get, post};
use platform::http::{Guard, guarded, serve};
use platform::limits::{Class, Limits, Networks, Rate, Rates, Subject};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::UserId;
use testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

use crate::own_redis::OwnRedis;

const LONG: Duration = Duration::from_secs(10);

fn somebody() -> Subject {
    Subject::User(UserId(Uuid::now_v7()))
}

/// A process of its own, as far as limits are concerned.
async fn process(server: &OwnRedis, rate: Rate) -> Limits {
    let redis = Redis::connect_to_own(&server.url(), Shutdown::new()).unwrap();
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
    Limits::shared(Rates::all(rate), Networks::default(), redis, "salt".into())
}

/// How many of so many requests, all at once, may go on.
async fn at_once(limits: &Limits, subject: Subject, requests: usize) -> u32 {
    let all = (0..requests).map(|_| limits.take(Class::Sends, subject));
    futures::future::join_all(all).await.into_iter().map(|standing| u32::from(standing.allowed)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_further_process_that_meets_a_flood_exceeds_the_limit_by_an_eighth_at_most() {
    let server = OwnRedis::started().await;
    let rate = Rate::per_second(1, 100);
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(process(&server, rate).await);
    }
    let (ann, begin) = (somebody(), Instant::now());
    let floods = processes.into_iter().map(|limits| tokio::spawn(async move { at_once(&limits, ann, 300).await }));
    let allowed: u32 = futures::future::join_all(floods).await.into_iter().map(|count| count.unwrap()).sum();
    let came_back = begin.elapsed().as_secs_f64().ceil();
    assert!((97.0..=100.0 + 3.0 * 12.5 + came_back).contains(&f64::from(allowed)), "{allowed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_meets_somebody_anew_exceeds_their_limit_by_an_eighth_at_most_and_they_pay_for_it() {
    let server = OwnRedis::started().await;
    let rate = Rate::per_second(10, 100);
    let (one, two) = (process(&server, rate).await, process(&server, rate).await);
    let (ann, begin) = (somebody(), Instant::now());
    let mut allowed = at_once(&one, ann, 300).await;
    assert!(allowed >= 100, "{allowed}");
    allowed += at_once(&two, ann, 300).await;
    let came_back = begin.elapsed().as_secs_f64() * 10.0;
    assert!(f64::from(allowed) <= 112.5 + came_back.ceil(), "{allowed} and {came_back} came back");
    // Asking on and on, at both, brings no more than comes back by itself.
    while begin.elapsed() < Duration::from_secs(4) {
        allowed += at_once(&one, ann, 5).await + at_once(&two, ann, 5).await;
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let due = 100.0 + begin.elapsed().as_secs_f64() * 10.0;
    assert!(f64::from(allowed) <= due + 4.0 && f64::from(allowed) >= due - 8.0, "{allowed} of {due}");
    // Nobody else feels any of it.
    assert!(two.take(Class::Sends, somebody()).await.allowed && two.take(Class::Reads, ann).await.allowed);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_far_from_their_limit_never_waits_for_redis() {
    let server = OwnRedis::started().await;
    let limits = process(&server, Rate::per_second(100, 500)).await;
    let ann = somebody();
    server.hang();
    let begin = Instant::now();
    assert_eq!(at_once(&limits, ann, 60).await, 60);
    assert!(begin.elapsed() < Duration::from_millis(90), "{:?}", begin.elapsed());
    server.go_on();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_redis_is_away_each_process_counts_for_itself_and_what_was_spent_is_owed() {
    let mut server = OwnRedis::started().await;
    let rate = Rate::per_second(1, 100);
    let (one, two) = (process(&server, rate).await, process(&server, rate).await);
    let ann = somebody();
    server.kill();
    for limits in [&one, &two] {
        let allowed = at_once(limits, ann, 300).await;
        assert!((100..=102).contains(&allowed), "{allowed}");
    }
    server.start().await;
    wait_until("both have told what was spent", LONG, async || {
        one.take(Class::Sends, ann).await;
        two.take(Class::Sends, ann).await;
        let level = server.directly().await;
        owed(level, ann).await.filter(|level| *level < -80.0).map(drop)
    })
    .await;
}

async fn owed(mut redis: ::redis::aio::MultiplexedConnection, subject: Subject) -> Option<f64> {
    let Subject::User(user) = subject else { return None };
    let kept: Option<String> = ::redis::cmd("GET").arg(format!("limit:sends:{user}")).query_async(&mut redis).await.unwrap();
    kept?.split(' ').next()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_told_no_address_and_forgets_who_has_all_of_theirs_again() {
    let server = OwnRedis::started().await;
    let limits = process(&server, Rate::per_second(10, 2)).await;
    let address: IpAddr = "203.0.113.77".parse().unwrap();
    limits.take(Class::Public, Subject::address(address)).await;
    let mut redis = server.directly().await;
    let mut keys = async || -> Vec<String> { ::redis::cmd("KEYS").arg("limit:*").query_async(&mut redis).await.unwrap() };
    let (found, wait) = (keys().await, Instant::now());
    for key in &found {
        assert!(!key.contains("203"), "{key}");
    }
    wait_until("it is forgotten", LONG, async || keys().await.is_empty().then_some(())).await;
    assert!(wait.elapsed() < LONG);
}

#[tokio::test]
async fn of_ipv6_a_network_is_counted_of_ipv4_an_address() {
    let limits = Limits::alone(Rates::all(Rate::per_second(1, 2)), "192.0.2.0/24".parse().unwrap());
    let allowed = async |address: &str| limits.take(Class::Public, Subject::address(address.parse().unwrap())).await.allowed;
    assert!(allowed("2001:db8::1").await && allowed("2001:db8::2:3").await);
    assert!(!allowed("2001:db8::ffff:4").await, "its neighbours have used it up");
    assert!(allowed("2001:db8:0:1::1").await);
    assert!(allowed("203.0.113.1").await && allowed("::ffff:203.0.113.1").await && !allowed("203.0.113.1").await);
    for _ in 0..10 {
        assert!(allowed("192.0.2.1").await, "exempt");
    }
}

#[tokio::test]
async fn however_many_addresses_there_are_a_process_remembers_a_bounded_number() {
    let limits = Limits::alone(Rates::all(Rate::per_second(1, 2)), Networks::default());
    for n in 0..200_000_u128 {
        let address = Ipv6Addr::from_bits(0x2001_0db8_u128 << 96 | n << 64);
        assert!(limits.take(Class::Public, Subject::address(address.into())).await.allowed);
    }
    assert!(limits.remembered() <= 65_536, "{}", limits.remembered());
}

fn api() -> Api {
    Api::new()
        .route(post("/public", async || axum::response::NoContent).says("t.a", "s", "t"))
        .route(post("/logins", async || axum::response::NoContent).says("t.b", "s", "t").counts_address(Class::Logins))
        .route(get("/free", async || axum::response::NoContent).says("t.c", "s", "t").counts_nothing())
}

/// A guarded server, where only what a proxy on this machine says of addresses counts.
async fn server(rate: Rate) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits::alone(Rates::all(rate), Networks::default());
    let router = guarded(api(), Guard { limits, proxies: "127.0.0.0/8".parse().unwrap() });
    tokio::spawn(serve(listener, router, Shutdown::new()));
    address
}

async fn ask(server: std::net::SocketAddr, method: &str, path: &str, client: &str) -> (u16, [Option<u32>; 4]) {
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let request = reqwest::Client::new().request(method, format!("http://{server}{path}")).header("x-forwarded-for", client);
    let answer = request.send().await.unwrap();
    let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok()?.parse().ok());
    let headers = ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "retry-after"].map(header);
    (answer.status().as_u16(), headers)
}

#[tokio::test]
async fn every_answer_says_what_is_left_and_one_too_many_when_to_come_again() {
    let server = server(Rate::per_minute(2)).await;
    assert_eq!(ask(server, "POST", "/public", "203.0.113.1").await, (204, [Some(2), Some(1), Some(30), None]));
    // Unknown paths and methods are public, too.
    assert_eq!(ask(server, "GET", "/nowhere", "203.0.113.1").await, (404, [Some(2), Some(0), Some(60), None]));
    assert_eq!(ask(server, "DELETE", "/public", "203.0.113.1").await, (429, [Some(2), Some(0), Some(60), Some(30)]));
    // Other kinds, and other people, are counted apart.
    assert_eq!(ask(server, "POST", "/logins", "203.0.113.1").await.0, 204);
    assert_eq!(ask(server, "GET", "/free", "203.0.113.1").await, (204, [Some(2), Some(0), Some(60), None]));
    assert_eq!(ask(server, "OPTIONS", "/public", "203.0.113.1").await.0, 204);
    assert_eq!(ask(server, "POST", "/public", "203.0.113.2").await.0, 204);
}

#[tokio::test]
async fn a_request_that_is_one_too_many_is_answered_before_its_body_comes() {
    let server = server(Rate::per_hour(1)).await;
    assert_eq!(ask(server, "POST", "/public", "203.0.113.1").await.0, 204);
    let mut client = TcpStream::connect(server).await.unwrap();
    let head = "POST /public HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.1\r\ncontent-length: 1000000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tokio::time::timeout(LONG, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 429");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_takes_no_settlement_keeps_nobody_waiting() {
    let server = OwnRedis::started().await;
    let limits = process(&server, Rate::per_second(1, 100)).await;
    let mut redis = server.directly().await;
    let forbid = ::redis::cmd("ACL").arg(&["SETUSER", "default", "-eval", "-evalsha", "-script"]).exec_async(&mut redis).await;
    forbid.unwrap();
    let begin = Instant::now();
    let allowed = at_once(&limits, somebody(), 300).await;
    assert!((100..=102).contains(&allowed), "{allowed}");
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
}
