//! Below the requests: methods, heads and bodies as clients of every kind write them, and clients that leave.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use testkit::person::{Answer, Person};
use testkit::system::{MACHINE, System, SystemConfig};
use testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

async fn connect(system: &System) -> TcpStream {
    TcpStream::connect(("127.0.0.1", system.port)).await.expect("it listens")
}

/// Writes bytes as they are and reads to the end of the connection, 50 s at most.
async fn say(system: &System, bytes: &[u8]) -> String {
    let mut stream = connect(system).await;
    // Who is refused early cannot write the rest.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(50), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection was not closed; it brought {:?}", String::from_utf8_lossy(&answer));
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {answer:?}"))
}

fn send(token: &str, to: Uuid, id: Uuid) -> String {
    let body = Person::message(to, id, "hello").to_string();
    format!(
        "POST /api/v1/messages/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for path in [
        "/api/v1/auth/me".to_owned(),
        format!("/api/v1/users/{}", ann.id),
        format!("/api/v1/messages/conversation/{}", ann.id),
        "/api/v1/relay/pending".to_owned(),
        "/.well-known/jwks.json".to_owned(),
        "/health".to_owned(),
    ] {
        let get = ann.ask(Method::GET, &path, None).await.expect("an answer");
        let head = ann.ask(Method::HEAD, &path, None).await.expect("an answer");
        assert_eq!((head.status.as_u16(), head.text.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("content-type"), get.header("content-type"), "{path}");
    }
    let answer = testkit::person::http().head(system.url("/api/v1/auth/me")).send().await.expect("an answer");
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn options_is_public_and_names_the_methods() {
    let system = System::shared().await;
    for (path, methods) in
        [("/api/v1/auth/me", "GET"), ("/api/v1/messages/send", "POST"), ("/api/v1/relay/pending", "GET"), ("/api/v1/auth/login", "POST")]
    {
        let request = testkit::person::http().request(Method::OPTIONS, system.url(path));
        let answer = Answer::to(request).await.expect("an answer");
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), (204, ""), "{path}");
        assert!(answer.header("allow").is_some_and(|allow| allow.split(',').any(|m| m.trim() == methods)), "{path}: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_and_says_which_are_right() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    for (method, path, right) in [
        (Method::PUT, "/api/v1/auth/me".to_owned(), "GET"),
        (Method::GET, "/api/v1/auth/login".to_owned(), "POST"),
        (Method::GET, "/api/v1/messages/send".to_owned(), "POST"),
        (Method::POST, "/api/v1/relay/pending".to_owned(), "GET"),
        (Method::GET, format!("/api/v1/relay/{}", Uuid::now_v7()), "DELETE"),
        (Method::from_bytes(b"BREW").expect("a token"), "/api/v1/auth/me".to_owned(), "GET"),
    ] {
        let answer = ann.ask(method.clone(), &path, None).await.expect("an answer");
        assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
        let allow = answer.header("allow").unwrap_or_default();
        assert!(allow.split(',').any(|m| m.trim() == right), "{method} {path}: Allow: {allow}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["code"], "method_not_allowed");
    }
}

#[tokio::test]
async fn a_malformed_head_is_refused_on_its_own_connection_alone() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let before = bob.pending().await;
    let token = &ann.token;
    for (what, head) in [
        ("nonsense", "\0\u{1}\u{2} nonsense\r\n\r\n".to_owned()),
        ("another protocol", "GET / HTTP/9.9\r\nHost: x\r\n\r\n".to_owned()),
        ("a header without a name", "GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n".to_owned()),
        ("two lengths", "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}".to_owned()),
        ("a length that is none", "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}".to_owned()),
        ("a head without an end", format!("GET / HTTP/1.1\r\nHost: x\r\nX-Filler: {}\r\n\r\n", "x".repeat(1 << 20))),
        ("too many headers", format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Filler: x\r\n".repeat(5_000))),
        ("an endless path", format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000))),
        (
            "a chunk that is none",
            format!(
                "POST /api/v1/messages/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
            ),
        ),
    ] {
        let answer = say(system, head.as_bytes()).await;
        assert!((400..500).contains(&status(&answer)), "{what}: {answer}");
    }
    for path in ["/api/v1/users/%ff%fe", "/api/v1/users/%zz", "/api/v1/users/%00", "/api/v1/messages/conversation/..%2f..%2fetc"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        let answer = say(system, head.as_bytes()).await;
        assert!([404, 422].contains(&status(&answer)), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
    let query =
        format!("GET /api/v1/relay/pending?user_id=%ff HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(&say(system, query.as_bytes()).await), 422);
    assert_eq!(bob.pending().await, before);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let head = format!(
        "POST /api/v1/messages/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nConnection: close\r\n",
        ann.token
    );
    let begin = Instant::now();
    let announced = say(system, format!("{head}Expect: 100-continue\r\nContent-Length: 2000000\r\n\r\n").as_bytes()).await;
    assert_eq!(status(&announced), 413, "{announced}");
    assert!(begin.elapsed() < Duration::from_secs(10), "nobody waited for it");
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(32));
    let chunked = say(system, chunked.as_bytes()).await;
    assert_eq!(status(&chunked), 413, "{chunked}");
    assert!(chunked.contains("application/problem+json"), "{chunked}");
}

#[tokio::test]
async fn a_send_whose_client_hangs_up_is_carried_out_whole_or_not_at_all() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let mut ids = Vec::new();
    for n in 0..60 {
        let id = Uuid::now_v7();
        let mut stream = connect(system).await;
        stream.write_all(send(&ann.token, bob.id, id).as_bytes()).await.expect("written");
        if n % 2 == 0 {
            // As late as possible: its connection is reset while the command runs.
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_micros(200 * (n % 30))).await;
        }
        drop(stream);
        ids.push(id);
    }
    // Half a body is no request.
    for _ in 0..5 {
        let whole = send(&ann.token, bob.id, Uuid::now_v7());
        let mut stream = connect(system).await;
        stream.write_all(&whole.as_bytes()[..whole.len() - 10]).await.expect("written");
    }
    // Whoever hung up asks again, as clients do, and gets the first answer.
    let mut first_times = Vec::new();
    for id in &ids {
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, *id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        first_times.push(answer.json()["created_at"].as_str().expect("a time").to_owned());
    }
    let mut expected = ids.clone();
    expected.sort_unstable();
    for found in [bob.conversation(ann.id).await, ann.conversation(bob.id).await, bob.pending().await] {
        let mut found = found;
        found.sort_unstable();
        assert_eq!(found, expected, "each of them once, and nothing of the halves");
    }
    let retried = ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "later")).await;
    let retried = retried.json()["created_at"].as_str().expect("a time").to_owned();
    assert!(first_times.iter().all(|time| *time < retried));
}

