//! Sessions, passwords and locks over two processes: what one has done, the other knows within a second.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::system::System;
use testkit::wait_until;

use crate::two_processes::Two;

const SECOND: Duration = Duration::from_secs(1);

async fn me(who: &Person) -> u16 {
    who.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status.as_u16()
}

async fn dies(who: &Person, what: &str) {
    wait_until(("known there", what), SECOND, async || (me(who).await == 401).then_some(())).await;
}

async fn public(system: &System, path: &str, body: Value) -> Answer {
    Answer::to(testkit::person::http().post(system.url(path)).header("user-agent", "a browser").json(&body)).await.expect("an answer")
}

async fn sign_in(system: &System, who: &Person, password: &str) -> u16 {
    public(system, "/api/v1/auth/login", json!({"email": who.email, "password": password})).await.status.as_u16()
}

#[tokio::test]
async fn what_ends_a_session_here_ends_it_there_within_a_second() {
    let both = Two::start().await;
    let ann = Person::register(&both.one, "ann").await;
    let there = |answer: &Value| ann.with_token(answer).at(&both.two);

    // One of them.
    let phone = ann.sign_in_from("a phone").await;
    let id = ann
        .with_token(&phone)
        .get("/api/v1/auth/sessions")
        .await
        .as_array()
        .expect("a list")
        .iter()
        .find(|s| s["current"] == true)
        .expect("it")["id"]
        .clone();
    assert_eq!(me(&there(&phone)).await, 200);
    let path = format!("/api/v1/auth/sessions/{}", id.as_str().expect("an id"));
    assert_eq!(ann.ask(Method::DELETE, &path, None).await.expect("an answer").status, 204);
    dies(&there(&phone), "one that was ended").await;

    // All others.
    let (one, two) = (ann.sign_in_from("one").await, ann.sign_in_from("two").await);
    assert_eq!(ann.ask(Method::DELETE, "/api/v1/auth/sessions", None).await.expect("an answer").status, 204);
    dies(&there(&one), "all others").await;
    dies(&there(&two), "all others").await;

    // The password.
    let other = ann.sign_in_from("other").await;
    let body = json!({"current_password": ann.password, "new_password": "another password"});
    assert_eq!(ann.post("/api/v1/auth/password/change", body).await.status, 204);
    assert_eq!((sign_in(&both.two, &ann, &ann.password).await, sign_in(&both.two, &ann, "another password").await), (401, 200));
    dies(&there(&other), "the password").await;

    // A refresh token that was stolen.
    let mut ann = ann;
    ann.password = "another password".into();
    let copied = ann.sign_in_from("a browser").await;
    let next = public(&both.one, "/api/v1/auth/refresh", json!({"refresh_token": copied["refresh_token"]})).await;
    assert_eq!(next.status, 200, "{}", next.text);
    let thief = testkit::person::http().post(both.two.url("/api/v1/auth/refresh")).header("user-agent", "a thief");
    let stolen = Answer::to(thief.json(&json!({"refresh_token": copied["refresh_token"]}))).await.expect("an answer");
    assert_eq!(stolen.status, 401, "{}", stolen.text);
    dies(&ann.with_token(&next.json()), "a reuse").await;
    assert_eq!((me(&ann).await, me(&ann.at(&both.two)).await), (200, 200), "the session that did all this lives");
}

#[tokio::test]
async fn of_two_refreshes_at_two_processes_one_wins_and_the_session_lives() {
    let both = Two::start().await;
    let ann = Person::register(&both.one, "ann").await;
    let mut current = ann.sign_in_from("a browser").await;
    for round in 0..10 {
        let body = json!({"refresh_token": current["refresh_token"]});
        let (here, there) =
            tokio::join!(public(&both.one, "/api/v1/auth/refresh", body.clone()), public(&both.two, "/api/v1/auth/refresh", body));
        let (won, lost) = if here.status == 200 { (here, there) } else { (there, here) };
        assert_eq!(
            (won.status.as_u16(), lost.status.as_u16(), lost.json()["code"].as_str()),
            (200, 409, Some("refresh_raced")),
            "round {round}"
        );
        current = won.json();
        let person = ann.with_token(&current);
        assert_eq!((me(&person).await, me(&person.at(&both.two)).await), (200, 200), "round {round}");
    }
}

