//! Every route × every wrong token, every body × everything that can be wrong with it: the contract's status, a problem document, nothing changed.
//!
//! A new route joins by one line in [`routes`]; a new body by one line in [`bodies`].

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

/// Every route that wants a caller: method, path (`{me}`, `{other}`, `{message}` are filled in), and whether a revoked token may repeat it.
pub(crate) fn routes() -> Vec<(Method, &'static str, bool)> {
    vec![
        (Method::GET, "/api/v1/auth/me", false),
        (Method::POST, "/api/v1/auth/logout", true),
        (Method::GET, "/api/v1/auth/sessions", false),
        (Method::DELETE, "/api/v1/auth/sessions", false),
        (Method::DELETE, "/api/v1/auth/sessions/{other}", false),
        (Method::PUT, "/api/v1/auth/public-key", false),
        (Method::PUT, "/api/v1/auth/username", false),
        (Method::POST, "/api/v1/auth/password/change", false),
        (Method::GET, "/api/v1/users/{other}", false),
        (Method::PUT, "/api/v1/users/{me}", false),
        (Method::PUT, "/api/v1/users/{other}", false),
        (Method::GET, "/api/v1/users/search?email=a", false),
        (Method::GET, "/api/v1/users/by-email?email=a", false),
        (Method::GET, "/api/v1/users/me/key-backup", false),
        (Method::POST, "/api/v1/users/me/key-backup", false),
        (Method::GET, "/api/v1/users/me/settings", false),
        (Method::PUT, "/api/v1/users/me/settings", false),
        (Method::GET, "/api/v1/contacts", false),
        (Method::GET, "/api/v1/contacts/", false),
        (Method::GET, "/api/v1/contacts/all-users", false),
        (Method::POST, "/api/v1/contacts", false),
        (Method::POST, "/api/v1/contacts/add", false),
        (Method::DELETE, "/api/v1/contacts/{message}", false),
        (Method::POST, "/api/v1/contacts/{other}/block", false),
        (Method::DELETE, "/api/v1/contacts/{other}/block", false),
        (Method::POST, "/api/v1/messages/send", false),
        (Method::GET, "/api/v1/messages/conversation/{other}", false),
        (Method::PUT, "/api/v1/messages/conversation/{other}/read", false),
        (Method::GET, "/api/v1/messages/conversations", false),
        (Method::PUT, "/api/v1/messages/{message}/read", false),
        (Method::DELETE, "/api/v1/messages/{message}", false),
        (Method::GET, "/api/v1/groups", false),
        (Method::GET, "/api/v1/groups/", false),
        (Method::GET, "/api/v1/relay/stats", false),
        (Method::POST, "/api/v1/relay/cleanup", false),
        (Method::POST, "/api/v1/relay/send", false),
        (Method::POST, "/api/v1/relay/queue", false),
        (Method::GET, "/api/v1/relay/pending", false),
        (Method::GET, "/api/v1/relay/pending/{me}", false),
        (Method::POST, "/api/v1/relay/acknowledge", false),
        (Method::DELETE, "/api/v1/relay/{message}", false),
        (Method::POST, "/api/v1/relay/user/{me}/online", false),
        (Method::POST, "/api/v1/relay/user/{me}/offline", false),
        (Method::POST, "/api/v1/realtime/tickets", false),
        (Method::GET, "/ws/{me}", false),
    ]
}

