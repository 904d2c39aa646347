//! Five wrong passwords in a row.

use std::sync::Arc;

use serde_json::json;
use testkit::wait_until;
use tokio::task::JoinSet;

use super::desk::{Desk, PASSWORD, SOON, is_problem, token};

#[tokio::test]
async fn the_sixth_is_refused_whatever_the_password_and_an_unknown_address_alike() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let bob = desk.register("bob@example.org", "bob").await;
    let mut answers = Vec::new();
    for email in ["ann@example.org", "nobody@example.org"] {
        for _ in 0..5 {
            is_problem(&desk.login(email, "wrong password").await, 401, "invalid_credentials");
        }
        for password in [PASSWORD, "wrong password"] {
            let answer = desk.login(&email.to_uppercase(), password).await;
            is_problem(&answer, 429, "account_locked");
            let after: u64 = answer.1["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((800..=900).contains(&after), "{after}");
            answers.push(answer.2["detail"].clone());
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "nothing tells them apart");
    assert_eq!(desk.me(token(&ann)).await.0, 200, "who is signed in stays so");
    token(&desk.login("bob@example.org", PASSWORD).await);
    let locked = "SELECT count(*) FROM events WHERE event_type = 'account.locked' AND metadata->>'actor' = 'system'";
    wait_until("the ledger says so", SOON, async || (desk.count(locked).await == 1).then_some(())).await;
    assert_eq!(desk.events_of(ann.2["user"]["id"].as_str().unwrap()).await, ["account.registered", "account.locked"]);
    assert_eq!(desk.events_of(bob.2["user"]["id"].as_str().unwrap()).await, ["account.registered"]);
}

#[tokio::test]
async fn a_success_ends_the_row() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    for _ in 0..3 {
        for _ in 0..4 {
            is_problem(&desk.login("ann@example.org", "wrong password").await, 401, "invalid_credentials");
        }
        token(&desk.login("ann@example.org", PASSWORD).await);
    }
}

#[tokio::test]
async fn who_guesses_many_at_once_learns_of_five() {
    let desk = Arc::new(Desk::open().await);
    token(&desk.register("ann@example.org", "ann").await);
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let desk = Arc::clone(&desk);
        all.spawn(async move { desk.login("ann@example.org", "wrong password").await.0 });
    }
    let answers = all.join_all().await;
    assert_eq!(answers.iter().filter(|status| **status == 401).count(), 5, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 429).count(), 15, "{answers:?}");
}

#[tokio::test]
async fn without_redis_each_process_counts_for_itself() {
    let mut desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    desk.redis.stop();
    for _ in 0..5 {
        is_problem(&desk.login("ann@example.org", "wrong password").await, 401, "invalid_credentials");
    }
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 429, "account_locked");
}

#[tokio::test]
async fn what_is_counted_for_stands_nowhere_in_the_clear() {
    let desk = Desk::open().await;
    is_problem(&desk.login("planted@example.org", "planted password").await, 401, "invalid_credentials");
    let client = redis::Client::open(desk.redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<String> = redis::cmd("KEYS").arg("signin:*").query_async(&mut connection).await.unwrap();
    assert_eq!(keys.len(), 1);
    assert!(!json!(keys).to_string().contains("planted"));
}