#[tokio::test]
async fn wrong_passwords_are_counted_over_both_processes() {
    let both = Two::start().await;
    let ann = Person::register(&both.one, "ann").await;
    let mut nobody = ann.clone();
    nobody.email = format!("nobody.{}", ann.email);
    for who in [&ann, &nobody] {
        for number in 0..5 {
            assert_eq!(sign_in(if number % 2 == 0 { &both.one } else { &both.two }, who, "wrong password").await, 401);
        }
        for system in [&both.one, &both.two] {
            assert_eq!(sign_in(system, who, &ann.password).await, 429);
        }
    }
    assert_eq!(me(&ann).await, 200, "who is signed in stays so");
}

#[tokio::test]
async fn a_name_that_is_given_back_here_is_free_there_and_is_somebodys_once() {
    let both = Two::start().await;
    let people = join_all((0..4).map(|n| Person::register(if n % 2 == 0 { &both.one } else { &both.two }, "p"))).await;
    let rename = async |who: &Person, name: &str| {
        who.ask(Method::PUT, "/api/v1/auth/username", Some(json!({"username": name}))).await.expect("an answer").status.as_u16()
    };
    for round in 0..5 {
        let wanted = format!("wanted-{round}");
        let answers = join_all(people.iter().map(|who| rename(who, &wanted))).await;
        assert_eq!(answers.iter().filter(|status| **status == 200).count(), 1, "{answers:?}");
        let (winner, _) = people.iter().zip(&answers).find(|(_, status)| **status == 200).expect("one of them");
        let id = winner.id;
        let seen = people.iter().find(|who| who.id != id).expect("another").get(&format!("/api/v1/users/{id}")).await;
        assert_eq!(seen["username"], wanted.as_str(), "the next read of anybody with the winner's marks shows it");
    }
}

#[tokio::test]
async fn a_revocation_that_died_before_it_was_announced_is_completed_by_its_repeat_elsewhere() {
    let mut both = Two::start().await;
    let ann = Person::register(&both.two, "ann").await;
    both.one.kill();
    both.one.config = both.one.config.clone().env("POSTRIDER_CRASH_POINT", "auth.before_announcement");
    both.one.start_again();
    both.one.ready().await;
    let phone = ann.sign_in_from("a phone").await;
    let phone = ann.with_token(&phone);
    assert!(phone.at(&both.one).ask(Method::POST, "/api/v1/auth/logout", Some(json!({}))).await.is_err(), "it dies before it answers");
    assert_eq!(me(&phone).await, 200, "nobody was told, and nothing was promised");
    assert_eq!(phone.post("/api/v1/auth/logout", json!({})).await.status, 200, "the token that it killed completes it");
    assert_eq!(me(&phone).await, 401);

    // And without a repeat: whoever starts reads the ledger.
    both.one.config = both.one.config.clone().env("POSTRIDER_CRASH_POINT", "auth.before_announcement");
    both.one.start_again();
    both.one.ready().await;
    let phone = ann.with_token(&ann.sign_in_from("another phone").await);
    assert!(phone.at(&both.one).ask(Method::POST, "/api/v1/auth/logout", Some(json!({}))).await.is_err());
    both.one.config = both.one.config.clone().without("POSTRIDER_CRASH_POINT");
    both.one.start_again();
    both.one.ready().await;
    assert_eq!(me(&phone.at(&both.one)).await, 401);
    wait_until("the other process learns of it", Duration::from_secs(2), async || (me(&phone).await == 401).then_some(())).await;
    assert_eq!(me(&ann).await, 200);
}