/// Every body (of a POST, unless another method stands before the path) with a good example and the fields that must be there.
pub(crate) fn bodies(other: Uuid, message: Uuid) -> Vec<(&'static str, Value, Vec<&'static str>, bool)> {
    let send = json!({"recipient_id": other, "encrypted_content": "hello", "encrypted_session_key": "k"});
    let account = json!({"email": "new@example.org", "username": "newcomer", "password": "long enough"});
    vec![
        ("/api/v1/auth/register", account, vec!["email", "username", "password"], false),
        ("/api/v1/auth/login", json!({"email": "new@example.org", "password": "long enough"}), vec!["email", "password"], false),
        ("/api/v1/auth/verify-token", json!({"token": "t"}), vec!["token"], false),
        ("/api/v1/auth/refresh", json!({"refresh_token": "t"}), vec!["refresh_token"], false),
        ("PUT /api/v1/auth/public-key", json!({"public_key": "a2V5"}), vec!["public_key"], true),
        ("PUT /api/v1/auth/username", json!({"username": "newcomer"}), vec!["username"], true),
        (
            "/api/v1/auth/password/change",
            json!({"current_password": "long enough", "new_password": "long enough"}),
            vec!["current_password", "new_password"],
            true,
        ),
        ("/api/v1/users/me/key-backup", json!({"encrypted_private_key": "k"}), vec!["encrypted_private_key"], true),
        ("/api/v1/contacts", json!({"contact_id": other}), vec![], true),
        ("/api/v1/contacts/add", json!({"contact_id": other}), vec![], true),
        ("/api/v1/messages/send", send.clone(), vec!["recipient_id", "encrypted_content", "encrypted_session_key"], true),
        ("/api/v1/relay/send", send.clone(), vec!["recipient_id", "encrypted_content", "encrypted_session_key"], true),
        ("/api/v1/relay/queue", send, vec!["recipient_id", "encrypted_content", "encrypted_session_key"], true),
        ("/api/v1/relay/acknowledge", json!({"message_id": message}), vec!["message_id"], true),
        ("PUT /api/v1/messages/conversation/{other}/read", json!({"up_to": message}), vec!["up_to"], true),
    ]
}

struct World {
    system: &'static System,
    ann: Person,
    bob: Person,
    message: Uuid,
}

impl World {
    async fn new() -> Self {
        let system = System::shared().await;
        let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
        let message = Uuid::now_v7();
        assert_eq!(ann.post("/api/v1/messages/send", Person::message(bob.id, message, "hello")).await.status, 200);
        Self { system, ann, bob, message }
    }

    fn path(&self, template: &str) -> String {
        template
            .replace("{me}", &self.ann.id.to_string())
            .replace("{other}", &self.bob.id.to_string())
            .replace("{message}", &self.message.to_string())
    }

    async fn raw(
        &self,
        method: Method,
        path: &str,
        authorization: Option<&str>,
        content_type: Option<&str>,
        body: impl Into<reqwest::Body>,
    ) -> Answer {
        let mut request = testkit::person::http().request(method, self.system.url(path)).body(body);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        if let Some(value) = content_type {
            request = request.header("content-type", value);
        }
        let answer = request.send().await.expect("an answer");
        Answer { status: answer.status(), headers: answer.headers().clone(), text: answer.text().await.expect("a body") }
    }

    /// What must be as it was after every refusal.
    async fn state(&self) -> (Vec<Uuid>, Vec<Uuid>, Vec<Uuid>) {
        (self.ann.conversation(self.bob.id).await, self.bob.pending().await, self.ann.pending().await)
    }
}

fn assert_problem(what: &str, answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status.as_u16()), "{what}: {} {} instead of {statuses:?}", answer.status, answer.text);
    assert_eq!(answer.headers.get("content-type").and_then(|v| v.to_str().ok()), Some("application/problem+json"), "{what}");
    let problem = answer.json();
    assert_eq!(problem["status"], json!(answer.status.as_u16()), "{what}");
    for field in ["type", "title", "detail", "code", "request_id"] {
        assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{what}: `{field}` in {problem}");
    }
    assert_eq!(answer.headers.get("x-request-id").and_then(|v| v.to_str().ok()), problem["request_id"].as_str(), "{what}");
    if answer.status == 422 && problem["code"] == "invalid" {
        assert!(problem["errors"].as_array().is_some_and(|e| !e.is_empty()), "{what}: {problem}");
    }
}

