//! What answers look like, field by field, and what the system takes without complaint.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::system::System;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

const SEND: &str = "/api/v1/messages/send";

const MESSAGE: &str = "id,sender_id,recipient_id,encrypted_content,encrypted_session_key,sender_encrypted_content,crypto_version,encryption_algorithm,kdf_algorithm,signatures,is_read,created_at,has_media,media_attachments";
const RELAY_MESSAGE: &str = "id,sender_id,recipient_id,encrypted_content,encrypted_session_key,crypto_version,encryption_algorithm,kdf_algorithm,signatures,has_media,media_refs,created_at,delivery_attempts";

fn now() -> OffsetDateTime {
    platform::clock::now().into()
}

/// Every field that a contract's row names is there; of others only those that it allows.
#[track_caller]
fn assert_fields(object: &Value, wanted: &str, allowed: &str) {
    let fields = object.as_object().unwrap_or_else(|| panic!("an object: {object}"));
    for name in wanted.split(',') {
        assert!(fields.contains_key(name), "`{name}` is missing in {object}");
    }
    for name in fields.keys() {
        assert!(wanted.split(',').chain(allowed.split(',')).any(|n| n == name), "`{name}` is in no contract: {object}");
    }
}

/// UTC with `Z` and microseconds.
#[track_caller]
fn time(value: &Value) -> OffsetDateTime {
    let text = value.as_str().unwrap_or_else(|| panic!("a time: {value}"));
    assert!(text.len() == 27 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text}");
    OffsetDateTime::parse(text, &Rfc3339).expect("RFC 3339")
}

#[tokio::test]
async fn every_answer_about_accounts_has_the_contracts_fields() {
    let system = System::shared().await;
    let unique = Uuid::now_v7().simple().to_string();
    let key = "eyJrdHkiOiJFQyJ9";
    let account = json!({"email": format!("Ann.{unique}@example.org"), "username": format!("Ann-{unique}"), "password": "a password", "full_name": "Ann Example", "public_key": key});
    let register = Answer::to(testkit::person::http().post(system.url("/api/v1/auth/register")).json(&account)).await.expect("an answer");
    assert_eq!(register.status, 200, "{}", register.text);
    let registered = register.json();
    let user = "id,email,username,full_name,public_key,is_active,avatar_url,role";
    assert_fields(&registered, "access_token,token_type,refresh_token,expires_in,user", "");
    assert_fields(&registered["user"], &format!("{user},created_at"), "");
    assert_eq!((registered["token_type"].clone(), registered["expires_in"].clone()), (json!("bearer"), json!(86_400)));
    let login = json!({"email": account["email"], "password": account["password"]});
    let login = Answer::to(testkit::person::http().post(system.url("/api/v1/auth/login")).json(&login)).await.expect("an answer").json();
    assert_fields(&login, "access_token,token_type,refresh_token,expires_in,user", "");
    assert_fields(&login["user"], user, "");
    let ask = async |path: &str| {
        let request = testkit::person::http().get(system.url(path)).bearer_auth(login["access_token"].as_str().expect("a token"));
        Answer::to(request).await.expect("an answer").json()
    };
    let me = ask("/api/v1/auth/me").await;
    assert_fields(&me, "id,email,username,full_name,is_active,avatar_url,bio,is_verified,created_at,public_key,role", "");
    let id = me["id"].as_str().expect("an id");
    assert_eq!(Uuid::parse_str(id).expect("a UUID").get_version_num(), 7, "new ids are UUIDv7");
    for answer in [&registered["user"], &login["user"], &me] {
        for field in ["email", "username", "full_name", "public_key"] {
            assert_eq!(answer[field], account[field], "as it was given");
        }
        assert_eq!((answer["is_active"].clone(), answer["role"].clone()), (json!(true), json!("user")));
    }
    assert_eq!(time(&me["created_at"]), time(&registered["user"]["created_at"]));
    let profile = ask(&format!("/api/v1/users/{}", id.to_uppercase())).await;
    assert_fields(&profile, "id,email,username,full_name,public_key,is_active", "avatar_url,bio,is_online,last_seen");
    assert_eq!((profile["id"].clone(), profile["public_key"].clone()), (json!(id), json!(key)));
}

