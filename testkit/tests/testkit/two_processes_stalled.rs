//! Two processes on the same servers, of which one stands still and keeps what it holds.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use testkit::person::Person;
use testkit::servers::Pair;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig, signal};
use testkit::wait_until;
use uuid::Uuid;

use crate::sockets::{message_of, messages, send};

/// Reads until all of these have come, and nothing of them twice.
async fn told(socket: &mut Socket, sent: &[Uuid]) {
    let last = sent.last().copied();
    let frames = socket.until(|frame| frame["type"] == "new_message" && message_of(frame) == last).await;
    assert_eq!(messages(&frames), sent);
}

#[tokio::test]
async fn a_process_that_stands_still_is_replaced_and_when_it_goes_on_nothing_is_doubled_or_lost() {
    let servers = Pair::start().await;
    let config = SystemConfig::default()
        .env("DATABASE_URL", servers.postgres.url())
        .env("REDIS_URL", servers.redis.url())
        .env("POSTRIDER_PROJECTIONS__STALLED_AFTER_SECONDS", 3);
    // The first to come runs every projection.
    let one = System::start(config.clone()).await;
    let mut two = System::start(config).await;
    let (ann, bob) = (Person::register(&two, "ann").await, Person::register(&two, "bob").await);
    let bob_at_one = bob.at(&one);
    let (mut here, mut there) = (Socket::open(&bob_at_one).await, Socket::open(&bob).await);
    let mut sent = vec![send(&ann, &bob, "before").await];
    told(&mut here, &sent).await;
    told(&mut there, &sent).await;

    let pid = one.pid().expect("it runs");
    signal(pid, Signal::STOP);
    for _ in 0..5 {
        sent.push(send(&ann, &bob, "meanwhile").await);
    }
    told(&mut there, &sent[1..]).await;
    assert_eq!(bob.conversation(ann.id).await, sent);
    for projection in ["conversations", "relay", "frames.messages"] {
        let name = format!("projection_stalled_owners_ended_total{{projection=\"{projection}\"}}");
        assert_eq!(two.metric(&name).await, Some(1.0), "{projection}");
    }
    // Projections that had nothing to do until now are taken over when they have.
    let cid = Person::register(&two, "cid").await;
    let id = Uuid::now_v7();
    wait_until("who is new is known", Duration::from_secs(20), async || {
        let answer = bob.post("/api/v1/messages/send", Person::message(cid.id, id, "welcome")).await;
        (answer.status == 200).then_some(())
    })
    .await;

    signal(pid, Signal::CONT);
    told(&mut here, &sent[1..]).await;
    for turn in 0..6 {
        let from = if turn % 2 == 0 { ann.at(&one) } else { ann.at(&two) };
        let id = send(&from, &bob, "afterwards").await;
        sent.push(id);
        told(&mut here, &[id]).await;
        told(&mut there, &[id]).await;
        assert_eq!(bob_at_one.conversation(ann.id).await, sent);
    }
    for socket in [&mut here, &mut there] {
        let rest: Vec<Value> = socket.before_pong().await;
        assert_eq!(messages(&rest), Vec::<Uuid>::new(), "{rest:?}");
    }
    assert_eq!(bob_at_one.pending().await, sent);

    // And it stands by from now on.
    two.kill();
    let id = send(&ann.at(&one), &bob, "at last").await;
    told(&mut here, &[id]).await;
    assert!(!one.log().contains("panicked"), "{}", one.log_tail());
}