/// A token with another header, claims or signature.
fn forged(token: &str, header: Option<Value>, claims: impl Fn(&mut Value), signature: Option<&str>) -> String {
    let parts: Vec<&str> = token.split('.').collect();
    let decode = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON") };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut body = decode(parts[1]);
    claims(&mut body);
    format!("{}.{}.{}", header.map_or_else(|| parts[0].to_owned(), |h| encode(&h)), encode(&body), signature.unwrap_or(parts[2]))
}

#[tokio::test]
async fn every_route_refuses_every_wrong_token_with_401_and_changes_nothing() {
    let world = World::new().await;
    let eve = Person::register(world.system, "eve").await;
    let revoked = eve.token.clone();
    assert_eq!(eve.post("/api/v1/auth/logout", json!({})).await.status, 200);
    let jwks: Value = reqwest::get(world.system.url("/.well-known/jwks.json")).await.expect("an answer").json().await.expect("JSON");
    assert!(jwks["keys"].as_array().is_some_and(|keys| !keys.is_empty()), "{jwks}");
    let hs256 = hs256_with_public_key(&world.ann.token, &jwks);
    let none = forged(&world.ann.token, Some(json!({"alg": "none", "typ": "JWT"})), |_| {}, Some(""));
    let later = forged(&world.ann.token, None, |claims| claims["exp"] = json!(4_102_444_800_i64), None);
    let another = forged(&world.ann.token, None, |claims| claims["sub"] = json!(world.bob.id), None);
    let expired = forged(&world.ann.token, None, |claims| claims["exp"] = json!(1), None);
    let no_signature = forged(&world.ann.token, None, |_| {}, Some(""));
    let wrong: Vec<(&str, Option<String>)> = vec![
        ("no token", None),
        ("an empty header", Some(String::new())),
        ("Bearer null", Some("Bearer null".into())),
        ("Bearer undefined", Some("Bearer undefined".into())),
        ("Bearer alone", Some("Bearer".into())),
        ("garbage", Some("Bearer x.y.z".into())),
        ("another scheme", Some("Basic dXNlcjpwYXNz".into())),
        ("alg none", Some(format!("Bearer {none}"))),
        ("HS256 with the public key", Some(format!("Bearer {hs256}"))),
        ("a later end", Some(format!("Bearer {later}"))),
        ("another subject", Some(format!("Bearer {another}"))),
        ("expired", Some(format!("Bearer {expired}"))),
        ("no signature", Some(format!("Bearer {no_signature}"))),
        ("revoked", Some(format!("Bearer {revoked}"))),
    ];
    let before = world.state().await;
    for (method, template, repeats) in routes() {
        for (what, authorization) in &wrong {
            let what = format!("{method} {template} with {what}");
            let answer = world.raw(method.clone(), &world.path(template), authorization.as_deref(), Some("application/json"), "{}").await;
            if repeats && what.ends_with("revoked") {
                assert_eq!(answer.status, 200, "{what}: repeating completes it");
                continue;
            }
            assert_problem(&what, &answer, &[401]);
        }
    }
    assert_eq!(world.state().await, before);
}

