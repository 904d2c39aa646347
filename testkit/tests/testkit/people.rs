//! Profiles, search, settings, key backups and contacts, as a client meets them.

use std::time::Duration;

use futures::future::join_all;
use platform::presence::Presence;
use platform::private::DataDir;
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;
use testkit::person::{Answer, Person};
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

async fn put(who: &Person, path: &str, body: Value) -> Answer {
    who.ask(Method::PUT, path, Some(body)).await.expect("an answer")
}

async fn add(who: &Person, whom: &Person) -> Answer {
    who.post("/api/v1/contacts/add", json!({"contact_id": whom.id})).await
}

async fn remove(who: &Person, row: &str) -> Answer {
    who.ask(Method::DELETE, &format!("/api/v1/contacts/{row}"), None).await.expect("an answer")
}

/// Row and contact of each row of a list.
async fn contacts(who: &Person) -> Vec<(String, Uuid)> {
    let list = who.get("/api/v1/contacts").await;
    let text = |row: &Value, field: &str| row[field].as_str().expect("a text").to_owned();
    list.as_array().expect("an array").iter().map(|row| (text(row, "id"), text(row, "contact_id").parse().expect("an id"))).collect()
}

/// As a query string wants it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

async fn search(who: &Person, parameter: &str, text: &str) -> Vec<Uuid> {
    let path = format!("/api/v1/users/search?{parameter}={}", encoded(text));
    let answer = who.ask(Method::GET, &path, None).await.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().expect("an array").iter().map(|found| found["id"].as_str().expect("an id").parse().expect("a UUID")).collect()
}

fn fields(value: &Value) -> Vec<&str> {
    let mut fields: Vec<&str> = value.as_object().expect("an object").keys().map(String::as_str).collect();
    fields.sort_unstable();
    fields
}

fn named(list: &str) -> Vec<&str> {
    let mut fields: Vec<&str> = list.split(',').collect();
    fields.sort_unstable();
    fields
}

const ROW: &str =
    "id,user_id,contact_id,nickname,created_at,contact_email,contact_username,contact_full_name,contact_public_key,is_online,last_seen";

#[tokio::test]
async fn what_somebody_says_of_themselves_is_seen_at_once_wherever_it_is_shown() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let path = format!("/api/v1/users/{}", ann.id);
    let said = put(&ann, &path, json!({"full_name": " Ann Example ", "bio": "hello", "avatar_url": "/api/v1/media/files/a.png"})).await;
    assert_eq!(said.status, 200, "{}", said.text);
    assert!(said.headers.contains_key("x-consistency-token"));
    let shown = ann.get(&path).await;
    assert_eq!(said.json(), shown);
    assert_eq!(fields(&shown), named("id,email,username,full_name,public_key,is_active,avatar_url,bio,is_online,last_seen"));
    assert_eq!(
        (&shown["full_name"], &shown["bio"], &shown["avatar_url"]),
        (&json!("Ann Example"), &json!("hello"), &json!("/api/v1/media/files/a.png"))
    );
    let me = ann.get("/api/v1/auth/me").await;
    assert_eq!((&me["full_name"], &me["bio"], &me["avatar_url"]), (&shown["full_name"], &shown["bio"], &shown["avatar_url"]));
    let token = said.header("x-consistency-token").expect("a token").to_owned();
    let there = bob.request(Method::GET, &path).header("x-consistency-token", token);
    assert_eq!(Answer::to(there).await.expect("an answer").json()["bio"], "hello");
    let login = ann.post("/api/v1/auth/login", json!({"email": ann.email, "password": ann.password})).await.json();
    assert_eq!(login["user"]["avatar_url"], shown["avatar_url"]);

    // What is left out stays, null is left out, and what is empty is cleared.
    let cleared = put(&ann, &path, json!({"full_name": "", "bio": null})).await.json();
    assert_eq!((&cleared["full_name"], &cleared["bio"]), (&Value::Null, &json!("hello")));
    assert_eq!(ann.get("/api/v1/auth/me").await["full_name"], Value::Null);
    let before = ann.get(&path).await;
    assert_eq!(put(&bob, &path, json!({"bio": "forged"})).await.status, 403);
    for wrong in [json!({"bio": "x".repeat(501)}), json!({"avatar_url": "javascript:alert(1)"}), json!({"full_name": 7})] {
        assert_eq!(put(&ann, &path, wrong).await.status, 422);
    }
    assert_eq!(ann.get(&path).await, before);
}