#[tokio::test]
async fn every_answer_about_messages_has_the_contracts_fields_and_one_time() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let before = now();
    let mut body = Person::message(bob.id, Uuid::now_v7(), "hello");
    body["signatures"] = json!({"ecdsa": "s", "nested": [1, null, 1.50]});
    body["sender_encrypted_content"] = json!("mine");
    body["media_ids"] = json!([Uuid::now_v7(), "none"]);
    let sent = ann.post(SEND, body.clone()).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    let sent = sent.json();
    let history = ann.get(&format!("/api/v1/messages/conversation/{}", bob.id)).await;
    for message in [&sent, &history[0]] {
        assert_fields(message, MESSAGE, "delivered_at,read_at,edited_at,reply_to");
        assert_eq!(
            (message["signatures"].clone(), message["sender_encrypted_content"].clone()),
            (body["signatures"].clone(), json!("mine"))
        );
        assert_eq!(
            (message["is_read"].clone(), message["has_media"].clone(), message["media_attachments"].clone()),
            (json!(false), json!(false), json!([]))
        );
    }
    let pending = bob.get("/api/v1/relay/pending").await;
    assert_fields(&pending, "success,count,messages", "");
    assert_eq!((pending["success"].clone(), pending["count"].clone()), (json!(true), json!(1)));
    assert_fields(&pending["messages"][0], RELAY_MESSAGE, "");
    assert_eq!(pending["messages"][0]["media_refs"], json!([]));
    let created = time(&sent["created_at"]);
    assert!(created >= before - time::Duration::seconds(1) && created <= now() + time::Duration::seconds(1));
    for other in [&history[0]["created_at"], &pending["messages"][0]["created_at"]] {
        assert_eq!(time(other), created, "one time, wherever it is shown");
    }
}

#[tokio::test]
async fn a_relayed_message_waits_for_as_many_days_as_were_asked() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    for (asked, days) in [(json!(null), 7), (json!(1), 1), (json!(30), 30)] {
        for path in ["/api/v1/relay/send", "/api/v1/relay/queue"] {
            let mut body = Person::message(bob.id, Uuid::now_v7(), "hello");
            body["ttl_days"] = asked.clone();
            let sent = ann.post(path, body).await;
            assert_eq!(sent.status, 200, "{}", sent.text);
            assert_fields(&sent.json(), "success,message_id,status,expires_at", "");
            let left = time(&sent.json()["expires_at"]) - now();
            assert!((left - time::Duration::days(days)).abs() < time::Duration::minutes(1), "{path} {asked}: {left}");
        }
    }
    for refused in [json!(0), json!(31), json!(-1), json!(7.5), json!("7"), json!([7])] {
        let mut body = Person::message(bob.id, Uuid::now_v7(), "hello");
        body["ttl_days"] = refused.clone();
        assert_eq!(ann.post("/api/v1/relay/send", body).await.status, 422, "{refused}");
    }
    assert_eq!(bob.pending().await.len(), 6);
}

#[tokio::test]
async fn null_is_absent_unknown_fields_are_ignored_and_content_may_be_empty() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let id = Uuid::now_v7();
    let plain = json!({"message_id": id, "recipient_id": bob.id, "encrypted_content": "", "encrypted_session_key": ""});
    let mut nulls = plain.clone();
    for field in [
        "sender_encrypted_content",
        "crypto_version",
        "encryption_algorithm",
        "kdf_algorithm",
        "signatures",
        "media_ids",
        "media_refs",
        "reply_to",
        "ttl_days",
        "has_media",
        "sender_id",
        "user_id",
        "current_user_id",
        "nobody_knows_this",
    ] {
        nulls[field] = Value::Null;
    }
    let first = ann.post(SEND, nulls).await;
    assert_eq!(first.status, 200, "{}", first.text);
    for (field, value) in
        [("crypto_version", "v1"), ("encryption_algorithm", "ECDH-AES256-GCM"), ("kdf_algorithm", "HKDF-SHA256"), ("encrypted_content", "")]
    {
        assert_eq!(first.json()[field], value);
    }
    let again = ann.post(SEND, plain.clone()).await;
    assert_eq!((again.status, again.json()), (first.status, first.json()), "null and absent are the same message");
    let mut more = plain;
    more["current_user_id"] = json!("undefined");
    more["unknown"] = json!({"deep": [1, 2]});
    assert_eq!(ann.post(SEND, more).await.json(), first.json());
}

