//! Another password, chosen or set; and old hashes.

use std::time::Duration;

use command_services::auth::admin::{self, AdminError, Granted};
use command_services::auth::{Hasher, Lifetimes};
use schemas::auth::Role;
use serde_json::{Value, json};
use testkit::wait_until;

use super::desk::{Answer, Desk, PASSWORD, SOON, is_problem, refresh_token, token};

const NEW: &str = "another horse battery";

async fn change(desk: &Desk, token: &str, from: &str, to: &str) -> Answer {
    desk.post_as(token, "/api/v1/auth/password/change", json!({"current_password": from, "new_password": to})).await
}

#[tokio::test]
async fn a_changed_password_is_the_only_one_and_the_other_sessions_have_ended() {
    let desk = Desk::open().await;
    let (ann, other) = (desk.register("ann@example.org", "ann").await, desk.login("ann@example.org", PASSWORD).await);
    let bob = desk.register("bob@example.org", "bob").await;
    let answer = change(&desk, token(&ann), PASSWORD, NEW).await;
    assert_eq!((answer.0, &answer.2), (204, &Value::Null));
    is_problem(&desk.me(token(&other)).await, 401, "unauthenticated");
    is_problem(&desk.refresh(refresh_token(&other)).await, 401, "invalid_refresh_token");
    for alive in [&ann, &bob] {
        assert_eq!(desk.me(token(alive)).await.0, 200);
    }
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 401, "invalid_credentials");
    token(&desk.login("ann@example.org", NEW).await);
    token(&desk.login("bob@example.org", PASSWORD).await);
    let reasons = "SELECT count(*) FROM events WHERE event_type = 'session.revoked' AND payload->>'reason' = 'password_changed'";
    assert_eq!(desk.count(reasons).await, 1);
    let kept =
        "SELECT count(*) FROM events WHERE event_type LIKE 'account.%' AND (payload::text LIKE '%horse%' OR payload::text LIKE '%argon%')";
    assert_eq!(desk.count(kept).await, 0);
}

#[tokio::test]
async fn a_wrong_password_changes_nothing_and_counts_as_a_failed_sign_in() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    for _ in 0..5 {
        is_problem(&change(&desk, token(&ann), "wrong password", NEW).await, 403, "wrong_password");
    }
    is_problem(&change(&desk, token(&ann), PASSWORD, NEW).await, 429, "account_locked");
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 429, "account_locked");
    assert_eq!(desk.me(token(&ann)).await.0, 200, "who is signed in stays so");
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'account.password_changed'").await, 0);
    let short = change(&desk, token(&ann), PASSWORD, "seven77").await;
    is_problem(&short, 422, "invalid");
    assert_eq!(short.2["errors"][0]["field"], "new_password");
}

#[tokio::test]
async fn a_change_can_be_repeated_with_its_key_or_without() {
    let mut desk = Desk::open().await;
    let (ann, other) = (desk.register("ann@example.org", "ann").await, desk.login("ann@example.org", PASSWORD).await);
    desk.redis.stop();
    is_problem(&change(&desk, token(&ann), PASSWORD, NEW).await, 503, "revocation_pending");
    is_problem(&desk.me(token(&other)).await, 401, "unauthenticated");
    desk.redis.run().await;
    wait_until("the repeat completes it", SOON, async || (change(&desk, token(&ann), PASSWORD, NEW).await.0 == 204).then_some(())).await;
    let keyed = async |from: &str, to: &str| {
        let body = json!({"current_password": from, "new_password": to}).to_string();
        let request = reqwest::Client::new().post(desk.url("/api/v1/auth/password/change")).bearer_auth(token(&ann));
        request.header("content-type", "application/json").header("idempotency-key", "k").body(body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(keyed(NEW, "a third password").await, 204);
    assert_eq!(keyed(NEW, "a third password").await, 204);
    assert_eq!(keyed(NEW, "a fourth password").await, 422);
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'account.password_changed'").await, 2);
    // What is kept of the request is not the fast hash of a body with passwords in it.
    let digest: Vec<u8> = sqlx::query_scalar("SELECT digest FROM command_results").fetch_one(&desk.pool).await.unwrap();
    use sha2::Digest as _;
    let body = json!({"current_password": NEW, "new_password": "a third password"}).to_string();
    let plain = sha2::Sha256::new()
        .chain_update("POST /api/v1/auth/password/change")
        .chain_update([0])
        .chain_update(sha2::Sha256::digest(body))
        .finalize();
    assert_ne!(digest, plain.to_vec());
}

#[tokio::test]
async fn a_sign_in_that_began_with_another_password_than_now_counts_opens_nothing() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    // As if another had been stored after this one was looked at.
    sqlx::query("UPDATE reservations SET owner = 'another' WHERE kind = 'credentials.v1'").execute(&desk.pool).await.unwrap();
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 401, "invalid_credentials");
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'session.started'").await, 1);
}

/// Whether so many wait for the ledger's lane.
async fn waiting(desk: &Desk, how_many: i64) {
    let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    wait_until(("they wait for the lane", how_many), SOON, async || (desk.count(waiting).await >= how_many).then_some(())).await;
}

