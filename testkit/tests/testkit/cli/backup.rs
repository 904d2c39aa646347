//! `postrider backup`, `restore`, `ledger new-incarnation`: out of a system that runs, and into another.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::kafka::Broker;
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

use super::{Said, beside, run};

async fn send(from: &Person, to: &Person) -> Uuid {
    let id = Uuid::now_v7();
    let answer = from.post("/api/v1/messages/send", Person::message(to.id, id, "hidden")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    id
}

/// Below the system's own directory, which ends with it.
fn place(system: &System, name: &str) -> String {
    system.directory.join(name).display().to_string()
}

fn data(system: &System) -> String {
    system.directory.join("data").display().to_string()
}

async fn restore(system: &System, from: &str, env: &[(&str, &str)]) -> Said {
    run(&system.directory, &["restore", from, "--data-dir", &data(system)], env).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_while_people_write_answers_after_its_restore_as_at_the_backup() {
    let old = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&old, "ann").await, Person::register(&old, "bob").await);
    let (kept, acknowledged) = (send(&ann, &bob).await, send(&ann, &bob).await);
    assert_eq!(bob.post("/api/v1/relay/acknowledge", serde_json::json!({"message_id": acknowledged})).await.status, 200);
    let gone = ann.login().await;
    assert_eq!(gone.post("/api/v1/auth/logout", serde_json::json!({})).await.status, 200);

    // Somebody writes, and somebody registers, all the while.
    let (end, writing) = (std::sync::Arc::new(AtomicBool::new(false)), (ann.clone(), bob.clone()));
    let writer = tokio::spawn({
        let end = end.clone();
        async move {
            let mut sent = Vec::new();
            while !end.load(Ordering::Relaxed) {
                sent.push(send(&writing.0, &writing.1).await);
            }
            sent
        }
    });
    let before = wait_until("some of it", std::time::Duration::from_secs(10), async || {
        let all = bob.conversation(ann.id).await;
        (all.len() > 20).then_some(all)
    })
    .await;
    let backup = place(&old, "backup");
    let said = beside(&old, &["backup", &backup]).await.well();
    assert!(said.contains("messages") && said.contains("the key that opens personal data is in this backup too"), "{said}");
    end.store(true, Ordering::Relaxed);
    let written = writer.await.unwrap();
    let mode =
        |name: &str| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(PathBuf::from(&backup).join(name)).unwrap().permissions());
    assert_eq!((mode("") & 0o777, mode("messages.dump") & 0o777, mode("manifest.json") & 0o777), (0o700, 0o600, 0o600));
    let found = testkit::system::search_files(&PathBuf::from(&backup), ann.email.as_bytes(), &[]);
    assert_eq!(found, Vec::<String>::new(), "an address stands in the clear");

    let mut new = System::prepare(SystemConfig::default());
    restore(&new, &backup, &[]).await.well();
    new.start_again();
    new.ready().await;
    let (ann, bob) = (ann.at(&new), bob.at(&new));
    // A prefix of what was written, with everything that was answered before the backup began.
    let restored = bob.conversation(ann.id).await;
    let everything: Vec<Uuid> = [kept, acknowledged].into_iter().chain(written).collect();
    assert!(restored.len() >= before.len() && everything.starts_with(&restored), "{} of {}", restored.len(), everything.len());
    assert_eq!(ann.conversation(bob.id).await, restored);
    let waiting: Vec<Uuid> = restored.iter().copied().filter(|id| *id != acknowledged).collect();
    assert_eq!(bob.pending().await, waiting, "what was acknowledged does not come back");
    assert_eq!(gone.at(&new).ask(reqwest::Method::GET, "/api/v1/auth/me", None).await.unwrap().status, 401, "nor does a session");
    assert_eq!(ann.login().await.get("/api/v1/auth/me").await["email"], ann.email.as_str(), "personal data can be opened");
    // A repeat finds its first answer, and life goes on.
    let again = ann.post("/api/v1/messages/send", Person::message(bob.id, kept, "hidden")).await;
    assert_eq!((again.status.as_u16(), &again.json()["id"]), (200, &serde_json::json!(kept)));
    let next = send(&ann, &bob).await;
    assert_eq!(bob.conversation(ann.id).await.last(), Some(&next));
    assert_eq!(bob.conversation(ann.id).await.len(), restored.len() + 1);

    // What holds something is left alone, running or not.
    restore(&new, &backup, &[]).await.refused(&["running postrider", "stop it first"]);
    new.stop().await;
    restore(&new, &backup, &[]).await.refused(&["is not empty", "another --data-dir"]);
}

