//! Planted values are found nowhere they must not be.

use reqwest::Method;
use serde_json::json;
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

#[tokio::test]
async fn no_secret_address_name_or_content_reaches_a_log_or_an_error() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_TELEMETRY__LOG", "trace")).await;
    let client = testkit::person::http();
    let canary = format!("canary{}", Uuid::now_v7().simple());
    let (email, username, full_name, password) =
        (format!("{canary}mail@example.org"), format!("{canary}user"), format!("{canary} full"), format!("{canary}pass"));
    let account = json!({"email": email, "username": username, "password": password, "full_name": full_name});
    let mut answers = Vec::new();
    let registered = client.post(system.url("/api/v1/auth/register")).json(&account).send().await.expect("an answer");
    let session: serde_json::Value = registered.json().await.expect("JSON");
    let (token, refresh) =
        (session["access_token"].as_str().expect("a token").to_owned(), session["refresh_token"].as_str().expect("a token").to_owned());
    let bob = Person::register(&system, "bob").await;
    let content = format!("{canary}content");

    let ask = async |method: Method, path: &str, token: &str, body: String| {
        let answer = client
            .request(method, system.url(path))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("an answer");
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        (status, headers, answer.text().await.expect("a body"))
    };
    let sent = ask(Method::POST, "/api/v1/messages/send", &token, Person::message(bob.id, Uuid::now_v7(), &content).to_string()).await;
    assert_eq!(sent.0, 200);
    // Everything that fails, with the canary in every place a client can put it.
    for (path, body) in [
        ("/api/v1/auth/register", account.to_string()),
        ("/api/v1/auth/register", json!({"email": email, "username": [username], "password": {"p": password}}).to_string()),
        ("/api/v1/auth/login", json!({"email": email, "password": format!("{password}wrong")}).to_string()),
        ("/api/v1/auth/login", json!({"email": format!("{canary}\u{0}"), "password": password}).to_string()),
        ("/api/v1/auth/verify-token", json!({"token": format!("{canary}.x.y")}).to_string()),
        ("/api/v1/messages/send", json!({"recipient_id": canary, "encrypted_content": content}).to_string()),
        ("/api/v1/messages/send", format!("{{\"encrypted_content\": \"{content}\"")),
        (
            "/api/v1/messages/send",
            json!({"recipient_id": Uuid::now_v7(), "encrypted_content": content, "encrypted_session_key": canary}).to_string(),
        ),
        (
            "/api/v1/relay/send",
            json!({"recipient_id": bob.id, "encrypted_content": content, "encrypted_session_key": "k", "ttl_days": canary}).to_string(),
        ),
    ] {
        let answer = ask(Method::POST, path, &token, body).await;
        assert!(!answer.0.is_success(), "{path}: {}", answer.2);
        answers.push(answer);
    }
    answers.push(ask(Method::POST, "/api/v1/messages/send", &format!("{canary}.bearer.token"), String::new()).await);
    answers.push(ask(Method::GET, &format!("/api/v1/auth/{canary}?q={canary}"), &token, String::new()).await);
    for (status, headers, body) in &answers {
        assert!(!body.to_lowercase().contains(&canary), "{status}: {body}");
        assert!(!headers.to_lowercase().contains(&canary), "{status}: {headers}");
    }
    let log = system.log().to_lowercase();
    assert!(log.len() > 1000, "the log is there");
    for (what, planted) in [
        ("the canary", canary.as_str()),
        ("an access token", token.rsplit('.').next().expect("a signature")),
        ("a refresh token", refresh.as_str()),
    ] {
        assert!(
            !log.contains(&planted.to_lowercase()),
            "{what} is in the log:\n{}",
            log.lines().find(|l| l.contains(&planted.to_lowercase())).unwrap_or_default()
        );
    }
    // At rest: neither ledger nor read models of other services hold names in the clear (the read model of users does, by purpose).
    let dump = testkit::system::search_files(&system.directory.join("data"), canary.as_bytes(), &["postgres"]);
    assert_eq!(dump, Vec::<String>::new(), "outside Postgres nothing is stored in the clear");
}