#[tokio::test]
async fn settings_and_key_backups_are_as_they_were_left_and_nobody_elses() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let defaults = json!({"read_receipts": true, "last_seen": "everybody", "discoverable": true, "language": null, "time_zone": null});
    assert_eq!(ann.get("/api/v1/users/me/settings").await, defaults);
    let changed = put(&ann, "/api/v1/users/me/settings", json!({"last_seen": "nobody", "language": "de-AT"})).await;
    let expected = json!({"read_receipts": true, "last_seen": "nobody", "discoverable": true, "language": "de-AT", "time_zone": null});
    assert_eq!((changed.status.as_u16(), changed.json()), (200, expected.clone()));
    assert_eq!(ann.get("/api/v1/users/me/settings").await, expected);
    for wrong in [json!({"last_seen": "friends"}), json!({"read_receipts": "yes"}), json!({"time_zone": "../etc"})] {
        assert_eq!(put(&ann, "/api/v1/users/me/settings", wrong).await.status, 422);
    }
    assert_eq!(ann.get("/api/v1/users/me/settings").await, expected);
    assert_eq!(bob.get("/api/v1/users/me/settings").await, defaults);

    let path = "/api/v1/users/me/key-backup";
    assert_eq!(ann.get(path).await, json!({"has_backup": false, "encrypted_private_key": null}));
    for key in ["first ✓", "second"] {
        let kept = ann.post(path, json!({"encrypted_private_key": key})).await;
        assert_eq!((kept.status.as_u16(), kept.json()), (200, json!({"success": true})));
        assert_eq!(ann.get(path).await, json!({"has_backup": true, "encrypted_private_key": key}));
    }
    assert_eq!(ann.post(path, json!({"encrypted_private_key": "x".repeat(64 * 1024 + 1)})).await.status, 422);
    assert_eq!(ann.get(path).await["encrypted_private_key"], "second");
    assert_eq!(bob.get(path).await["has_backup"], false);
}

#[tokio::test]
async fn people_are_found_by_address_and_name_unless_they_do_not_want_to_be() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    assert_eq!(search(&bob, "email", &ann.email.to_uppercase()).await, [ann.id]);
    assert_eq!(search(&bob, "email", &ann.email[5..ann.email.len() - 4]).await, [ann.id], "the middle of it");
    let name = format!("Zoë {}", Uuid::now_v7().simple());
    assert_eq!(put(&ann, &format!("/api/v1/users/{}", ann.id), json!({"full_name": name})).await.status, 200);
    assert_eq!(search(&ann, "q", &name.to_uppercase()).await, [ann.id]);
    assert_eq!(search(&ann, "q", &name.replace('ë', "e\u{308}")).await, [ann.id], "however its letters are composed");
    assert_eq!(search(&ann, "q", &name[6..]).await, [ann.id]);
    let by_email = |address: String| {
        let request = bob.request(Method::GET, &format!("/api/v1/users/by-email?email={}", encoded(&address)));
        async { Answer::to(request).await.expect("an answer") }
    };
    let found = by_email(ann.email.clone()).await.json();
    assert_eq!(fields(&found), named("id,email,username,full_name,is_active,avatar_url,bio,is_verified,created_at,public_key,role"));
    assert_eq!(found["id"], json!(ann.id));
    assert_eq!(by_email("nobody@example.org".into()).await.status, 404);

    assert_eq!(put(&ann, "/api/v1/users/me/settings", json!({"discoverable": false})).await.status, 200);
    assert_eq!(search(&ann, "q", &name).await, Vec::<Uuid>::new());
    assert_eq!(search(&ann, "email", &ann.email[..ann.email.len() - 1]).await, Vec::<Uuid>::new());
    assert_eq!(search(&ann, "email", &ann.email).await, [ann.id]);
    assert_eq!(by_email(ann.email.clone()).await.status, 200);

    for (query, status) in [("", 422), ("email=", 200), ("q=", 200), ("email=a%00b", 422), ("q=%25&limit=x", 200)] {
        let answer = bob.ask(Method::GET, &format!("/api/v1/users/search?{query}"), None).await.expect("an answer");
        assert_eq!(answer.status.as_u16(), status, "{query}: {}", answer.text);
    }
}