#[tokio::test]
async fn a_session_that_is_opened_while_the_password_changes_ends_with_the_others() {
    let desk = std::sync::Arc::new(Desk::open().await);
    let ann = desk.register("ann@example.org", "ann").await;
    // Both are under way, the sign-in first: it is stored after the change has looked at the sessions, and before the change.
    let mut lane = desk.pool.begin().await.unwrap();
    sqlx::query("SELECT pg_advisory_xact_lock($1, 0)").bind(schemas::key_hash("auth_ledger")).execute(&mut *lane).await.unwrap();
    let there = desk.clone();
    let sign_in = tokio::spawn(async move { there.login("ann@example.org", PASSWORD).await });
    waiting(&desk, 1).await;
    let (there, anns) = (desk.clone(), token(&ann).to_owned());
    let changing = tokio::spawn(async move { change(&there, &anns, PASSWORD, NEW).await });
    // The change's append waits behind the other: until it has asked the hasher twice, which is all that it does before.
    let hashed = async || desk.auth.hasher.verify("x".into(), None).await.unwrap();
    for _ in 0..3 {
        hashed().await;
    }
    lane.commit().await.unwrap();
    let (sign_in, changed) = (sign_in.await.unwrap(), changing.await.unwrap());
    assert_eq!(changed.0, 204, "{}", changed.2);
    if sign_in.0 == 200 {
        is_problem(&desk.me(token(&sign_in)).await, 401, "unauthenticated");
    }
    assert_eq!(desk.sessions(token(&ann)).await.len(), 1);
    token(&desk.login("ann@example.org", NEW).await);
    assert_eq!(desk.sessions(token(&ann)).await.len(), 2, "who signs in with the new one stays");
}

/// Gives the account a hash as the monolith stored it.
async fn as_of_the_monolith(desk: &Desk, hash: &str) {
    for sql in [
        "UPDATE secrets SET value = convert_to($1, 'UTF8') WHERE kind = 'password'",
        "DELETE FROM reservations WHERE kind = 'credentials.v1' AND $1 <> ''",
    ] {
        sqlx::query(sql).bind(hash).execute(&desk.pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_hash_of_the_monolith_opens_the_account_and_is_replaced_while_sessions_stay() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    as_of_the_monolith(&desk, "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e").await;
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 401, "invalid_credentials");
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'password' AND value LIKE '$2b$%'").await, 1);
    let both = tokio::join!(desk.login("ann@example.org", "correct horse"), desk.login("ann@example.org", "correct horse"));
    for answer in [&ann, &both.0, &both.1] {
        assert_eq!(desk.me(token(answer)).await.0, 200);
    }
    assert_eq!(
        desk.count("SELECT count(*) FROM secrets WHERE kind = 'password' AND value LIKE '$argon2id$v=19$m=19456,t=2,p=1$%'").await,
        1
    );
    let rehashed = "SELECT count(*) FROM events WHERE event_type = 'account.password_changed' AND payload->>'reason' = 'rehashed'";
    assert_eq!(desk.count(rehashed).await, 1);
    token(&desk.login("ann@example.org", "correct horse").await);
    assert_eq!(desk.count(rehashed).await, 1, "once");
}

#[tokio::test]
async fn of_a_long_password_of_the_monolith_the_first_72_bytes_count_until_it_is_hashed_anew() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    as_of_the_monolith(&desk, "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i").await;
    is_problem(&desk.login("ann@example.org", &"x".repeat(71)).await, 401, "invalid_credentials");
    token(&desk.login("ann@example.org", &"x".repeat(80)).await);
    token(&desk.login("ann@example.org", &"x".repeat(80)).await);
    is_problem(&desk.login("ann@example.org", &"x".repeat(72)).await, 401, "invalid_credentials");
}

#[tokio::test]
async fn an_operator_grants_a_role_once_and_to_somebody_who_is_there() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let grant = async |email: &str| admin::grant(&desk.auth.ledger, email, Role::Admin).await;
    assert!(matches!(grant(" ANN@example.org").await.unwrap(), Granted::Now(_)));
    assert!(matches!(grant("ann@example.org").await.unwrap(), Granted::Already(_)));
    assert!(matches!(grant("nobody@example.org").await, Err(AdminError::Unknown)));
    assert_eq!(desk.me(token(&ann)).await.2["role"], "admin");
    let by_system = "SELECT count(*) FROM events WHERE event_type = 'account.role_changed' AND metadata->>'actor' = 'system'";
    assert_eq!(desk.count(by_system).await, 1);
}

#[tokio::test]
async fn an_operator_sets_a_password_which_ends_sessions_and_lifts_a_lock() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    for _ in 0..5 {
        is_problem(&desk.login("ann@example.org", "wrong password").await, 401, "invalid_credentials");
    }
    is_problem(&desk.login("ann@example.org", PASSWORD).await, 429, "account_locked");
    let hasher = Hasher::new(1, 1, Duration::from_secs(60));
    let reset = async |given: Option<&str>| {
        admin::reset_password(&desk.auth.ledger, &hasher, Lifetimes::default(), "ann@example.org", given.map(str::to_owned)).await
    };
    assert!(matches!(reset(Some("short")).await.err(), Some(AdminError::PasswordLength)));
    let drawn = reset(None).await.ok().unwrap();
    assert_eq!(drawn.ended.len(), 1);
    assert!(admin::announce(&desk.auth.revocations, &drawn.ended).await);
    is_problem(&desk.me(token(&ann)).await, 401, "unauthenticated");
    let password = drawn.drawn.unwrap();
    assert_eq!(password.len(), 20);
    token(&desk.login("ann@example.org", &password).await);
    assert!(reset(Some(NEW)).await.ok().unwrap().drawn.is_none());
    token(&desk.login("ann@example.org", NEW).await);
    let by_system =
        "SELECT count(*) FROM events WHERE event_type IN ('account.password_changed', 'session.revoked') AND metadata->>'actor' = 'system'";
    assert_eq!(desk.count(by_system).await, 4);
}
