//! Planted values are found nowhere they must not be.

use reqwest::Method;
use serde_json::json;
use testkit::person::{Answer, Person};
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

#[tokio::test]
async fn no_secret_address_name_or_content_reaches_a_log_or_an_error() {
    let system = System::start(SystemConfig::default().env("POSTRIDER_TELEMETRY__LOG", "trace")).await;
    let client = testkit::person::http();
    let canary = format!("canary{}", Uuid::now_v7().simple());
    let (email, username, full_name, password) =
        (format!("{canary}mail@example.org"), format!("{canary}user"), format!("{canary} full"), format!("{canary}pass"));
    let account = json!({"email": email, "username": username, "password": password, "full_name": full_name});
    let mut answers = Vec::new();
    let registered = client.post(system.url("/api/v1/auth/register")).json(&account).send().await.expect("an answer");
    let session: serde_json::Value = registered.json().await.expect("JSON");
    let (token, refresh) =
        (session["access_token"].as_str().expect("a token").to_owned(), session["refresh_token"].as_str().expect("a token").to_owned());
    let bob = Person::register(&system, "bob").await;
    let content = format!("{canary}content");
    // Somebody is there to be told.
    let mut bobs = Socket::open(&bob).await;

    let ask = async |method: Method, path: &str, token: &str, body: String| {
        let answer = client
            .request(method, system.url(path))
            .bearer_auth(token)
            .header("content-type", "application/json")
            .body(body)
            .send()
            .await
            .expect("an answer");
        let (status, headers) = (answer.status(), format!("{:?}", answer.headers()));
        (status, headers, answer.text().await.expect("a body"))
    };
    let sent = ask(Method::POST, "/api/v1/messages/send", &token, Person::message(bob.id, Uuid::now_v7(), &content).to_string()).await;
    assert_eq!(sent.0, 200);
    assert_eq!(bobs.find("new_message").await["encrypted_content"], content.as_str());
    // What succeeds with secrets and names in it.
    let (another, key) = (format!("{canary}another"), format!("{canary}key"));
    for (method, path, body) in [
        (Method::PUT, "username", json!({"username": format!("{canary}n")})),
        (Method::PUT, "public-key", json!({"public_key": key})),
        (Method::POST, "password/change", json!({"current_password": password, "new_password": another})),
    ] {
        let answer = ask(method, &format!("/api/v1/auth/{path}"), &token, body.to_string()).await;
        assert!(answer.0.is_success(), "{path}: {}", answer.2);
    }
    let refreshed = ask(Method::POST, "/api/v1/auth/refresh", "null", json!({"refresh_token": refresh}).to_string()).await;
    let refreshed: serde_json::Value = serde_json::from_str(&refreshed.2).expect("JSON");
    let refreshed = refreshed["refresh_token"].as_str().expect("a token").to_owned();
    // Everything that fails, with the canary in every place a client can put it.
    for (path, body) in [
        ("/api/v1/auth/register", account.to_string()),
        ("/api/v1/auth/register", json!({"email": email, "username": [username], "password": {"p": password}}).to_string()),
        ("/api/v1/auth/login", json!({"email": email, "password": format!("{password}wrong")}).to_string()),
        ("/api/v1/auth/login", json!({"email": format!("{canary}\u{0}"), "password": password}).to_string()),
        ("/api/v1/auth/verify-token", json!({"token": format!("{canary}.x.y")}).to_string()),
        ("/api/v1/auth/refresh", json!({"refresh_token": format!("{canary}refresh")}).to_string()),
        ("/api/v1/auth/refresh", json!({"refresh_token": refresh}).to_string()),
        ("/api/v1/auth/password/change", json!({"current_password": password, "new_password": format!("{canary}new")}).to_string()),
        ("/api/v1/messages/send", json!({"recipient_id": canary, "encrypted_content": content}).to_string()),
        ("/api/v1/messages/send", format!("{{\"encrypted_content\": \"{content}\"")),
        (
            "/api/v1/messages/send",
            json!({"recipient_id": Uuid::now_v7(), "encrypted_content": content, "encrypted_session_key": canary}).to_string(),
        ),
        (
            "/api/v1/relay/send",
            json!({"recipient_id": bob.id, "encrypted_content": content, "encrypted_session_key": "k", "ttl_days": canary}).to_string(),
        ),
    ] {
        let answer = ask(Method::POST, path, &token, body).await;
        assert!(!answer.0.is_success(), "{path}: {}", answer.2);
        answers.push(answer);
    }
    answers.push(ask(Method::POST, "/api/v1/messages/send", &format!("{canary}.bearer.token"), String::new()).await);
    answers.push(ask(Method::GET, &format!("/api/v1/auth/{canary}?q={canary}"), &token, String::new()).await);
    for (status, headers, body) in &answers {
        assert!(!body.to_lowercase().contains(&canary), "{status}: {body}");
        assert!(!headers.to_lowercase().contains(&canary), "{status}: {headers}");
    }
    let log = system.log().to_lowercase();
    assert!(log.len() > 1000, "the log is there");
    for (what, planted) in [
        ("the canary", canary.as_str()),
        ("an access token", token.rsplit('.').next().expect("a signature")),
        ("a refresh token", refresh.as_str()),
        ("the next refresh token", refreshed.as_str()),
    ] {
        assert!(
            !log.contains(&planted.to_lowercase()),
            "{what} is in the log:\n{}",
            log.lines().find(|l| l.contains(&planted.to_lowercase())).unwrap_or_default()
        );
    }
    let data = system.directory.join("data");
    let appended = async || (!testkit::system::search_files(&data, b"frames:log:", &["postgres"]).is_empty()).then_some(());
    testkit::wait_until("Redis has written what it was told", std::time::Duration::from_secs(10), appended).await;
    let stored = testkit::system::search_files(&data, canary.as_bytes(), &["postgres"]);
    assert_eq!(stored, Vec::<String>::new(), "outside Postgres nothing is stored in the clear, and no message at all");
    for planted in [&token, &refresh, &refreshed] {
        let stored = testkit::system::search_files(&data, planted.as_bytes(), &["postgres"]);
        assert_eq!(stored, Vec::<String>::new(), "no token is kept in Redis");
    }
}

