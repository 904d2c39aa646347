//! One message, all the way.

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::Person;
use testkit::system::{MACHINE, System, SystemConfig};
use uuid::Uuid;

#[tokio::test]
async fn a_message_is_in_both_histories_and_waits_until_it_is_acknowledged() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let id = Uuid::now_v7();

    let sent = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
    assert_eq!(sent.status, 200, "{}", sent.text);
    assert!(sent.headers.contains_key("x-consistency-token"));
    let message = sent.json();
    assert_eq!(message["id"], json!(id));
    assert_eq!(message["encryption_algorithm"], "ECDH-AES256-GCM");
    assert_eq!(message["media_attachments"], json!([]));

    // Reads after writes: at once, for the sender and for the one who was written to.
    assert_eq!(ann.conversation(bob.id).await, [id]);
    assert_eq!(bob.conversation(ann.id).await, [id]);
    assert_eq!(bob.pending().await, [id]);
    assert_eq!(ann.pending().await, Vec::<Uuid>::new());
    let history = bob.get(&format!("/api/v1/messages/conversation/{}", ann.id)).await;
    assert_eq!(history[0]["created_at"], message["created_at"], "one time, wherever it is shown");

    let acknowledged = bob.post("/api/v1/relay/acknowledge", json!({"message_id": id})).await;
    assert_eq!(acknowledged.json(), json!({"success": true, "message_id": id, "status": "deleted"}));
    assert_eq!(bob.pending().await, Vec::<Uuid>::new());
    assert_eq!(bob.conversation(ann.id).await, [id], "acknowledging takes nothing from history");
    let again = bob.ask(Method::DELETE, &format!("/api/v1/relay/{id}"), None).await.expect("an answer");
    assert_eq!(again.json()["status"], "deleted", "idempotent");
}

#[tokio::test]
async fn the_same_message_id_is_one_message_for_ever_over_every_send_route() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let id = Uuid::now_v7();
    let first = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
    let again = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
    assert_eq!((again.status, again.json()), (first.status, first.json()));
    let relayed = ann.post("/api/v1/relay/send", Person::message(bob.id, id, "hello")).await;
    assert_eq!((relayed.status.as_u16(), relayed.json()["message_id"].clone()), (200, json!(id)), "{}", relayed.text);
    for (who, body) in [
        (&ann, Person::message(bob.id, id, "something else")),
        (&ann, Person::message(eve.id, id, "hello")),
        (&eve, Person::message(bob.id, id, "hello")),
    ] {
        assert_eq!(who.post("/api/v1/messages/send", body).await.status, 409);
    }
    assert_eq!(bob.conversation(ann.id).await, [id]);
    assert_eq!(bob.pending().await, [id]);
    assert_eq!(eve.pending().await, Vec::<Uuid>::new());
}

#[tokio::test]
async fn an_idempotency_key_replays_the_first_answer_and_refuses_another_body() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let send = async |content: &str| {
        let body = json!({"recipient_id": bob.id, "encrypted_content": content, "encrypted_session_key": "k"});
        let request = reqwest::Client::new()
            .post(system.url("/api/v1/messages/send"))
            .bearer_auth(&ann.token)
            .header("Idempotency-Key", "once")
            .json(&body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"))
    };
    let first = send("hello").await;
    assert_eq!(first.0, 200);
    assert_eq!(send("hello").await, first);
    assert_eq!(send("other").await.0, 422);
    assert_eq!(bob.pending().await.len(), 1);
}

