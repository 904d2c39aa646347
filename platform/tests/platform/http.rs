//! What every route has in common, seen from outside.

use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::{get, post};
use futures::FutureExt;
use platform::auth::Caller;
use platform::fresh::Behind;
use platform::http::{AllowedOrigins, Id, IdempotencyKey, Problem, Valid, Validate, Violations, cors, detached, health, routes, serve};
use platform::shutdown::Shutdown;
use reqwest::header::HeaderMap;
use schemas::{SessionId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

const ANN: &str = "0190a5e0-0000-7000-8000-00000000000a";
const FRONTEND: &str = "https://chat.example.org";
const BOB: &str = "0190a5e0-0000-7000-8000-00000000000b";

#[derive(Deserialize)]
struct Note {
    text: String,
    sender_id: Option<UserId>,
}

impl Validate for Note {
    fn validate(&self) -> Result<(), Violations> {
        Violations::new().when(self.text.is_empty(), "text", "must not be empty").finish()
    }
    fn must_be_caller(&self) -> Vec<Option<UserId>> {
        vec![self.sender_id]
    }
}

/// Stands for a verified caller, without tokens.
async fn as_ann(mut request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    let caller = Caller { user: ANN.parse().unwrap(), session: SessionId(Uuid::nil()), role: "user".into(), token_ends: 0 };
    request.extensions_mut().insert(caller);
    next.run(request).await
}

#[derive(Deserialize)]
struct Page {
    limit: u8,
}

fn sample(shutdown: &Shutdown) -> Router {
    let (slow, begun) = (shutdown.clone(), shutdown.clone());
    Router::new()
        .route(
            "/notes",
            post(async |key: IdempotencyKey, Valid { body, sha256 }: Valid<Note>| format!("{} {:02x?}", body.text, key.digest(&sha256)[0]))
                .layer(axum::middleware::from_fn(as_ann)),
        )
        .route("/notes/{id}", get(async |Id(id): Id<UserId>| id.to_string()))
        .route("/page", get(async |Query(page): Query<Page>| page.limit.to_string()))
        .route("/panic", get(async || if true { panic!("planted secret") } else { "" }))
        .route("/refused", get(async || Problem::unavailable("busy", "Come again")))
        .route("/unauthenticated", post(async || Problem::unauthenticated()))
        .route("/behind", get(async |axum::Extension(behind): axum::Extension<Behind>| behind.set()))
        .route(
            "/slow",
            get(async move || {
                slow.draining().await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                "finished"
            }),
        )
        .route(
            "/detached",
            get(async move || {
                detached(&begun, async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    if true { panic!("planted secret") } else { Ok(()) }
                })
                .await
            }),
        )
}

struct Server {
    address: std::net::SocketAddr,
    shutdown: Shutdown,
    served: tokio::task::JoinHandle<std::io::Result<()>>,
    client: reqwest::Client,
}

