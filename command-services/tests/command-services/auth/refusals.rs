//! Every refusal of the contract: its status, a problem document, and nothing changed.

use serde_json::{Value, json};

use super::desk::{Desk, PASSWORD, is_problem, token};

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_and_names_its_field() {
    let desk = Desk::open().await;
    let good = json!({"email": "ann@example.org", "username": "ann", "password": PASSWORD});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body.to_string()
    };
    let long = |length: usize| json!("x".repeat(length));
    let table: Vec<(&str, String, &str)> = vec![
        ("register", String::new(), "email"),
        ("register", "not json".into(), "body"),
        ("register", "[]".into(), "body"),
        ("register", with("email", Value::Null), "email"),
        ("register", with("email", json!(7)), "email"),
        ("register", with("email", json!("not an address")), "email"),
        ("register", with("email", json!("a\u{0}@example.org")), "email"),
        ("register", with("username", json!("ab")), "username"),
        ("register", with("username", json!("  ab  ")), "username"),
        ("register", with("username", long(51)), "username"),
        ("register", with("username", json!("a\u{7}bc")), "username"),
        ("register", with("password", json!("seven77")), "password"),
        ("register", with("password", long(1025)), "password"),
        ("register", with("password", json!(["correct horse"])), "password"),
        ("register", with("full_name", long(256)), "full_name"),
        ("register", with("full_name", json!("a\u{0}")), "full_name"),
        ("register", with("public_key", long(16 * 1024 + 1)), "public_key"),
        ("register", with("public_key", json!({"kty": "EC"})), "public_key"),
        ("login", String::new(), "email"),
        ("login", json!({"email": "ann@example.org"}).to_string(), "password"),
        ("login", json!({"email": 1, "password": "x"}).to_string(), "email"),
        ("login", json!({"email": "a\u{0}", "password": "x"}).to_string(), "email"),
        ("verify-token", "{}".into(), "token"),
        ("verify-token", json!({"token": 1}).to_string(), "token"),
    ];
    for (route, body, field) in table {
        let answer = desk.send("POST", &format!("/api/v1/auth/{route}"), None, Some(body)).await;
        is_problem(&answer, 422, "invalid");
        assert_eq!(answer.2["errors"][0]["field"], field, "{}", answer.2);
        assert!(!answer.2.to_string().contains("correct horse"));
    }
    for route in ["register", "login", "verify-token"] {
        let huge = json!({"email": "x".repeat(2 * 1024 * 1024)}).to_string();
        is_problem(&desk.send("POST", &format!("/api/v1/auth/{route}"), None, Some(huge)).await, 413, "too_large");
    }
    assert_eq!(desk.count("SELECT count(*) FROM events").await + desk.count("SELECT count(*) FROM reservations").await, 0);
}

#[tokio::test]
async fn what_needs_a_token_is_refused_without_a_good_one() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let refresh = ann.2["refresh_token"].as_str().unwrap();
    for bad in [None, Some(""), Some("null"), Some("undefined"), Some("garbage"), Some(refresh)] {
        for (method, path) in [("GET", "/api/v1/auth/me"), ("POST", "/api/v1/auth/logout")] {
            is_problem(&desk.send(method, path, bad, None).await, 401, "unauthenticated");
        }
    }
    assert_eq!(desk.me(token(&ann)).await.0, 200);
}

#[tokio::test]
async fn a_token_whose_account_or_session_never_was_is_nobodys() {
    let desk = Desk::open().await;
    let (user, session) = (schemas::UserId(uuid::Uuid::now_v7()), schemas::SessionId(uuid::Uuid::now_v7()));
    let (stray, _) = desk.auth.tokens.issue(user, session, "admin", desk.auth.lifetimes.access).unwrap();
    is_problem(&desk.me(&stray).await, 401, "unauthenticated");
    is_problem(&desk.logout(&stray).await, 401, "unauthenticated");
    // Of somebody else's session, as no token of ours says it.
    let ann = desk.register("ann@example.org", "ann").await;
    let sid = desk.auth.tokens.verify(token(&ann)).await.unwrap().sid;
    let (forged, _) = desk.auth.tokens.issue(user, sid, "user", desk.auth.lifetimes.access).unwrap();
    is_problem(&desk.logout(&forged).await, 401, "unauthenticated");
    assert_eq!(desk.me(token(&ann)).await.0, 200);
}