#[tokio::test]
async fn a_command_that_has_begun_ends_though_its_client_is_gone() {
    // Of its own: what is locked here is locked for everybody.
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    // Nobody has written to Bob before, so that the command has to ask who he is: and there it is held up.
    let mut holder = system.postgres("message_db").await;
    let mut holding = holder.begin().await.expect("a transaction");
    sqlx::query("LOCK TABLE people.people IN ACCESS EXCLUSIVE MODE").execute(&mut *holding).await.expect("the lock");
    let id = Uuid::now_v7();
    let mut stream = connect(&system).await;
    stream.write_all(send(&ann.token, bob.id, id).as_bytes()).await.expect("written");
    wait_until("the command has begun", Duration::from_secs(10), async || {
        let waiting =
            "SELECT count(*) FROM pg_locks WHERE relation = 'people.people'::regclass AND mode = 'AccessShareLock' AND NOT granted";
        let waiting: (i64,) = sqlx::query_as(waiting).fetch_one(&mut *holding).await.expect("an answer");
        (waiting.0 > 0).then_some(())
    })
    .await;
    stream.shutdown().await.expect("said that nothing more comes");
    let mut answer = Vec::new();
    let gone = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut answer)).await;
    assert!(gone.is_ok_and(|read| read.is_err() || answer.is_empty()), "its connection is let go without an answer");
    holding.commit().await.expect("the lock is let go");
    wait_until("the message arrives", Duration::from_secs(10), async || (bob.pending().await == [id]).then_some(())).await;
}

#[tokio::test]
async fn who_never_finishes_a_request_is_let_go_and_keeps_nobody_waiting() {
    let _alone = MACHINE.lock().await;
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let token = ann.token.clone();
    let dribble = |head: String| async move {
        let mut stream = connect(system).await;
        let begin = Instant::now();
        let mut answer = Vec::new();
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut buffer = [0; 4096];
        loop {
            assert!(begin.elapsed() < Duration::from_secs(45), "it is still open after {:?}", begin.elapsed());
            match tokio::time::timeout(Duration::from_secs(1), stream.read(&mut buffer)).await {
                Ok(Ok(0) | Err(_)) => return String::from_utf8_lossy(&answer).into_owned(),
                Ok(Ok(count)) => answer.extend_from_slice(&buffer[..count]),
                // One byte a second keeps nothing open for ever.
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                }
            }
        }
    };
    let slow_heads = futures::future::join_all((0..200).map(|_| dribble("GET /api/v1/auth/me HTTP/1.1\r\nX-Slow: ".to_owned())));
    let body = format!(
        "POST /api/v1/messages/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{{"
    );
    let slow_bodies = futures::future::join_all((0..200).map(|_| dribble(body.clone())));
    let others = async {
        for _ in 0..50 {
            let begin = Instant::now();
            let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, Uuid::now_v7(), "hello")).await;
            assert_eq!(answer.status, 200);
            assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
        }
    };
    let (heads, bodies, ()) = tokio::join!(slow_heads, slow_bodies, others);
    for answer in heads {
        assert!(answer.is_empty() || status(&answer) == 408, "{answer}");
    }
    for answer in bodies {
        assert_eq!(status(&answer), 408, "{answer}");
        let document = answer.split("\r\n\r\n").nth(1).expect("a body");
        let problem: Value = serde_json::from_str(document).unwrap_or_else(|_| panic!("a problem document: {answer}"));
        assert_eq!(problem["code"], json!("request_timeout"));
    }
    assert_eq!(bob.pending().await.len(), 50);
}