impl Server {
    async fn start() -> Self {
        let shutdown = Shutdown::new();
        let readiness = health::Readiness::new();
        readiness.require("postgres");
        let router = routes(sample(&shutdown).merge(health::router("sample", readiness)));
        let router = cors(router, AllowedOrigins::new([FRONTEND, "http://localhost:3000"]));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = tokio::spawn(serve(listener, router, shutdown.clone()));
        Self { address, shutdown, served, client: reqwest::Client::new() }
    }
    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    async fn post(&self, body: impl Into<reqwest::Body>) -> (u16, HeaderMap, Value) {
        parts(self.client.post(self.url("/notes")).header("content-type", "application/json").body(body)).await
    }
    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

async fn parts(request: reqwest::RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn is_problem((status, headers, body): &(u16, HeaderMap, Value), expected: u16, code: &str) {
    assert_eq!((*status, body["code"].as_str()), (expected, Some(code)), "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["status"], json!(expected));
    assert_eq!(headers["x-request-id"].to_str().unwrap(), body["request_id"].as_str().unwrap());
    for field in ["type", "title", "detail"] {
        assert!(body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {body}");
    }
}

#[tokio::test]
async fn every_error_is_a_problem_document_with_the_requests_id() {
    let server = Server::start().await;
    let table = [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/notes", 405, "method_not_allowed"),
        ("GET", "/notes/not-a-uuid", 422, "invalid"),
        ("GET", "/notes/%00", 422, "invalid"),
        ("GET", "/page?limit=many", 422, "invalid"),
        ("GET", "/panic", 500, "internal"),
        ("GET", "/detached", 500, "internal"),
        ("GET", "/refused", 503, "busy"),
        ("POST", "/unauthenticated", 401, "unauthenticated"),
    ];
    for (method, path, status, code) in table {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let answer = parts(server.client.request(method, server.url(path)).header("x-request-id", "r-1")).await;
        is_problem(&answer, status, code);
        assert_eq!(answer.2["request_id"], "r-1");
        assert!(!answer.2.to_string().contains("secret"), "{path} shows its inside");
        assert_eq!(answer.1["x-content-type-options"], "nosniff");
        match path {
            "/notes" => assert_eq!(answer.1["allow"], "POST"),
            "/refused" => assert_eq!(answer.1["retry-after"], "1"),
            "/unauthenticated" => assert_eq!(answer.1["www-authenticate"], "Bearer"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_body_is_refused_with_the_status_that_says_why() {
    let server = Server::start().await;
    let big = json!({"text": "x".repeat(2 * 1024 * 1024)}).to_string();
    let table: Vec<(String, u16, &str, &str)> = vec![
        (String::new(), 422, "invalid", "text"),
        ("not json".into(), 422, "invalid", "body"),
        (r#"{"text":7}"#.into(), 422, "invalid", "text"),
        (r#"{"text":null}"#.into(), 422, "invalid", "text"),
        (r#"{"text":""}"#.into(), 422, "invalid", "text"),
        (r#"{"text":"a\u0000b"}"#.into(), 422, "invalid", "text"),
        (r#"{"text":"x","sender_id":"7"}"#.into(), 422, "invalid", "sender_id"),
        (json!({"text": "x", "sender_id": BOB}).to_string(), 403, "not_yourself", ""),
        (big, 413, "too_large", ""),
    ];
    for (body, status, code, field) in table {
        let answer = server.post(body).await;
        is_problem(&answer, status, code);
        if !field.is_empty() {
            assert_eq!(answer.2["errors"][0]["field"], field);
        }
    }
    let (status, _, body) = server.post(json!({"text": "hello", "sender_id": ANN.to_uppercase(), "more": 1}).to_string()).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_is_cut_off_at_the_limit() {
    let server = Server::start().await;
    let pieces = futures::stream::iter((0..64).map(|_| Ok::<_, std::io::Error>(vec![b' '; 64 * 1024])));
    is_problem(&server.post(reqwest::Body::wrap_stream(pieces)).await, 413, "too_large");
}

#[tokio::test]
async fn only_json_is_json_and_an_empty_body_needs_no_type() {
    let server = Server::start().await;
    let table = [
        (Some("text/plain"), r#"{"text":"x"}"#, 415),
        (Some("application/jsonx"), r#"{"text":"x"}"#, 415),
        (Some("application/json; charset=latin1"), r#"{"text":"x"}"#, 415),
        (None, r#"{"text":"x"}"#, 415),
        (Some("text/plain"), "", 415),
        (None, "", 422),
        (Some("application/json"), "", 422),
        (Some("application/json"), r#"{"text":"x"}"#, 200),
        (Some("Application/JSON; charset=\"UTF-8\""), r#"{"text":"x"}"#, 200),
    ];
    for (kind, body, expected) in table {
        let mut request = server.client.post(server.url("/notes")).body(body);
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let answer = parts(request).await;
        assert_eq!(answer.0, expected, "{kind:?} {body}: {}", answer.2);
        if expected == 415 {
            is_problem(&answer, 415, "unsupported_media_type");
        }
    }
}

#[tokio::test]
async fn an_idempotency_key_is_visible_ascii_and_bound_to_route_and_body() {
    let server = Server::start().await;
    for (key, expected) in [("k-1", 200), ("with space", 422), ("", 422), (&*"k".repeat(255), 200), (&*"k".repeat(256), 422)] {
        let request = server.client.post(server.url("/notes")).header("idempotency-key", key).json(&json!({"text": "x"}));
        assert_eq!(parts(request).await.0, expected, "{key:?}");
    }
    let of = |route: &str, body: u8| IdempotencyKey { key: None, route: route.into() }.digest(&[body; 32]);
    assert_eq!(of("POST /a", 1), of("POST /a", 1));
    assert_ne!(of("POST /a", 1), of("POST /b", 1));
    assert_ne!(of("POST /a", 1), of("POST /a", 2));
}

#[tokio::test]
async fn head_and_options_are_answered_without_a_body() {
    let server = Server::start().await;
    let head = server.client.head(server.url(&format!("/notes/{ANN}"))).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (200, ""));
    let head = server.client.head(server.url("/nowhere")).send().await.unwrap();
    assert_eq!((head.status().as_u16(), head.text().await.unwrap().as_str()), (404, ""));
    let options = server.client.request(reqwest::Method::OPTIONS, server.url("/notes")).send().await.unwrap();
    assert_eq!((options.status().as_u16(), options.headers()["allow"].to_str().unwrap()), (204, "POST"));
}

#[tokio::test]
async fn an_answer_from_behind_says_so_and_others_do_not() {
    let server = Server::start().await;
    assert_eq!(parts(server.client.get(server.url("/behind"))).await.1["x-projection-behind"], "true");
    assert!(!parts(server.client.get(server.url("/page?limit=1"))).await.1.contains_key("x-projection-behind"));
}

#[tokio::test]
async fn health_tells_living_from_ready() {
    let server = Server::start().await;
    assert_eq!(parts(server.client.get(server.url("/health/live"))).await.0, 200);
    let (status, _, body) = parts(server.client.get(server.url("/health/ready"))).await;
    assert_eq!((status, &body["missing"]), (503, &json!(["postgres"])));
    let (_, _, body) = parts(server.client.get(server.url("/health"))).await;
    assert_eq!((&body["status"], &body["service"]), (&json!("healthy"), &json!("sample")));
}

#[tokio::test]
async fn a_client_that_sends_its_whole_body_first_still_reads_why_it_was_refused() {
    let server = Server::start().await;
    for (path, expected) in [("/notes", "413"), ("/unauthenticated", "401")] {
        let mut client = server.raw().await;
        let length = 4 * 1024 * 1024;
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b' '; length]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_drain_cuts_no_request_and_closes_what_is_idle() {
    let server = Server::start().await;
    let slow = tokio::spawn(server.client.get(server.url("/slow")).send());
    // A kept connection, and one that has not asked for anything yet.
    let mut kept = server.raw().await;
    kept.write_all(b"GET /page?limit=1 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    kept.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let mut silent = server.raw().await;
    let begun = server.client.get(server.url("/health/live")).send().await.unwrap();
    assert!(begun.status().is_success());

    server.shutdown.drain();
    // On its way while the drain begins: still answered, and told that it was the last one.
    kept.write_all(b"GET /page?limit=2 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with('2') && rest.contains("connection: close"), "{rest}");
    assert_eq!(slow.await.unwrap().unwrap().text().await.unwrap(), "finished");
    assert_eq!(silent.read(&mut first).await.unwrap(), 0);
    tokio::time::timeout(Duration::from_secs(5), server.served).await.expect("the drain ends").unwrap().unwrap();
    wait_until("no connection is taken any more", Duration::from_secs(1), async || TcpStream::connect(server.address).await.err()).await;
}

#[tokio::test]
async fn a_command_outlives_the_client_that_hung_up_and_the_end_waits_for_it() {
    let shutdown = Shutdown::new();
    let (go, gone) = tokio::sync::oneshot::channel::<()>();
    let (done, is_done) = tokio::sync::oneshot::channel::<()>();
    let command = detached(&shutdown, async move {
        gone.await.unwrap();
        done.send(()).unwrap();
        Ok(())
    });
    // The client hangs up: its future is dropped after it was polled.
    assert!(tokio::time::timeout(Duration::from_millis(20), command).await.is_err());
    shutdown.drain();
    let mut end = std::pin::pin!(shutdown.finished());
    assert!(end.as_mut().now_or_never().is_none(), "the end must wait");
    go.send(()).unwrap();
    is_done.await.unwrap();
    end.await;
}

/// Where a test's lines go.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_refusal_has_a_line_at_info_and_a_quick_good_answer_has_none() {
    use tower::ServiceExt;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let router = routes(sample(&Shutdown::new()));
    for path in ["/page?limit=3", "/refused"] {
        let request = axum::http::Request::get(path).body(axum::body::Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap();
    }
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("/refused") && said.contains("status=503") && said.contains("correlation_id"), "{said}");
}

fn allowed(headers: &HeaderMap) -> (Option<&str>, Option<&str>) {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    (text("access-control-allow-origin"), text("access-control-allow-credentials"))
}

#[tokio::test]
async fn every_answer_says_which_origin_may_read_it_whatever_its_status() {
    let server = Server::start().await;
    let huge = "x".repeat(2 * 1024 * 1024);
    for (method, path, body, status) in [
        ("GET", "/health/live", "", 200),
        ("GET", "/nowhere", "", 404),
        ("DELETE", "/notes", "", 405),
        ("POST", "/notes", huge.as_str(), 413),
        ("GET", "/notes/not-a-uuid", "", 422),
        ("POST", "/unauthenticated", "", 401),
        ("GET", "/panic", "", 500),
        ("GET", "/refused", "", 503),
    ] {
        for (origin, may) in [
            (Some(FRONTEND), true),
            (Some("http://localhost:3000"), true),
            (Some("https://chat.example.org.evil.org"), false),
            (Some("http://chat.example.org"), false),
            (Some("null"), false),
            (Some("*"), false),
            (None, false),
        ] {
            let mut request = server.client.request(method.parse().unwrap(), server.url(path)).header("content-type", "application/json");
            if let Some(origin) = origin {
                request = request.header("origin", origin);
            }
            let (seen, headers, _) = parts(request.body(body.to_owned())).await;
            assert_eq!(seen, status, "{method} {path}");
            let expected = if may { (origin, Some("true")) } else { (None, None) };
            assert_eq!(allowed(&headers), expected, "{method} {path} from {origin:?}");
            assert!(headers.get_all("vary").iter().any(|vary| vary.to_str().unwrap().eq_ignore_ascii_case("origin")), "{method} {path}");
            let exposed = headers.get("access-control-expose-headers").map(|names| names.to_str().unwrap().to_lowercase());
            assert_eq!(exposed.is_some(), may);
            for name in
                ["x-consistency-token", "x-projection-behind", "x-request-id", "link", "location", "retry-after", "x-ratelimit-remaining"]
            {
                assert!(exposed.as_ref().is_none_or(|names| names.contains(name)), "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_preflight_is_public_and_says_yes_to_an_allowed_origin_alone() {
    let server = Server::start().await;
    let preflight = async |path: &str, origin: &str| {
        let request = server.client.request(reqwest::Method::OPTIONS, server.url(path)).header("origin", origin);
        let request = request.header("access-control-request-method", "PUT");
        parts(request.header("access-control-request-headers", "authorization,content-type,idempotency-key")).await
    };
    for path in ["/notes", "/unauthenticated", "/panic", "/nowhere"] {
        let (status, headers, body) = preflight(path, FRONTEND).await;
        assert_eq!((status, body), (204, json!("")));
        assert_eq!(allowed(&headers), (Some(FRONTEND), Some("true")));
        assert_eq!(headers["access-control-allow-headers"], "authorization,content-type,idempotency-key");
        for method in ["GET", "POST", "PUT", "DELETE"] {
            assert!(headers["access-control-allow-methods"].to_str().unwrap().contains(method));
        }
        let (status, headers, _) = preflight(path, "https://evil.example.org").await;
        assert_eq!((status, allowed(&headers)), (204, (None, None)));
        assert!(!headers.contains_key("access-control-allow-methods") && !headers.contains_key("access-control-allow-headers"));
        assert!(headers.contains_key("vary"));
    }
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_a_problem_document_too() {
    let server = Server::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70_000));
    let large = format!("GET /page HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(1_000_000));
    // Pipelined: the answer before it is whole.
    let second = "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nnonsense\r\n\r\n".to_owned();
    for (what, request, status, code) in [
        ("nonsense", "nonsense\r\n\r\n".to_owned(), 400, "malformed"),
        ("a bad header", "GET / HTTP/1.1\r\nbad header\r\n\r\n".to_owned(), 400, "malformed"),
        ("too many headers", format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "headers_too_large"),
        ("too long an address", long, 414, "uri_too_long"),
        ("too large headers", large, 431, "headers_too_large"),
        ("nonsense after a request", second, 400, "malformed"),
    ] {
        let mut client = server.raw().await;
        // It may be refused before it is all sent.
        let _ = client.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        let answer = String::from_utf8(answer).unwrap();
        let start = answer.rfind("HTTP/1.1 ").unwrap();
        let (head, body) = answer[start..].split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")) && head.contains("content-type: application/problem+json"),
            "{what}: {answer}"
        );
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!((problem["status"].as_u64(), &problem["code"]), (Some(status), &json!(code)), "{what}");
        assert!(head.contains(problem["request_id"].as_str().unwrap()), "{what}: {answer}");
        assert_eq!(answer[..start].contains("200 OK"), what.ends_with("after a request"), "{what}: {answer}");
    }
}
