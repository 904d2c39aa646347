//! `postrider admin`: what only the person who runs it may do.

use std::io::Write;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use testkit::person::{Answer, Person, http};
use testkit::servers::temporary_directory;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;

use super::{beside, command, run};

async fn role(who: &Person) -> String {
    who.get("/api/v1/auth/me").await["role"].as_str().unwrap().to_owned()
}

async fn sign_in(system: &System, who: &Person, password: &str) -> u16 {
    let body = json!({"email": who.email, "password": password});
    Answer::to(http().post(system.url("/api/v1/auth/login")).json(&body)).await.unwrap().status.as_u16()
}

#[tokio::test]
async fn a_role_and_a_password_are_given_beside_a_running_system_and_without_one() {
    let mut system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let granted = beside(&system, &["admin", "grant", &ann.email.to_uppercase()]).await.well();
    assert!(granted.contains("is an admin now") && granted.contains(&ann.id.to_string()) && granted.contains("24 h"), "{granted}");
    assert!(beside(&system, &["admin", "grant", &ann.email]).await.well().contains("already"));
    assert_eq!((role(&ann).await, role(&bob).await), ("admin".into(), "user".into()));
    let seen = wait_until("others see it", Duration::from_secs(5), async || {
        let shown = beside(&system, &["events", "--topic", "auth", "--limit", "1", "--json"]).await.well();
        shown.contains("account.role_changed").then_some(shown)
    })
    .await;
    assert!(seen.contains("\"system\""), "{seen}");

    // Beside it: known to the running process within a second.
    assert_eq!(sign_in(&system, &bob, &bob.password).await, 200);
    let reset = beside(&system, &["admin", "reset-password", &bob.email]).await.well();
    assert!(reset.contains("2 sessions have ended"), "{reset}");
    let password = reset.lines().find_map(|line| line.split_once("shown this once: ")).expect("it is printed").1.to_owned();
    let me = async || bob.ask(Method::GET, "/api/v1/auth/me", None).await.unwrap().status.as_u16();
    wait_until("its sessions have ended", Duration::from_secs(1), async || (me().await == 401).then_some(())).await;
    assert_eq!((sign_in(&system, &bob, &bob.password).await, sign_in(&system, &bob, &password).await), (401, 200));
    assert!(!system.log().contains(&password));
    assert_eq!(me().await, 401);

    // Without it: a Postgres for the time of the command.
    assert!(system.stop().await.0.success());
    let data = system.directory.join("data");
    let mut child =
        command(&system.directory, &["--data-dir", data.to_str().unwrap(), "admin", "reset-password", "--stdin", &ann.email], &[]);
    let mut child = child.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"a password of my own\n").unwrap();
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && !out.contains("a password of my own") && !err.contains("a password of my own"), "{out}{err}");
    system.start_again();
    system.ready().await;
    assert_eq!(sign_in(&system, &ann, "a password of my own").await, 200);
    assert_eq!(ann.ask(Method::GET, "/api/v1/auth/me", None).await.unwrap().status, 401, "its sessions ended while nothing ran");
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_a_sentence_and_changes_nothing() {
    let system = System::shared().await;
    for action in ["grant", "reset-password"] {
        beside(system, &["admin", action, "nobody@example.org"])
            .await
            .refused(&["there is no account with the address nobody@example.org"]);
        beside(system, &["admin", action]).await.refused(&["EMAIL"]);
    }
    let ann = Person::register(system, "ann").await;
    // Standard input is empty.
    beside(system, &["admin", "reset-password", "--stdin", &ann.email]).await.refused(&["8 to 1024 characters"]);
    assert_eq!(sign_in(system, &ann, &ann.password).await, 200);
    let empty = temporary_directory();
    run(&empty, &["admin", "grant", "ann@example.org"], &[]).await.refused(&["postrider up"]);
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "nothing was made");
}
