//! What pages of other origins may do, and the cookie.

use reqwest::Method;
use serde_json::json;
use testkit::person::{Answer, Person, http};
use testkit::system::{System, SystemConfig};

async fn from(system: &System, origin: &str, path: &str) -> Option<String> {
    let answer = Answer::to(http().get(system.url(path)).header("origin", origin)).await.expect("an answer");
    assert!(answer.headers.get_all("vary").iter().any(|vary| vary == "Origin"));
    answer.header("access-control-allow-origin").map(str::to_owned)
}

#[tokio::test]
async fn outside_production_a_frontend_in_development_may_ask_and_nobody_else() {
    let system = System::shared().await;
    for origin in ["http://localhost:5173", "http://localhost:3000"] {
        for path in ["/health/live", "/api/v1/auth/me", "/api/v1/nothing"] {
            assert_eq!(from(system, origin, path).await.as_deref(), Some(origin));
        }
    }
    for origin in ["http://localhost:8000", "https://localhost:5173", "null", "https://evil.example.org"] {
        assert_eq!(from(system, origin, "/api/v1/auth/me").await, None, "{origin}");
    }
}

#[tokio::test]
async fn in_production_the_frontend_may_ask_alone() {
    let config = SystemConfig::default().env("FRONTEND_URL", "https://Chat.Example.org/app/").env("POSTRIDER_SERVER__PRODUCTION", "true");
    let system = System::start(config).await;
    assert_eq!(from(&system, "https://chat.example.org", "/api/v1/auth/me").await.as_deref(), Some("https://chat.example.org"));
    assert_eq!(from(&system, "http://localhost:5173", "/api/v1/auth/me").await, None);
}

#[tokio::test]
async fn a_sign_in_sets_the_cookie_a_sign_out_removes_it_and_hardly_a_route_looks_at_it() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let login =
        Answer::to(http().post(system.url("/api/v1/auth/login")).json(&json!({"email": ann.email, "password": ann.password}))).await;
    let login = login.expect("an answer");
    let set = login.header("set-cookie").expect("a cookie").to_owned();
    let token = login.json()["access_token"].as_str().expect("a token").to_owned();
    assert_eq!(set, format!("__Host-postrider={token}; Path=/; HttpOnly; Secure; SameSite=Strict; Max-Age=86400"));
    let cookie = format!("__Host-postrider={token}");
    for (method, path) in [
        (Method::GET, "/api/v1/auth/me"),
        (Method::GET, "/api/v1/auth/sessions"),
        (Method::POST, "/api/v1/auth/logout"),
        (Method::GET, "/api/v1/relay/pending"),
        (Method::POST, "/api/v1/messages/send"),
    ] {
        let request = http().request(method, system.url(path)).header("cookie", &cookie).header("origin", "http://localhost:5173");
        assert_eq!(Answer::to(request).await.expect("an answer").status, 401, "{path}");
    }
    let logout = ann.with_token(&login.json()).post("/api/v1/auth/logout", json!({})).await;
    assert!(logout.header("set-cookie").is_some_and(|cookie| cookie.starts_with("__Host-postrider=;") && cookie.ends_with("Max-Age=0")));
}