#[tokio::test]
async fn a_contact_is_in_its_owners_list_only_under_the_name_that_it_has_now() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let added =
        ann.post("/api/v1/contacts", json!({"contact_email": bob.email.to_uppercase(), "nickname": " Bobby ", "user_id": ann.id})).await;
    assert_eq!(added.status, 200, "{}", added.text);
    let row = added.json();
    assert_eq!(fields(&row), named(ROW));
    assert_eq!((&row["nickname"], &row["contact_email"], &row["contact_id"]), (&json!("Bobby"), &json!(bob.email), &json!(bob.id)));
    for path in ["/api/v1/contacts", "/api/v1/contacts/"] {
        assert_eq!(ann.get(&format!("{path}?user_id={}", ann.id)).await, json!([row]));
    }
    assert_eq!(bob.get("/api/v1/contacts").await, json!([]), "the caller's row only");
    put(&bob, &format!("/api/v1/users/{}", bob.id), json!({"full_name": "Robert"})).await;
    wait_until("the new name is shown", Duration::from_secs(5), async || {
        (ann.get("/api/v1/contacts").await[0]["contact_full_name"] == "Robert").then_some(())
    })
    .await;

    for (body, status, code) in [
        (json!({"contact_id": bob.id}), 400, "already_contact"),
        (json!({"contact_email": bob.email}), 400, "already_contact"),
        (json!({"contact_id": ann.id}), 400, "yourself"),
        (json!({"contact_id": Uuid::now_v7()}), 404, "user_unknown"),
        (json!({"contact_email": "nobody@example.org"}), 404, "user_unknown"),
        (json!({"contact_id": eve.id, "user_id": bob.id}), 403, "not_yourself"),
        (json!({"contact_email": ""}), 422, "invalid"),
    ] {
        let refused = ann.post("/api/v1/contacts/add", body).await;
        assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (status, Some(code)), "{}", refused.text);
    }
    let others = ann.ask(Method::GET, &format!("/api/v1/contacts?user_id={}", bob.id), None).await.expect("an answer");
    assert_eq!(others.status, 403);

    let id = row["id"].as_str().expect("an id");
    for stranger in [&eve, &bob] {
        assert_eq!(remove(stranger, id).await.status, 404, "somebody else's row");
    }
    assert_eq!(contacts(&ann).await, [(id.to_owned(), bob.id)]);
    let removed = remove(&ann, id).await;
    assert_eq!((removed.status.as_u16(), removed.json()), (200, json!({"status": "Contact removed"})));
    assert_eq!(contacts(&ann).await, []);
    assert_eq!(remove(&ann, id).await.status, 404);
    let again = add(&ann, &bob).await.json();
    assert_ne!(again["id"], row["id"]);
    assert_eq!(contacts(&ann).await, [(again["id"].as_str().expect("an id").to_owned(), bob.id)]);
}

