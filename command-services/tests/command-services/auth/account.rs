//! Name and key of an account.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::desk::{Answer, Desk, is_problem, token};

fn id(answer: &Answer) -> String {
    answer.2["user"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_becomes_the_active_one_and_nothing_happens_when_it_is() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    let put = async |key: &str| {
        let answer = desk.put(token(&ann), "/api/v1/auth/public-key", json!({"public_key": key})).await;
        assert_eq!((answer.0, &answer.2), (200, &json!({"success": true, "public_key": key})));
    };
    for key in ["a2V5IG9uZQ==", "a2V5IG9uZQ==", "a2V5IHR3bw==", "a2V5IHR3bw==", "a2V5IG9uZQ=="] {
        put(key).await;
        assert_eq!(desk.me(token(&ann)).await.2["public_key"], key);
    }
    let added = vec!["account.public_key_added"; 3];
    assert_eq!(desk.events_of(&id(&ann)).await, [vec!["account.registered"], added].concat());
}

#[tokio::test]
async fn another_name_answers_as_oneself_and_the_old_one_is_free_at_once() {
    let desk = Desk::open().await;
    let (ann, bob) = (desk.register("ann@example.org", "ann").await, desk.register("bob@example.org", "bob").await);
    let answer = desk.put(token(&ann), "/api/v1/auth/username", json!({"username": " Anna "})).await;
    assert_eq!((answer.0, &answer.2["username"]), (200, &json!("Anna")));
    assert_eq!(answer.2, desk.me(token(&ann)).await.2);
    assert!(answer.1.contains_key("x-consistency-token"));
    let taken = desk.put(token(&bob), "/api/v1/auth/username", json!({"username": "ANNA"})).await;
    is_problem(&taken, 400, "already_exists");
    assert_eq!(taken.2["detail"], "User with this email or username already exists");
    assert_eq!(desk.me(token(&bob)).await.2["username"], "bob");
    assert_eq!(desk.put(token(&bob), "/api/v1/auth/username", json!({"username": "ann"})).await.0, 200);
    token(&desk.register("carl@example.org", "BOB").await);
    // Only the letters' case, and nothing at all.
    for name in ["anna", "anna"] {
        assert_eq!(desk.put(token(&ann), "/api/v1/auth/username", json!({"username": name})).await.2["username"], "anna");
    }
    assert_eq!(desk.events_of(&id(&ann)).await, ["account.registered", "account.username_changed", "account.username_changed"]);
    assert_eq!(desk.count("SELECT count(*) FROM reservations WHERE kind = 'username.v1'").await, 3);
}

#[tokio::test]
async fn of_many_who_want_a_name_at_once_one_gets_it_and_nobody_keeps_two() {
    let desk = Arc::new(Desk::open().await);
    let mut people = Vec::new();
    for number in 0..4 {
        people.push(desk.register(&format!("p{number}@example.org"), &format!("p-{number}")).await);
    }
    let mut all = JoinSet::new();
    for (number, person) in people.iter().enumerate() {
        for wanted in ["wanted", "Wanted", "WANTED", &format!("own-{number}")] {
            let (desk, token, wanted) = (Arc::clone(&desk), token(person).to_owned(), wanted.to_owned());
            all.spawn(async move { desk.put(&token, "/api/v1/auth/username", json!({"username": wanted})).await });
        }
    }
    for answer in all.join_all().await {
        assert!(answer.0 == 200 || answer.0 == 400, "{}", answer.2);
    }
    let mut names = Vec::new();
    for person in &people {
        names.push(desk.me(token(person)).await.2["username"].as_str().unwrap().to_lowercase());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(desk.count("SELECT count(*) FROM reservations WHERE kind = 'username.v1'").await, 4, "one name each");
    let spare = desk.register("q@example.org", "spare").await;
    for free in (0..4).map(|number| format!("p-{number}")) {
        let answer = desk.put(token(&spare), "/api/v1/auth/username", json!({"username": free})).await;
        assert_eq!(answer.0, 200, "{free}: {}", answer.2);
    }
}

#[tokio::test]
async fn a_name_or_key_that_is_none_is_refused_by_field() {
    let desk = Desk::open().await;
    let ann = desk.register("ann@example.org", "ann").await;
    for (path, field, value) in [
        ("username", "username", json!("ab")),
        ("username", "username", json!("n".repeat(51))),
        ("username", "username", json!("\u{200b}\u{200b}\u{200b}")),
        ("username", "username", json!("a\u{7}bc")),
        ("username", "username", Value::Null),
        ("public-key", "public_key", json!("")),
        ("public-key", "public_key", json!("k".repeat(16 * 1024 + 1))),
        ("public-key", "public_key", json!({"kty": "EC"})),
    ] {
        let answer = desk.put(token(&ann), &format!("/api/v1/auth/{path}"), json!({field: value})).await;
        is_problem(&answer, 422, "invalid");
        assert_eq!(answer.2["errors"][0]["field"], field);
    }
    assert_eq!(desk.events_of(&id(&ann)).await, ["account.registered"]);
}
