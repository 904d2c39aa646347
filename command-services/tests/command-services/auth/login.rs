//! Sign-in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use command_services::auth::Hasher;
use serde_json::json;
use tokio::task::JoinSet;

use super::desk::{Desk, PASSWORD, is_problem, token};

#[tokio::test]
async fn every_sign_in_opens_a_session_of_its_own() {
    let desk = Desk::open().await;
    let registered = desk.register("ann@example.org", "ann").await;
    let (one, two) = (desk.login("ANN@example.org", PASSWORD).await, desk.login(" ann@Example.org", PASSWORD).await);
    for answer in [&one, &two] {
        assert_eq!(desk.me(token(answer)).await.2["id"], registered.2["user"]["id"]);
        assert!(answer.2["user"].get("created_at").is_none());
        assert_eq!(answer.2["user"]["role"], "user");
        assert!(answer.1.contains_key("x-consistency-token"));
    }
    let tokens = [token(&registered), token(&one), token(&two)];
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2]);
    assert_eq!(desk.count("SELECT count(DISTINCT aggregate_id) FROM events WHERE event_type = 'session.started'").await, 3);
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'refresh'").await, 3);
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_refused_alike() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    let long = "x".repeat(5_000);
    for (email, password) in [
        ("ann@example.org", "wrong password"),
        ("nobody@example.org", PASSWORD),
        ("not an address", PASSWORD),
        ("", ""),
        ("ann@example.org", ""),
        ("ann@example.org", &long),
    ] {
        let answer = desk.login(email, password).await;
        is_problem(&answer, 401, "invalid_credentials");
        assert_eq!(answer.2["detail"], "Invalid credentials");
    }
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'session.started'").await, 1, "nothing changed");
}

#[tokio::test]
async fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    let took = async |email: &str| {
        let begun = Instant::now();
        is_problem(&desk.login(email, "wrong password").await, 401, "invalid_credentials");
        begun.elapsed()
    };
    // The shortest of several, in alternation: what else runs on the machine only ever adds.
    let (mut known, mut unknown) = (Duration::MAX, Duration::MAX);
    for round in 0..8 {
        known = known.min(took("ann@example.org").await);
        unknown = unknown.min(took(&format!("nobody{round}@example.org")).await);
        if round == 3 {
            // Five in a row would lock it.
            token(&desk.login("ann@example.org", PASSWORD).await);
        }
    }
    assert!(unknown * 2 > known && known * 2 > unknown, "known {known:?}, unknown {unknown:?}");
}

#[tokio::test]
async fn a_storm_of_sign_ins_is_refused_in_part_and_never_hangs() {
    let desk = Arc::new(Desk::open_with(Hasher::new(1, 2, Duration::from_secs(30))).await);
    token(&desk.register("ann@example.org", "ann").await);
    let mut all = JoinSet::new();
    for _ in 0..20 {
        let desk = Arc::clone(&desk);
        all.spawn(async move { desk.login("ann@example.org", PASSWORD).await });
    }
    let answers = all.join_all().await;
    let refused: Vec<_> = answers.iter().filter(|answer| answer.0 != 200).collect();
    assert!(!refused.is_empty() && refused.len() < 20, "{} of 20 were refused", refused.len());
    for answer in refused {
        is_problem(answer, 503, "busy");
        assert!(answer.1.contains_key("retry-after"));
    }
}

#[tokio::test]
async fn a_token_is_verified_for_whoever_asks() {
    let desk = Desk::open().await;
    let registered = desk.register("ann@example.org", "ann").await;
    let verify = async |body| desk.post("/api/v1/auth/verify-token", body).await;
    let (status, _, body) = verify(json!({"token": token(&registered)})).await;
    assert_eq!((status, body), (200, json!({"valid": true, "user_id": registered.2["user"]["id"]})));
    for bad in ["", "null", "garbage", registered.2["refresh_token"].as_str().unwrap()] {
        is_problem(&verify(json!({"token": bad})).await, 401, "unauthenticated");
    }
    desk.logout(token(&registered)).await;
    is_problem(&verify(json!({"token": token(&registered)})).await, 401, "unauthenticated");
}

#[tokio::test]
async fn the_signing_keys_are_public_and_their_private_halves_are_not() {
    let desk = Desk::open().await;
    let (status, headers, body) = desk.send("GET", "/.well-known/jwks.json", None, None).await;
    assert_eq!((status, headers["cache-control"].to_str().unwrap()), (200, "public, max-age=60"));
    let key = &body["keys"][0];
    assert_eq!((&key["kty"], &key["crv"], &key["alg"], &key["use"]), (&json!("EC"), &json!("P-256"), &json!("ES256"), &json!("sig")));
    assert!(key["kid"].is_string() && key["x"].is_string() && key["y"].is_string() && key.get("d").is_none());
}