#[tokio::test]
async fn fifty_parallel_registrations_of_one_address_make_one_account() {
    let _alone = MACHINE.lock().await;
    let system = System::shared().await;
    let unique = Uuid::now_v7().simple().to_string();
    let attempts = (0..50).map(|n| {
        let mut email = format!("ann.{unique}@example.org");
        if n % 2 == 1 {
            email = email.to_uppercase();
        }
        let request = testkit::person::http()
            .post(system.url("/api/v1/auth/register"))
            .json(&json!({"email": email, "username": format!("ann-{n}-{unique}"), "password": "a password"}));
        async move {
            loop {
                let answer = request.try_clone().expect("a plain body").send().await.expect("an answer");
                // The hasher's queue is bounded: who finds it full is told when to come again.
                if answer.status() == 503 {
                    assert!(answer.headers().contains_key("retry-after"));
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
                return (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"));
            }
        }
    });
    let answers = futures::future::join_all(attempts).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1);
    for (status, body) in answers.iter().filter(|(status, _)| *status != 200) {
        assert_eq!((*status, body["detail"].as_str()), (400, Some("User with this email or username already exists")));
    }
}

#[tokio::test]
async fn a_token_is_dead_everywhere_after_logout_and_its_repeat_still_succeeds() {
    let system = System::shared().await;
    let ann = Person::register(system, "ann").await;
    assert_eq!(ann.get("/api/v1/auth/me").await["email"], json!(ann.email));
    let out = ann.post("/api/v1/auth/logout", json!({})).await;
    assert_eq!((out.status.as_u16(), out.json()), (200, json!({"status": "logged_out"})));
    let me = ann.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer");
    assert_eq!(me.status, 401);
    let verify = testkit::person::http()
        .post(system.url("/api/v1/auth/verify-token"))
        .json(&json!({"token": ann.token}))
        .send()
        .await
        .expect("an answer");
    assert_eq!(verify.status(), 401);
    assert_eq!(ann.post("/api/v1/auth/logout", json!({})).await.status, 200, "repeating with the token it killed completes it");
}

#[tokio::test]
async fn a_stop_by_sigterm_cuts_no_request_and_ends_within_ten_seconds() {
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let (ann_task, url) = (ann.clone(), bob.id);
    let sending = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        loop {
            let id = Uuid::now_v7();
            match ann_task.ask(Method::POST, "/api/v1/messages/send", Some(Person::message(url, id, "hello"))).await {
                Ok(answer) if answer.status == 200 => acknowledged.push(id),
                Ok(answer) => return (acknowledged, Some(answer.status.as_u16())),
                // Refused connections are right once the listener is gone; a cut answer is not.
                Err(error) if error.is_connect() => return (acknowledged, None),
                Err(error) => panic!("a request was cut: {error:?}"),
            }
        }
    });
    testkit::wait_until("some messages", std::time::Duration::from_secs(10), async || (bob.pending().await.len() > 20).then_some(())).await;
    let (status, took) = system.stop().await;
    assert!(status.success(), "{status}\n{}", system.log_tail());
    assert!(took < std::time::Duration::from_secs(10), "{took:?}");
    let (acknowledged, refused) = sending.await.expect("no request was cut");
    assert!(refused.is_none_or(|status| status == 503), "{refused:?}");
    system.start_again();
    system.ready().await;
    let history = bob.conversation(ann.id).await;
    assert!(acknowledged.iter().all(|id| history.contains(id)));
}

#[tokio::test]
async fn a_send_whose_body_is_still_on_its_way_at_sigterm_is_stored_and_answered() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let id = Uuid::now_v7();
    let body = Person::message(bob.id, id, "hello").to_string();
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", system.port)).await.expect("it listens");
    let head = format!(
        "POST /api/v1/messages/send HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        ann.token,
        body.len()
    );
    let (begin, rest) = body.split_at(10);
    socket.write_all(format!("{head}{begin}").as_bytes()).await.expect("sent");
    // What the server has read is answered; that it has, shows in nothing but a later answer on another connection.
    ann.get("/api/v1/auth/me").await;
    testkit::system::signal(system.pid().expect("it runs"), rustix::process::Signal::TERM);
    testkit::wait_until("it takes no new connection", std::time::Duration::from_secs(5), async || {
        tokio::net::TcpStream::connect(("127.0.0.1", system.port)).await.is_err().then_some(())
    })
    .await;
    socket.write_all(rest.as_bytes()).await.expect("the connection stands");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    testkit::wait_until("the process ends", std::time::Duration::from_secs(10), async || system.exit_status()).await;
    system.start_again();
    system.ready().await;
    assert_eq!(bob.conversation(ann.id).await, [id]);
}