#[tokio::test]
async fn a_declared_type_with_an_empty_body_is_fine_where_nothing_is_required() {
    let system = System::shared().await;
    for content_type in [Some("application/json"), Some("Application/JSON; charset=UTF-8"), None] {
        let ann = Person::register(system, "ann").await;
        let mut logout = ann.request(Method::POST, "/api/v1/auth/logout");
        if let Some(value) = content_type {
            logout = logout.header("content-type", value);
        }
        assert_eq!(Answer::to(logout).await.expect("an answer").status, 200, "{content_type:?}");
        let get = testkit::person::http().get(system.url("/.well-known/jwks.json")).header("content-type", "application/json");
        assert_eq!(Answer::to(get).await.expect("an answer").status, 200);
    }
}

#[tokio::test]
async fn ids_are_taken_in_upper_case_and_given_in_lower() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let id = Uuid::now_v7();
    let upper = |id: Uuid| id.to_string().to_uppercase();
    let body = json!({"message_id": upper(id), "recipient_id": upper(bob.id), "sender_id": upper(ann.id), "encrypted_content": "hello", "encrypted_session_key": "key"});
    let sent = ann.post(SEND, body).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert_eq!((sent.json()["id"].clone(), sent.json()["recipient_id"].clone()), (json!(id), json!(bob.id)));
    let again = ann.post(SEND, Person::message(bob.id, id, "hello")).await;
    assert_eq!(again.json(), sent.json(), "the same id in another case is the same message");
    let read = ann.get(&format!("/api/v1/messages/conversation/{}?current_user_id={}", upper(bob.id), upper(ann.id))).await;
    assert_eq!(read[0]["id"], json!(id));
    assert_eq!(bob.get(&format!("/api/v1/relay/pending/{}", upper(bob.id))).await["count"], 1);
    let gone = bob.ask(Method::DELETE, &format!("/api/v1/relay/{}", upper(id)), None).await.expect("an answer");
    assert_eq!(gone.json(), json!({"success": true, "message_id": id, "status": "deleted"}));
    assert_eq!(bob.pending().await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn old_fields_that_name_the_caller_are_taken_in_queries_too_and_nobody_elses() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    for path in ["/api/v1/relay/pending".to_owned(), format!("/api/v1/messages/conversation/{}", bob.id)] {
        for (query, status) in [
            (format!("current_user_id={}", ann.id), 200),
            ("current_user_id=undefined".to_owned(), 200),
            (format!("user_id={}", ann.id), 200),
            (format!("current_user_id={}", bob.id), 403),
            (format!("user_id={}", bob.id), 403),
            ("user_id=me".to_owned(), 422),
        ] {
            let answer = ann.ask(Method::GET, &format!("{path}?{query}"), None).await.expect("an answer");
            assert_eq!(answer.status, status, "{path}?{query}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn one_can_write_to_oneself() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    let id = Uuid::now_v7();
    assert_eq!(ann.post(SEND, Person::message(ann.id, id, "a note")).await.status, 200);
    assert_eq!((ann.conversation(ann.id).await, ann.pending().await), (vec![id], vec![id]));
}

#[tokio::test]
async fn health_tells_what_runs() {
    let system = System::shared().await;
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(Answer::to(testkit::person::http().get(system.url(path))).await.expect("an answer").status, 200, "{path}");
    }
    let health = Answer::to(testkit::person::http().get(system.url("/health"))).await.expect("an answer").json();
    assert_fields(&health, "status,service,version", "");
    assert_eq!(health["status"], "healthy");
}