/// Every table of a database, and every row of it as text (bytes as hex).
async fn rows(system: &System, database: &str) -> Vec<(String, String)> {
    let mut connection = system.postgres(database).await;
    let tables: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_schema::text, table_name::text FROM information_schema.tables
          WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await
    .expect("tables");
    let mut found = Vec::new();
    for (schema, table) in tables {
        let name = format!("{schema}.{table}");
        let sql = sqlx::AssertSqlSafe(format!("SELECT t::text FROM \"{schema}\".\"{table}\" t"));
        let rows: Vec<(String,)> = sqlx::query_as(sql).fetch_all(&mut connection).await.expect("rows");
        found.extend(rows.into_iter().map(|(row,)| (name.clone(), row.to_lowercase())));
    }
    found
}

/// How a text stands in a row: as it is, and as the hex of a `bytea`.
fn stands_in(row: &str, planted: &str) -> bool {
    let planted = planted.to_lowercase();
    let hex: String = planted.bytes().map(|byte| format!("{byte:02x}")).collect();
    row.contains(&planted) || row.contains(&hex)
}

#[tokio::test]
async fn at_rest_addresses_and_names_stand_in_the_users_read_model_alone_and_secrets_nowhere() {
    let system = System::shared().await;
    let canary = format!("canary{}", Uuid::now_v7().simple());
    let (email, username, full_name, password) =
        (format!("{canary}mail@example.org"), format!("{canary}user"), format!("{canary}full"), format!("{canary}pass"));
    let device = format!("{canary}device");
    let post = async |path: &str, token: &str, body: &serde_json::Value| {
        let request = testkit::person::http().post(system.url(path)).header("user-agent", &device).header("idempotency-key", "k");
        let answer = Answer::to(request.bearer_auth(token).json(body)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer
    };
    let account = json!({"email": email, "username": username, "password": password, "full_name": full_name});
    let registered = post("/api/v1/auth/register", "", &account).await;
    let login = post("/api/v1/auth/login", "", &json!({"email": email, "password": password})).await;
    let bob = Person::register(system, "bob").await;
    let token = login.json()["access_token"].as_str().expect("a token").to_owned();
    let content = format!("{canary}content");
    let sent = post("/api/v1/messages/send", &token, &Person::message(bob.id, Uuid::now_v7(), &content)).await;
    bob.pending().await;
    for answer in [&registered, &login, &sent] {
        let headers = format!("{:?}", answer.headers).to_lowercase();
        assert!(!headers.contains(&canary), "{headers}");
    }
    let own = registered.json()["user"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(bob.get(&format!("/api/v1/users/{own}")).await["username"], username.as_str(), "the read model has it");

    let (mut read_model, mut ledger) = (0, 0);
    for database in ["auth_db", "user_db", "message_db"] {
        for (table, row) in rows(system, database).await {
            for (what, planted) in [("an address", &email), ("a user name", &username), ("a full name", &full_name)] {
                if stands_in(&row, planted) {
                    assert!(["users.users", "users.addresses", "users.names"].contains(&table.as_str()), "{what} stands in {table}: {row}");
                    read_model += 1;
                }
            }
            for (what, planted) in [("a password", &password), ("a device", &device)] {
                assert!(!stands_in(&row, planted), "{what} stands in {table}: {row}");
            }
            for session in [&registered.json(), &login.json()] {
                for kind in ["access_token", "refresh_token"] {
                    let secret = session[kind].as_str().expect("a token");
                    assert!(!stands_in(&row, secret), "the {kind} stands in {table}: {row}");
                    let signature = secret.rsplit('.').next().expect("its last part");
                    assert!(!stands_in(&row, signature), "the {kind} stands in {table}: {row}");
                }
            }
            // The ciphertext is the clients': in the ledger, and in what is read, but in no record of what was asked or answered.
            if stands_in(&row, &content) {
                assert!(
                    ["messages_ledger.events", "conversations.messages", "relay.relay_pending"].contains(&table.as_str()),
                    "content stands in {table}"
                );
                ledger += usize::from(table == "messages_ledger.events");
            }
            if table.ends_with("_ledger.events") {
                assert!(!row.contains("127.0.0.0/24"), "an address prefix travels sealed: {row}");
            }
        }
    }
    assert!(read_model >= 2, "the search finds what is there");
    assert_eq!(ledger, 1, "the search finds what is there");
}

#[tokio::test]
async fn in_the_topics_addresses_and_names_travel_sealed() {
    let broker = testkit::kafka::Broker::start();
    let system = System::start(SystemConfig::default().env("KAFKA_BROKERS", &broker.address)).await;
    let canary = format!("canary{}", Uuid::now_v7().simple());
    let account = json!({"email": format!("{canary}mail@example.org"), "username": format!("{canary}user"), "password": format!("{canary}pass"), "full_name": format!("{canary}full")});
    let request = testkit::person::http().post(system.url("/api/v1/auth/register")).header("user-agent", format!("{canary}device"));
    let registered = Answer::to(request.json(&account)).await.expect("an answer");
    assert_eq!(registered.status, 200, "{}", registered.text);
    let id = registered.json()["user"]["id"].as_str().expect("an id").to_owned();
    let records = testkit::wait_until("the registration is published", std::time::Duration::from_secs(60), async || {
        let records = broker.records("auth.events").await;
        records.iter().any(|record| record.contains(&id) && record.contains("account.registered")).then_some(records)
    })
    .await;
    assert!(records.iter().any(|record| record.contains("\"sealed\"")), "sealed fields are there");
    for record in records {
        assert!(!stands_in(&record.to_lowercase(), &canary), "{record}");
    }
}
