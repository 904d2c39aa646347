//! New tokens for old.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::desk::{Answer, Desk, PASSWORD, SOON, is_problem, refresh_token, token};

const REFRESHED: &str = "SELECT count(*) FROM events WHERE event_type = 'session.refreshed'";
const REUSED: &str = "SELECT count(*) FROM events WHERE event_type = 'session.revoked' AND payload->>'reason' = 'refresh_reuse'";

async fn refresh_from(desk: &Desk, device: &str, refresh: &str) -> Answer {
    desk.send_from(device, ("POST", "/api/v1/auth/refresh"), None, Some(json!({"refresh_token": refresh}).to_string())).await
}

/// Lets the last exchange of every token lie so far back that no race explains a repeat.
async fn later(desk: &Desk) {
    let aged = "UPDATE secrets SET value = convert_to(regexp_replace(convert_from(value, 'UTF8'), '\"used_up_at\":\"[^\"]*\"', '\"used_up_at\":\"2026-01-01T00:00:00.000000Z\"'), 'UTF8') WHERE kind = 'refresh'";
    sqlx::query(aged).execute(&desk.pool).await.unwrap();
}

#[tokio::test]
async fn a_refresh_token_is_good_for_one_new_pair_and_the_old_access_token_goes_on() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let one = desk.refresh(refresh_token(&ann)).await;
    let mut members: Vec<&str> = one.2.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "refresh_token", "token_type"]);
    assert_eq!((&one.2["token_type"], &one.2["expires_in"]), (&json!("bearer"), &json!(86_400)));
    assert!(one.1.contains_key("x-consistency-token"));
    let two = desk.refresh(refresh_token(&one)).await;
    for answer in [&ann, &one, &two] {
        assert_eq!(desk.me(token(answer)).await.0, 200);
    }
    let session = async |answer: &Answer| desk.auth.tokens.verify(token(answer)).await.unwrap().sid;
    assert_eq!(session(&ann).await, session(&two).await, "it is the same session");
    assert_eq!(desk.count(REFRESHED).await, 2);
    assert_eq!(desk.sessions(token(&two)).await.len(), 1);
}

#[tokio::test]
async fn of_parallel_refreshes_with_one_token_one_wins_and_the_session_lives() {
    let desk = Arc::new(Desk::open().await);
    let mut current = desk.register("ann@example.org", "ann").await;
    for round in 1..=3 {
        let mut all = JoinSet::new();
        for _ in 0..8 {
            let (desk, refresh) = (Arc::clone(&desk), refresh_token(&current).to_owned());
            all.spawn(async move { desk.refresh(&refresh).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = all.join_all().await.into_iter().partition(|answer| answer.0 == 200);
        assert_eq!((won.len(), lost.len()), (1, 7), "round {round}");
        for answer in lost {
            is_problem(&answer, 409, "refresh_raced");
        }
        current = won.into_iter().next().unwrap();
        assert_eq!(desk.me(token(&current)).await.0, 200);
        assert_eq!(desk.count(REFRESHED).await, round);
    }
    assert_eq!(desk.count(REUSED).await, 0);
}

#[tokio::test]
async fn a_used_token_that_comes_from_another_device_ends_the_session() {
    let desk = Desk::open().await;
    let (ann, other) = (desk.register("ann@example.org", "ann").await, desk.login("ann@example.org", PASSWORD).await);
    let next = desk.refresh(refresh_token(&ann)).await;
    is_problem(&refresh_from(&desk, "a thief's device", refresh_token(&ann)).await, 401, "invalid_refresh_token");
    for dead in [&ann, &next] {
        is_problem(&desk.me(token(dead)).await, 401, "unauthenticated");
        is_problem(&desk.refresh(refresh_token(dead)).await, 401, "invalid_refresh_token");
    }
    assert_eq!(desk.me(token(&other)).await.0, 200, "the other sessions live");
    assert_eq!(desk.count(REUSED).await, 1, "said once");
}

#[tokio::test]
async fn a_used_token_that_comes_back_after_ten_seconds_ends_the_session() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let next = desk.refresh(refresh_token(&ann)).await;
    is_problem(&desk.refresh(refresh_token(&ann)).await, 409, "refresh_raced");
    assert_eq!(desk.me(token(&next)).await.0, 200);
    later(&desk).await;
    is_problem(&desk.refresh(refresh_token(&ann)).await, 401, "invalid_refresh_token");
    is_problem(&desk.me(token(&next)).await, 401, "unauthenticated");
    assert_eq!(desk.count(REUSED).await, 1);
}

#[tokio::test]
async fn a_stolen_token_that_is_used_first_is_found_out_when_its_owner_comes() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let stolen = refresh_from(&desk, "a thief's device", refresh_token(&ann)).await;
    assert_eq!(stolen.0, 200);
    is_problem(&desk.refresh(refresh_token(&ann)).await, 401, "invalid_refresh_token");
    is_problem(&desk.me(token(&stolen)).await, 401, "unauthenticated");
    is_problem(&refresh_from(&desk, "a thief's device", refresh_token(&stolen)).await, 401, "invalid_refresh_token");
}

#[tokio::test]
async fn what_is_no_refresh_token_of_a_living_session_is_refused_alike() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    for odd in ["", "garbage", token(&ann)] {
        is_problem(&desk.refresh(odd).await, 401, "invalid_refresh_token");
    }
    assert_eq!(desk.logout(token(&ann)).await.0, 200);
    is_problem(&desk.refresh(refresh_token(&ann)).await, 401, "invalid_refresh_token");
    let bob = desk.register("bob@example.org", "bob").await;
    sqlx::query("UPDATE secrets SET expires_at = now() WHERE kind IN ('refresh', 'session')").execute(&desk.pool).await.unwrap();
    is_problem(&desk.refresh(refresh_token(&bob)).await, 401, "invalid_refresh_token");
    assert_eq!(desk.count(REFRESHED).await, 0);
}