fn hs256_with_public_key(token: &str, jwks: &Value) -> String {
    use hmac::{KeyInit as _, Mac as _};
    let unsigned = forged(token, Some(json!({"alg": "HS256", "typ": "JWT", "kid": jwks["keys"][0]["kid"]})), |_| {}, Some(""));
    let signed = unsigned.trim_end_matches('.');
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(jwks["keys"][0].to_string().as_bytes()).expect("any key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn a_token_that_has_expired_is_refused() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_AUTH__ACCESS_TOKEN_SECONDS", 2)).await;
    let ann = Person::register(&system, "ann").await;
    assert_eq!(ann.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status, 200);
    testkit::wait_until("it expires", std::time::Duration::from_secs(15), async || {
        (ann.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nobody_acts_or_reads_as_somebody_else() {
    let world = World::new().await;
    let eve = Person::register(world.system, "eve").await;
    let before = world.state().await;
    for field in ["sender_id", "user_id", "current_user_id"] {
        for path in ["/api/v1/messages/send", "/api/v1/relay/send"] {
            let mut body = Person::message(world.bob.id, Uuid::now_v7(), "forged");
            body[field] = json!(world.ann.id);
            assert_problem(&format!("{path} as another by {field}"), &eve.post(path, body).await, &[403]);
        }
    }
    let mut own = Person::message(world.bob.id, Uuid::now_v7(), "mine");
    own["sender_id"] = json!(eve.id);
    assert_eq!(eve.post("/api/v1/messages/send", own).await.status, 200, "naming oneself is fine");
    assert_problem(
        "another's queue",
        &eve.ask(Method::GET, &format!("/api/v1/relay/pending/{}", world.bob.id), None).await.expect("an answer"),
        &[403],
    );
    for answer in [
        eve.post("/api/v1/relay/acknowledge", json!({"message_id": world.message})).await,
        world.ann.post("/api/v1/relay/acknowledge", json!({"message_id": world.message})).await,
        eve.ask(Method::DELETE, &format!("/api/v1/relay/{}", world.message), None).await.expect("an answer"),
    ] {
        assert_eq!((answer.status.as_u16(), answer.json()["status"].clone()), (200, json!("not_found")));
    }
    assert_eq!(eve.conversation(world.ann.id).await, Vec::<Uuid>::new());
    let after = world.state().await;
    assert_eq!((&after.0, &after.2), (&before.0, &before.2));
    assert!(after.1.contains(&world.message), "it still waits for its recipient");
}

#[tokio::test]
async fn every_body_that_is_wrong_is_refused_by_name_and_changes_nothing() {
    let world = World::new().await;
    let before = world.state().await;
    for (path, good, required, protected) in bodies(world.bob.id, world.message) {
        let (method, path) = path.split_once(' ').unwrap_or(("POST", path));
        let path = world.path(path);
        let path = path.as_str();
        let method: Method = method.parse().expect("a method");
        let bearer = format!("Bearer {}", world.ann.token);
        let authorization = protected.then_some(bearer.as_str());
        let post = async |what: &str, content_type: Option<&str>, body: String, statuses: &[u16]| {
            let answer = world.raw(method.clone(), path, authorization, content_type, body).await;
            assert_problem(&format!("{path}: {what}"), &answer, statuses);
            answer
        };
        let json_type = Some("application/json");
        post("not JSON", json_type, "{\"a\": ".into(), &[422]).await;
        post("a list", json_type, "[]".into(), &[422]).await;
        post("a number", json_type, "7".into(), &[422]).await;
        post("no body", json_type, String::new(), &[422]).await;
        post("another content type", Some("text/plain"), good.to_string(), &[415]).await;
        post("2 MB", json_type, json!({"filler": "x".repeat(2_000_000)}).to_string(), &[413]).await;
        post("deep nesting", json_type, format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), &[422]).await;
        for field in &required {
            let mut body = good.clone();
            body.as_object_mut().expect("an object").remove(*field);
            let answer = post(&format!("without {field}"), json_type, body.to_string(), &[422]).await;
            assert!(answer.json()["errors"].to_string().contains(*field), "{path}: {field} is named in {}", answer.text);
            for (what, value) in [
                ("a number", json!(7)),
                ("a list", json!([1])),
                ("U+0000", json!("a\u{0}b")),
                ("an object", json!({"a": 1})),
                ("null", Value::Null),
            ] {
                let mut body = good.clone();
                body[*field] = value;
                post(&format!("{field} is {what}"), json_type, body.to_string(), &[422]).await;
            }
            if field.ends_with("_id") {
                let mut body = good.clone();
                body[*field] = json!("no-uuid");
                post(&format!("{field} is no UUID"), json_type, body.to_string(), &[422]).await;
            }
        }
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn a_send_beyond_the_contracts_bounds_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let before = world.state().await;
    let with = |field: &str, value: Value| {
        let mut body = Person::message(world.bob.id, Uuid::now_v7(), "hello");
        body[field] = value;
        body
    };
    for (what, path, body, status) in [
        ("an unknown recipient", "/api/v1/messages/send", with("recipient_id", json!(Uuid::now_v7())), 404),
        ("an unknown recipient", "/api/v1/relay/send", with("recipient_id", json!(Uuid::now_v7())), 404),
        ("a message id that is no UUID", "/api/v1/messages/send", with("message_id", json!("m-1")), 422),
        ("too much content", "/api/v1/messages/send", with("encrypted_content", json!("x".repeat(256 * 1024 + 1))), 422),
        ("content that is too large as JSON", "/api/v1/messages/send", with("encrypted_content", json!("\u{1}".repeat(60_000))), 422),
        ("too large a key", "/api/v1/messages/send", with("encrypted_session_key", json!("x".repeat(16 * 1024 + 1))), 422),
        ("too large a copy", "/api/v1/messages/send", with("sender_encrypted_content", json!("x".repeat(256 * 1024 + 1))), 422),
        ("too many signatures", "/api/v1/messages/send", with("signatures", json!(["x".repeat(32 * 1024)])), 422),
        ("no days", "/api/v1/relay/send", with("ttl_days", json!(0)), 422),
        ("31 days", "/api/v1/relay/send", with("ttl_days", json!(31)), 422),
        ("half a day", "/api/v1/relay/send", with("ttl_days", json!(1.5)), 422),
    ] {
        assert_problem(&format!("{path} with {what}"), &world.ann.post(path, body).await, &[status]);
    }
    assert_eq!(world.state().await, before);
}

#[tokio::test]
async fn what_does_not_exist_is_a_problem_document_too() {
    let world = World::new().await;
    assert_problem("an unknown path", &world.ann.ask(Method::GET, "/api/v1/nothing/here", None).await.expect("an answer"), &[404]);
    assert_problem("outside the API", &world.ann.ask(Method::GET, "/nothing", None).await.expect("an answer"), &[404]);
    assert_problem("a wrong method", &world.ann.ask(Method::PUT, "/api/v1/auth/me", None).await.expect("an answer"), &[405]);
    assert_problem("an id that is none", &world.ann.ask(Method::GET, "/api/v1/users/nobody", None).await.expect("an answer"), &[422]);
    assert_problem(
        "an unknown user",
        &world.ann.ask(Method::GET, &format!("/api/v1/users/{}", Uuid::now_v7()), None).await.expect("an answer"),
        &[404],
    );
    assert_problem(
        "a nonsense limit",
        &world.ann.ask(Method::GET, &format!("/api/v1/messages/conversation/{}?limit=x", world.bob.id), None).await.expect("an answer"),
        &[422],
    );
    assert_problem(
        "a nonsense cursor",
        &world
            .ann
            .ask(Method::GET, &format!("/api/v1/messages/conversation/{}?limit=5&before=x", world.bob.id), None)
            .await
            .expect("an answer"),
        &[422],
    );
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer() {
    let world = World::new().await;
    let login = async |email: &str, password: &str| {
        let answer = testkit::person::http()
            .post(world.system.url("/api/v1/auth/login"))
            .json(&json!({"email": email, "password": password}))
            .send()
            .await
            .expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON")["detail"].clone())
    };
    let wrong = login(&world.ann.email, "not the password").await;
    assert_eq!(wrong, (401, json!("Invalid credentials")));
    assert_eq!(login("nobody@example.org", "not the password").await, wrong);
    assert_eq!(login(&world.ann.email.to_uppercase(), &world.ann.password).await.0, 200, "addresses compare without case");
}
