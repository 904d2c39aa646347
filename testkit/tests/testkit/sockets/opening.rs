//! Who may open a socket, and how.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person, http};
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;

use super::{fields, listed, people};

const BOUND: Duration = Duration::from_secs(10);

async fn ticket(who: &Person) -> String {
    let answer = who.post("/api/v1/realtime/tickets", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["expires_in"], 30);
    answer.json()["ticket"].as_str().expect("a ticket").to_owned()
}

/// What a socket brings first, or how it ended.
async fn first(url: &str, headers: &[(&str, &str)]) -> Result<Value, u16> {
    let mut socket = Socket::dial(url, headers).await.map_err(|refused| refused.status)?;
    match socket.next_within(Duration::from_secs(10)).await {
        Ok(frame) => Ok(frame.expect("something comes")),
        Err(ended) => Err(ended.code),
    }
}

#[tokio::test]
async fn a_socket_is_opened_by_a_token_in_its_address_or_in_a_header_or_by_a_ticket() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let url = ann.socket_url();
    let header = format!("Bearer {}", ann.token);
    let ticket = ticket(&ann).await;
    for (address, headers) in [
        (format!("{url}?token={}", ann.token), vec![]),
        (url.clone(), vec![("authorization", header.as_str())]),
        (format!("{url}?ticket={ticket}"), vec![]),
    ] {
        let frame = first(&address, &headers).await.expect("a socket");
        assert_eq!(frame["type"], "connection_established");
        assert_eq!(fields(&frame), listed("type,user_id,online_users,timestamp,cursor,session_id"));
        assert_eq!(frame["user_id"], json!(ann.id));
    }
    assert_eq!(first(&format!("{url}?ticket={ticket}"), &[]).await, Err(1008), "a ticket is good once");
}

#[tokio::test]
async fn whoever_is_nobody_or_somebody_else_is_refused_where_they_can_see_it() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (anns, bobs) = (ann.socket_url(), bob.socket_url());
    // Browsers cannot see the answer to an upgrade: they see the close code.
    for address in [
        format!("{anns}?token=nonsense"),
        format!("{anns}?token="),
        format!("{anns}?token=null"),
        format!("{anns}?ticket=nonsense"),
        format!("{anns}?ticket={}", "A".repeat(43)),
        format!("{bobs}?token={}", ann.token),
        format!("{bobs}?ticket={}", ticket(&ann).await),
    ] {
        assert_eq!(first(&address, &[]).await, Err(1008), "{address}");
    }
    let own = format!("Bearer {}", ann.token);
    for (address, header) in [(&anns, "Bearer nonsense"), (&anns, "Bearer null"), (&bobs, own.as_str())] {
        assert_eq!(first(address, &[("authorization", header)]).await, Err(401), "{address} {header}");
    }
    assert_eq!(first(&anns, &[]).await, Err(401));
    assert_eq!(first(&anns.replace(&ann.id.to_string(), "me"), &[("authorization", &own)]).await, Err(422));
    assert_eq!(ann.post("/api/v1/auth/logout", json!({})).await.status, 200);
    assert_eq!(first(&format!("{anns}?token={}", ann.token), &[]).await, Err(1008), "a session that has ended");
}

#[tokio::test]
async fn a_ticket_dies_with_its_session() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let ticket = ticket(&ann).await;
    assert_eq!(ann.post("/api/v1/auth/logout", json!({})).await.status, 200);
    assert_eq!(first(&format!("{}?ticket={ticket}", ann.socket_url()), &[]).await, Err(1008));
}

#[tokio::test]
async fn who_asks_for_no_socket_is_told_that_there_is_nothing_else() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let answer = ann.ask(Method::GET, &format!("/ws/{}", ann.id), None).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.json()["code"].clone()), (426, json!("upgrade_required")));
    let old = http().get(system.url(&format!("/ws/{}", ann.id))).bearer_auth(&ann.token);
    let old = old.header("connection", "upgrade").header("upgrade", "websocket").header("sec-websocket-version", "8");
    let answer = Answer::to(old.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")).await.expect("an answer");
    assert_eq!(answer.status.as_u16(), 426);
}

#[tokio::test]
async fn who_has_too_many_sockets_open_gets_no_other_until_one_closes_and_nobody_else_is_refused() {
    let mut system = System::start(SystemConfig::default().env("POSTRIDER_LIMITS__SOCKETS_PER_USER", 3)).await;
    let (ann, bob) = people(&system).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(Socket::open(&ann).await);
    }
    let refused = Socket::connect(&ann, "").await.map(drop).expect_err("that is one too many");
    assert_eq!(refused.status, 429, "{}", refused.text);
    let header = http().get(system.url(&format!("/ws/{}", ann.id))).bearer_auth(&ann.token);
    let header = header.header("connection", "upgrade").header("upgrade", "websocket").header("sec-websocket-version", "13");
    let answer = Answer::to(header.header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")).await.expect("an answer");
    assert_eq!((answer.status.as_u16(), answer.json()["code"].clone()), (429, json!("too_many_own_sockets")));
    assert_eq!(answer.headers["retry-after"], "5");
    let _bobs = Socket::open(&bob).await;

    open.pop().expect("a socket").close().await;
    let again = wait_until("there is room again", BOUND, async || Socket::connect(&ann, "").await.ok()).await;
    assert_eq!(Socket::connect(&ann, "").await.map(drop).map_err(|refused| refused.status), Err(429));
    drop((open, again));
    // However they end.
    let mut back = Vec::new();
    while back.len() < 3 {
        back.push(wait_until("there is room for all", BOUND, async || Socket::connect(&ann, "").await.ok()).await);
    }
    system.stop().await;
}