#[tokio::test]
async fn a_repeated_add_with_its_key_gets_the_first_answer() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let ask = async || {
        let request = ann.request(Method::POST, "/api/v1/contacts/add").header("idempotency-key", "k");
        let answer = Answer::to(request.json(&json!({"contact_id": bob.id}))).await.expect("an answer");
        (answer.status.as_u16(), answer.json())
    };
    let first = ask().await;
    assert_eq!(first.0, 200);
    assert_eq!(ask().await, first);
    remove(&ann, first.1["id"].as_str().expect("an id")).await;
    assert_eq!(ask().await, first, "also when it is gone");
    assert_eq!(contacts(&ann).await, []);
}

#[tokio::test]
async fn everybody_but_the_caller_is_offered_contacts_first() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob, eve, dan) = (
        Person::register(&system, "ann").await,
        Person::register(&system, "bob").await,
        Person::register(&system, "eve").await,
        Person::register(&system, "dan").await,
    );
    let row = add(&ann, &eve).await.json()["id"].clone();
    for hidden in [&eve, &dan] {
        put(hidden, "/api/v1/users/me/settings", json!({"discoverable": false})).await;
    }
    let offered = wait_until("dan is hidden", Duration::from_secs(5), async || {
        let offered = ann.get(&format!("/api/v1/contacts/all-users?user_id={}", ann.id)).await;
        (offered.as_array().expect("an array").len() == 2).then_some(offered)
    })
    .await;
    assert_eq!((&offered[0]["id"], &offered[0]["contact_id"]), (&row, &json!(eve.id)));
    assert_eq!((&offered[1]["id"], &offered[1]["contact_id"]), (&json!(bob.id), &json!(bob.id)));
    assert_eq!(fields(&offered[1]), named(ROW));
    assert_eq!(offered[1]["contact_email"], json!(bob.email));
}

#[tokio::test]
async fn whether_somebody_is_here_is_seen_by_those_who_may() {
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob, eve) =
        (Person::register(&system, "ann").await, Person::register(&system, "bob").await, Person::register(&system, "eve").await);
    let directory = DataDir::open(&system.directory.join("data")).expect("a data directory");
    let running = directory.running().expect("it can be read").expect("it runs");
    let redis = Redis::connect(running.redis().expect("a private Redis").expose(), Shutdown::new()).expect("a client");
    let presence = Presence::new(redis);
    let path = format!("/api/v1/users/{}", ann.id);
    let here = async |who: &Person| {
        let shown = who.get(&path).await;
        let list = who.get("/api/v1/contacts").await;
        let listed = list.as_array().expect("an array").iter().find(|row| row["contact_id"] == json!(ann.id)).unwrap_or(&shown);
        assert_eq!((&listed["is_online"], listed["last_seen"].is_null()), (&shown["is_online"], shown["last_seen"].is_null()));
        (shown["is_online"].as_bool().expect("a boolean"), !shown["last_seen"].is_null())
    };
    assert_eq!(here(&bob).await, (false, false));
    wait_until("she is here", Duration::from_secs(10), async || {
        presence.online(ann.id.into(), "a test").await;
        here(&bob).await.0.then_some(())
    })
    .await;
    add(&ann, &bob).await;
    add(&bob, &ann).await;
    add(&eve, &ann).await;
    for (setting, bob_sees, eve_sees) in [("contacts", true, false), ("nobody", false, false), ("everybody", true, true)] {
        let token = put(&ann, "/api/v1/users/me/settings", json!({"last_seen": setting})).await;
        let token = token.header("x-consistency-token").expect("a token").to_owned();
        for (who, sees) in [(&bob, bob_sees), (&eve, eve_sees), (&ann, true)] {
            let waits = who.request(Method::GET, &path).header("x-consistency-token", &token);
            assert_eq!(Answer::to(waits).await.expect("an answer").status, 200);
            assert_eq!(here(who).await, (sees, sees), "{setting}");
        }
    }
}