#[tokio::test]
async fn a_reuse_that_redis_cannot_be_told_of_is_pending_until_a_repeat_completes_it() {
    let mut desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let next = desk.refresh(refresh_token(&ann)).await;
    later(&desk).await;
    desk.redis.stop();
    is_problem(&desk.refresh(refresh_token(&ann)).await, 503, "revocation_pending");
    is_problem(&desk.me(token(&next)).await, 401, "unauthenticated");
    desk.redis.run().await;
    testkit::wait_until("the repeat completes it", SOON, async || (desk.refresh(refresh_token(&ann)).await.0 == 401).then_some(())).await;
    assert_eq!(desk.count(REUSED).await, 1);
}

#[tokio::test]
async fn tokens_are_kept_as_digests_and_never_in_events_or_records() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let body = json!({"refresh_token": refresh_token(&ann)}).to_string();
    let keyed =
        reqwest::Client::new().post(desk.url("/api/v1/auth/refresh")).header("idempotency-key", "k").header("user-agent", "planted-device");
    let answer = keyed.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let next: Value = answer.json().await.unwrap();
    let mut everything = String::new();
    for sql in [
        "SELECT payload::text || metadata::text FROM events",
        "SELECT kind || key || owner FROM reservations",
        "SELECT kind || key || encode(value, 'escape') FROM secrets",
    ] {
        everything.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&desk.pool).await.unwrap());
    }
    for planted in [token(&ann), refresh_token(&ann), next["access_token"].as_str().unwrap(), next["refresh_token"].as_str().unwrap()] {
        assert!(!everything.contains(planted), "{planted}");
    }
    assert_eq!(desk.count("SELECT count(*) FROM command_results").await, 0);
}

#[tokio::test]
async fn new_tokens_say_what_the_account_may_do_by_now() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    command_services::auth::admin::grant(&desk.auth.ledger, "ANN@example.org", schemas::auth::Role::Admin).await.unwrap();
    let next = desk.refresh(refresh_token(&ann)).await;
    let role = async |answer: &Answer| desk.auth.tokens.verify(token(answer)).await.unwrap().role.clone();
    assert_eq!((role(&ann).await.as_str(), role(&next).await.as_str()), ("user", "admin"));
    assert_eq!(desk.me(token(&ann)).await.2["role"], "admin");
}
