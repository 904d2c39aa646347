//! Registration, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use base64::Engine;
use platform::marks::ConsistencyToken;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::desk::{Desk, PASSWORD, is_problem, token};

fn members(object: &Value) -> BTreeSet<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn whoever_registers_is_signed_in_and_sees_themselves() {
    let desk = Desk::open().await;
    let key = base64::engine::general_purpose::STANDARD.encode(r#"{"kty":"EC"}"#);
    let body = json!({"email": " Ann@Example.org ", "username": " Ann ", "password": PASSWORD, "full_name": "Ann Example",
        "public_key": key, "role": "admin", "more": null});
    let answer = desk.post("/api/v1/auth/register", body).await;
    let (status, headers, body) = &answer;
    assert_eq!(*status, 200, "{body}");
    assert_eq!(members(body), BTreeSet::from(["access_token", "token_type", "refresh_token", "expires_in", "user"]));
    let user = &body["user"];
    assert_eq!(
        members(user),
        BTreeSet::from(["id", "email", "username", "full_name", "public_key", "is_active", "avatar_url", "role", "created_at"])
    );
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(86_400)));
    for (field, value) in [
        ("email", json!("Ann@Example.org")),
        ("username", json!("Ann")),
        ("full_name", json!("Ann Example")),
        ("public_key", json!(key)),
        ("is_active", json!(true)),
        ("avatar_url", Value::Null),
        ("role", json!("user")),
    ] {
        assert_eq!(user[field], value, "{field}");
    }
    assert!(ConsistencyToken::decode(headers["x-consistency-token"].to_str().unwrap()).is_some_and(|token| !token.marks.is_empty()));

    let (status, _, me) = desk.me(token(&answer)).await;
    assert_eq!(status, 200, "{me}");
    assert_eq!(
        members(&me),
        BTreeSet::from([
            "id",
            "email",
            "username",
            "full_name",
            "is_active",
            "avatar_url",
            "bio",
            "is_verified",
            "created_at",
            "public_key",
            "role"
        ])
    );
    for field in ["id", "email", "username", "full_name", "public_key", "created_at", "role"] {
        assert_eq!(me[field], user[field], "{field}");
    }
    assert_eq!((&me["is_verified"], &me["bio"]), (&json!(false), &Value::Null));
}

#[tokio::test]
async fn an_address_or_a_name_is_given_once_whatever_its_letter_case() {
    let desk = Desk::open().await;
    token(&desk.register("ann@example.org", "ann").await);
    for (email, username) in [("ANN@example.ORG ", "another"), ("other@example.org", " ANN"), ("ann@example.org", "ann")] {
        let answer = desk.register(email, username).await;
        is_problem(&answer, 400, "already_exists");
        assert_eq!(answer.2["detail"], "User with this email or username already exists");
    }
    token(&desk.register("bob@example.org", "bob").await);
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'account.registered'").await, 2);
}

#[tokio::test]
async fn fifty_parallel_registrations_of_one_address_make_one_account() {
    let desk = Arc::new(Desk::open().await);
    let mut all = JoinSet::new();
    for number in 0..50 {
        let desk = Arc::clone(&desk);
        let email = if number % 2 == 0 { "Ann@Example.org" } else { "aNN@eXAMPLE.oRG" };
        all.spawn(async move { desk.register(email, &format!("name-{number}")).await });
    }
    let answers = all.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.0 == 200).count(), 1);
    for answer in answers.iter().filter(|answer| answer.0 != 200) {
        is_problem(answer, 400, "already_exists");
    }
    assert_eq!(desk.count("SELECT count(*) FROM events WHERE event_type = 'account.registered'").await, 1);
    assert_eq!(desk.count("SELECT count(*) FROM secrets WHERE kind = 'password'").await, 1);
    assert_eq!(
        desk.count("SELECT count(*) FROM reservations WHERE kind IN ('email.v1', 'username.v1')").await,
        2,
        "who lost the address has not kept the name"
    );
}

#[tokio::test]
async fn neither_secrets_nor_personal_data_stand_in_the_ledger_in_the_clear() {
    let desk = Desk::open().await;
    let answer = desk
        .post(
            "/api/v1/auth/register",
            json!({"email": "planted@example.org", "username": "plantedname", "password": "planted password", "full_name": "Planted Person"}),
        )
        .await;
    let (access, refresh) = (token(&answer).to_owned(), answer.2["refresh_token"].as_str().unwrap().to_owned());
    token(&desk.login("planted@example.org", "planted password").await);
    let mut everything = String::new();
    for sql in [
        "SELECT payload::text || metadata::text FROM events",
        "SELECT kind || key || owner FROM reservations",
        "SELECT kind || key || encode(value, 'escape') FROM secrets",
        "SELECT actor || command_key FROM command_results",
    ] {
        everything.extend(sqlx::query_scalar::<_, String>(sql).fetch_all(&desk.pool).await.unwrap());
    }
    assert!(everything.contains("$argon2id$"), "the secrets are there to look at");
    for planted in ["lanted", "127.0.0", &access, &refresh] {
        assert!(!everything.contains(planted), "{planted}");
    }
}

#[tokio::test]
async fn a_registration_that_is_repeated_with_its_key_is_still_refused_and_nothing_of_it_is_kept() {
    let desk = Desk::open().await;
    let body = json!({"email": "ann@example.org", "username": "ann", "password": PASSWORD});
    token(&desk.post("/api/v1/auth/register", body.clone()).await);
    is_problem(&desk.post("/api/v1/auth/register", body).await, 400, "already_exists");
    assert_eq!(desk.count("SELECT count(*) FROM command_results").await, 0);
}