#[tokio::test]
async fn half_a_restore_is_never_started_and_a_second_one_begins_anew() {
    let old = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&old, "ann").await, Person::register(&old, "bob").await);
    let id = send(&ann, &bob).await;
    let backup = place(&old, "backup");
    beside(&old, &["backup", &backup]).await.well();
    for point in ["restore.begun", "restore.part:2", "restore.before_end"] {
        let mut new = System::prepare(SystemConfig::default());
        let crashed = restore(&new, &backup, &[("POSTRIDER_CRASH_POINT", point)]).await;
        assert_ne!(crashed.code, Some(0), "{point}");
        run(&new.directory, &["migrate", "--data-dir", &data(&new)], &[]).await.refused(&[
            "a restore into",
            "not finished",
            "postrider restore",
        ]);
        restore(&new, &backup, &[]).await.well();
        new.start_again();
        new.ready().await;
        assert_eq!(bob.at(&new).conversation(ann.id).await, [id], "{point}");
    }
}

#[tokio::test]
async fn a_backup_that_is_damaged_incomplete_or_for_another_key_is_refused_before_anything_is_touched() {
    let old = System::start(SystemConfig::default()).await;
    let backup = place(&old, "backup");
    beside(&old, &["backup", &backup]).await.well();
    beside(&old, &["backup", &backup]).await.refused(&["is not empty", "a directory of its own"]);
    let new = System::prepare(SystemConfig::default());
    let key = format!("{}=", "A".repeat(43));
    restore(&new, &backup, &[("POSTRIDER_KEYS__WRAPPING_KEY", &key)]).await.refused(&["kept its wrapping key in its key store"]);
    let path = PathBuf::from(&backup);
    let dump = path.join("auth.dump");
    let mut bytes = std::fs::read(&dump).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&dump, bytes).unwrap();
    restore(&new, &backup, &[]).await.refused(&["auth.dump", "is damaged"]);
    run(&new.directory, &["restore", &backup, "--check"], &[]).await.refused(&["auth.dump", "is damaged"]);
    std::fs::remove_file(path.join("manifest.json")).unwrap();
    restore(&new, &backup, &[]).await.refused(&["is no backup", "manifest.json"]);
    // None of the refusals above began anything but a server.
    restore(&new, &place(&new, "nothing"), &[]).await.refused(&["is no backup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_publishes_the_next_generation_and_readers_follow_it() {
    let broker = Broker::start();
    let mut system = System::start(SystemConfig::default().kafka(&broker)).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let first = send(&ann, &bob).await;
    assert_eq!(bob.conversation(ann.id).await, [first]);
    beside(&system, &["ledger", "new-incarnation", "--yes"]).await.refused(&["a running postrider"]);
    system.stop().await;
    beside(&system, &["ledger", "new-incarnation"]).await.refused(&["--yes"]);
    let said = beside(&system, &["ledger", "new-incarnation", "--yes"]).await.well();
    assert!(said.contains("messages.events.2") && said.contains("auth.events.2"), "{said}");
    system.start_again();
    system.ready().await;
    let second = send(&ann, &bob).await;
    assert_eq!(bob.conversation(ann.id).await, [first, second]);
    assert_eq!(bob.pending().await, [first, second]);
    let prefix = system.config.env.iter().find(|(name, _)| name == "POSTRIDER_KAFKA__TOPIC_PREFIX").unwrap().1.clone();
    let records = broker.records(&format!("{prefix}messages.events.2")).await;
    assert_eq!(records.len(), 2, "the next generation holds everything");
}
