//! Signing in and out, and what others can tell of it.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::system::{MACHINE, System};
use uuid::Uuid;

async fn me(who: &Person) -> u16 {
    who.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status.as_u16()
}

async fn public(system: &System, path: &str, body: Value) -> Answer {
    Answer::to(testkit::person::http().post(system.url(path)).json(&body)).await.expect("an answer")
}

#[tokio::test]
async fn a_logout_ends_its_own_session_alone_and_a_new_one_can_be_opened() {
    let system = System::shared().await;
    let first = Person::register(system, "ann").await;
    let second = first.login().await;
    assert_eq!(first.post("/api/v1/auth/logout", json!({"refresh_token": null})).await.status, 200);
    assert_eq!((me(&first).await, me(&second).await), (401, 200));
    let third = second.login().await;
    assert_eq!((me(&first).await, me(&third).await), (401, 200), "a new session brings no old one back");
}

#[tokio::test]
async fn verify_token_tells_whose_a_token_is_and_reads_none_from_the_address() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let path = "/api/v1/auth/verify-token";
    let good = public(system, path, json!({"token": ann.token})).await;
    assert_eq!((good.status.as_u16(), good.json()), (200, json!({"valid": true, "user_id": ann.id})));
    for token in ["", "null", "x.y.z", &format!("{}x", ann.token), &format!("Bearer {}", ann.token)] {
        let bad = public(system, path, json!({"token": token})).await;
        assert_eq!(bad.status, 401, "{token}: {}", bad.text);
        assert_eq!(bad.header("content-type"), Some("application/problem+json"));
    }
    let address = format!("{path}?token={}", ann.token);
    assert_eq!(public(system, &address, json!({})).await.status, 422);
}

#[tokio::test]
async fn published_keys_are_public_halves_and_name_the_one_that_signed() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let answer = Answer::to(testkit::person::http().get(system.url("/.well-known/jwks.json"))).await.expect("an answer");
    assert_eq!(answer.status, 200);
    let jwks = answer.json();
    let keys = jwks["keys"].as_array().expect("keys");
    for key in keys {
        assert_eq!(
            (key["kty"].as_str(), key["crv"].as_str(), key["alg"].as_str(), key["use"].as_str()),
            (Some("EC"), Some("P-256"), Some("ES256"), Some("sig"))
        );
        assert!(key.get("d").is_none(), "the private half stays at home");
    }
    let part = |n: usize| -> Value {
        let part = ann.token.split('.').nth(n).expect("three parts");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    };
    let (header, claims) = (part(0), part(1));
    assert_eq!(header["alg"], "ES256");
    assert!(keys.iter().any(|key| key["kid"] == header["kid"]), "{jwks} lacks {}", header["kid"]);
    let mut names: Vec<&str> = claims.as_object().expect("claims").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "role", "sid", "sub"]);
    assert_eq!((claims["sub"].clone(), claims["role"].clone()), (json!(ann.id), json!("user")));
    assert_eq!(claims["exp"].as_i64().zip(claims["iat"].as_i64()).map(|(exp, iat)| exp - iat), Some(24 * 60 * 60));
}

#[tokio::test]
async fn the_signing_key_is_a_file_that_nobody_else_can_read() {
    let system = System::shared().await;
    let keys: Vec<_> = std::fs::read_dir(system.directory.join("data/keys")).expect("a directory").flatten().collect();
    assert!(!keys.is_empty());
    for key in keys {
        let file = key.metadata().expect("a file");
        assert!(!file.is_file() || file.mode() & 0o777 == 0o600, "{}: {:o}", key.path().display(), file.mode());
    }
}

#[tokio::test]
async fn an_unknown_address_takes_as_long_as_a_wrong_password() {
    let _alone = MACHINE.lock().await;
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let mut took = [Vec::new(), Vec::new()];
    for round in 0..9 {
        if round % 4 == 3 {
            // Five wrong ones in a row would lock it.
            ann.login().await;
        }
        for (which, email) in [ann.email.clone(), format!("{}@example.org", Uuid::now_v7())].iter().enumerate() {
            let begin = Instant::now();
            let answer = public(system, "/api/v1/auth/login", json!({"email": email, "password": "not the password"})).await;
            if answer.status == 401 {
                took[which].push(begin.elapsed());
            }
        }
    }
    let [known, unknown] = took.map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or(Duration::ZERO)
    });
    // Without a hash for nobody it would be a hundredth.
    assert!(known < unknown * 3 && unknown < known * 3, "wrong password {known:?}, unknown address {unknown:?}");
}

#[tokio::test]
async fn addresses_and_names_are_taken_whatever_their_case_and_a_role_is_not_heard() {
    let system = System::shared().await;
    let unique = Uuid::now_v7().simple().to_string();
    let account = |email: &str, name: &str| json!({"email": format!("{email}.{unique}@Example.org"), "username": format!("{name}-{unique}"), "password": "a password", "role": "admin"});
    let first = public(system, "/api/v1/auth/register", account("ann", "Ann")).await;
    assert_eq!(first.status, 200, "{}", first.text);
    assert_eq!(first.json()["user"]["role"], "user");
    for taken in [account("ANN", "somebody"), account("somebody", "aNN"), account("ann", "ann")] {
        let refused = public(system, "/api/v1/auth/register", taken).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["detail"].as_str()),
            (400, Some("User with this email or username already exists"))
        );
    }
    // Who was refused has taken nothing.
    let after = public(system, "/api/v1/auth/register", account("somebody", "somebody")).await;
    assert_eq!(after.status, 200, "{}", after.text);
}

#[tokio::test]
async fn an_account_outside_the_contracts_bounds_is_refused_by_field() {
    let system = System::shared().await;
    let unique = Uuid::now_v7().simple().to_string();
    let with = |field: &str, value: &str| {
        let mut body = json!({"email": format!("{unique}@example.org"), "username": format!("n-{unique}"), "password": "a password"});
        body[field] = json!(value);
        body
    };
    for (field, value) in [
        ("username", "ab"),
        ("username", &"n".repeat(51)),
        ("username", "  a  "),
        ("password", "1234567"),
        ("email", "nobody"),
        ("email", "@example.org"),
        ("email", "a b@example.org"),
        ("email", ""),
    ] {
        let refused = public(system, "/api/v1/auth/register", with(field, value)).await;
        assert_eq!(
            (refused.status.as_u16(), refused.json()["errors"][0]["field"].as_str()),
            (422, Some(field)),
            "{value:?}: {}",
            refused.text
        );
    }
    let good = public(system, "/api/v1/auth/register", with("username", &format!("{:n<50}", unique))).await;
    assert_eq!(good.status, 200, "fifty characters are right: {}", good.text);
}
