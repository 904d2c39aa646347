//! Sign-out: dead at once, everywhere.

use std::sync::Arc;

use platform::auth::Standing;
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::task::JoinSet;

use super::desk::{Desk, PASSWORD, SOON, is_problem, token};

const REVOKED: &str = "SELECT count(*) FROM events WHERE event_type = 'session.revoked'";

#[tokio::test]
async fn a_token_dies_with_its_session_and_the_users_other_sessions_live() {
    let desk = Desk::open().await;
    let (one, two) = (desk.register("ann@example.org", "ann").await, desk.login("ann@example.org", PASSWORD).await);
    let (status, headers, body) = desk.logout(token(&one)).await;
    assert_eq!((status, body), (200, json!({"status": "logged_out"})));
    assert!(headers.contains_key("x-consistency-token"));
    is_problem(&desk.me(token(&one)).await, 401, "unauthenticated");
    assert_eq!(desk.me(token(&two)).await.0, 200);
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind IN ('refresh', 'session')").await, 2, "what is left is the other's");
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'revoked' AND expires_at > now()").await, 1);
}

#[tokio::test]
async fn a_sign_out_can_be_repeated_with_the_token_that_it_killed() {
    let desk = Arc::new(Desk::open().await);
    let ann = desk.register("ann@example.org", "ann").await;
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let (desk, token) = (Arc::clone(&desk), token(&ann).to_owned());
        all.spawn(async move { desk.logout(&token).await.0 });
    }
    assert_eq!(all.join_all().await, [200; 8]);
    assert_eq!(desk.logout(token(&ann)).await.0, 200);
    assert_eq!(desk.count(REVOKED).await, 1);
}

#[tokio::test]
async fn what_redis_cannot_take_is_pending_until_a_repeat_completes_it() {
    let mut desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    desk.redis.stop();
    let answer = desk.logout(token(&ann)).await;
    is_problem(&answer, 503, "revocation_pending");
    assert!(answer.1.contains_key("retry-after"));
    is_problem(&desk.me(token(&ann)).await, 401, "unauthenticated");
    desk.redis.run().await;
    wait_until("the repeat completes it", SOON, async || (desk.logout(token(&ann)).await.0 == 200).then_some(())).await;
    assert_eq!(desk.count(REVOKED).await, 1);
}

#[tokio::test]
async fn a_redis_that_lost_everything_learns_from_the_ledger_who_signed_out() {
    let mut desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let claims = desk.auth.tokens.verify(token(&ann)).await.unwrap();
    assert_eq!(desk.logout(token(&ann)).await.0, 200);
    desk.redis.stop();
    desk.redis.run().await;
    let newcomer = platform::auth::Revocations::follow(
        platform::redis::Redis::connect(&desk.redis.url(), desk.auth.shutdown.clone()).unwrap(),
        SOON,
        desk.auth.shutdown.clone(),
    );
    wait_until("another process knows", SOON, async || (newcomer.standing(claims.sid) == Standing::Revoked).then_some(())).await;
}

#[tokio::test]
async fn a_refresh_token_that_is_sent_along_dies_only_when_it_is_of_this_session() {
    let desk = Desk::open().await;
    let (one, two) = (desk.register("ann@example.org", "ann").await, desk.register("bob@example.org", "bob").await);
    let anothers = json!({"refresh_token": two.2["refresh_token"]}).to_string();
    assert_eq!(desk.send("POST", "/api/v1/auth/logout", Some(token(&one)), Some(anothers)).await.0, 200);
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'refresh'").await, 1, "Bob's");
    let own = json!({"refresh_token": two.2["refresh_token"]}).to_string();
    assert_eq!(desk.send("POST", "/api/v1/auth/logout", Some(token(&two)), Some(own)).await.0, 200);
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'refresh'").await, 0);
}

#[tokio::test]
async fn a_body_is_optional_and_null_is_none() {
    let desk = Desk::open().await;
    for body in [
        None,
        Some(String::new()),
        Some("{}".into()),
        Some(json!({"refresh_token": Value::Null}).to_string()),
        Some(r#"{"refresh_token":""}"#.into()),
    ] {
        let email = format!("{}@example.org", uuid::Uuid::now_v7());
        let ann = desk.register(&email, &email[..36]).await;
        assert_eq!(desk.send("POST", "/api/v1/auth/logout", Some(token(&ann)), body).await.0, 200);
    }
}