#[tokio::test]
async fn who_adds_whom_at_the_same_time_makes_one_row_each_and_never_two() {
    let system = System::shared().await;
    for _ in 0..5 {
        let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
        let (mine, hers) = tokio::join!(add(&bob, &ann), add(&ann, &bob));
        assert_eq!((mine.status, hers.status), (reqwest::StatusCode::OK, reqwest::StatusCode::OK), "both sides at once");
        assert_eq!((contacts(&ann).await.len(), contacts(&bob).await.len()), (1, 1));

        let eve = Person::register(system, "eve").await;
        let answers = join_all((0..6).map(|_| add(&ann, &eve))).await;
        let rows: Vec<Value> = answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.json()["id"].clone()).collect();
        assert_eq!(rows.len(), 1, "one side, often");
        for refused in answers.iter().filter(|answer| answer.status != 200) {
            assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (400, Some("already_contact")));
        }
        let row = rows[0].as_str().expect("an id").to_owned();
        assert!(contacts(&ann).await.contains(&(row.clone(), eve.id)));

        // Removing while adding: whatever comes first, the list is what the answers said.
        let adds = join_all((0..4).map(|_| add(&ann, &eve)));
        let removes = join_all((0..2).map(|_| remove(&ann, &row)));
        let (added, removed) = tokio::join!(adds, removes);
        assert_eq!(removed.iter().filter(|answer| answer.status == 200).count(), 1);
        assert!(removed.iter().all(|answer| [200, 404].contains(&answer.status.as_u16())), "{removed:?}");
        let new: Vec<String> = added
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| answer.json()["id"].as_str().expect("an id").to_owned())
            .collect();
        assert!(new.len() <= 1, "{added:?}");
        let listed: Vec<String> = contacts(&ann).await.into_iter().filter(|(_, who)| *who == eve.id).map(|(row, _)| row).collect();
        assert_eq!(listed, new);
    }
}

#[tokio::test]
async fn read_models_that_were_dropped_are_as_before_after_a_start() {
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob, eve) =
        (Person::register(&system, "ann").await, Person::register(&system, "bob").await, Person::register(&system, "eve").await);
    put(&ann, &format!("/api/v1/users/{}", ann.id), json!({"full_name": "Ann", "bio": "first"})).await;
    put(&ann, &format!("/api/v1/users/{}", ann.id), json!({"bio": "second"})).await;
    put(&ann, "/api/v1/users/me/settings", json!({"time_zone": "Europe/Vienna"})).await;
    ann.post("/api/v1/users/me/key-backup", json!({"encrypted_private_key": "key"})).await;
    let row = add(&ann, &bob).await.json()["id"].as_str().expect("an id").to_owned();
    remove(&ann, &row).await;
    ann.post("/api/v1/contacts/add", json!({"contact_id": bob.id, "nickname": "B"})).await;
    add(&ann, &eve).await;
    assert_eq!(eve.post(&format!("/api/v1/contacts/{}/block", ann.id), json!({})).await.status, 204);
    let state = async || {
        let mut state = Vec::new();
        for path in ["contacts", "users/me/settings", "users/me/key-backup", "auth/me", "contacts/all-users"] {
            state.push(ann.get(&format!("/api/v1/{path}")).await);
        }
        state.push(json!(search(&bob, "q", "Ann").await));
        state.push(json!(search(&bob, "email", &eve.email[1..]).await));
        state.push(json!(ann.post("/api/v1/messages/send", Person::message(eve.id, Uuid::now_v7(), "x")).await.status.as_u16()));
        state
    };
    let before = state().await;
    assert_eq!(before.last(), Some(&json!(403)));
    for (database, schemas) in
        [("user_db", "users, profiles, contacts"), ("message_db", "people, blocks, relay, conversations"), ("auth_db", "portraits")]
    {
        let drop = format!("DROP SCHEMA {schemas} CASCADE");
        system.postgres(database).await.execute(sqlx::AssertSqlSafe(drop)).await.expect("they are dropped");
    }
    system.kill();
    system.start_again();
    system.ready().await;
    assert_eq!(state().await, before);
}
