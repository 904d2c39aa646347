//! Peers that do not do their part: they cost themselves their connection, and nobody else anything.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use testkit::person::Person;
use testkit::socket::Socket;
use testkit::system::{MACHINE, System, SystemConfig};
use testkit::wait_until;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::judge::ping_of;
use super::wire::{In, Out, TEXT, Wire, upgrade};

/// How long a send, and its way to an open socket, may take beside peers of any kind.
const BOUND: Duration = Duration::from_secs(3);

/// One message travels, by HTTP, to an open socket.
async fn travels(ann: &Person, bob: &Person, socket: &mut Socket) {
    let (id, begin) = (Uuid::now_v7(), Instant::now());
    let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    socket.until(|frame| frame["message_id"] == json!(id)).await;
    assert!(begin.elapsed() < BOUND, "it took {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_peer_that_does_not_read_keeps_nobody_waiting_not_even_its_own_person() {
    let _alone = MACHINE.lock().await;
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let mut deaf = Vec::new();
    for _ in 0..20 {
        deaf.push(Wire::open(&bob, system.port).await);
    }
    let mut socket = Socket::open(&bob).await;
    let text = "x".repeat(100_000);
    let mut ids = Vec::new();
    for _ in 0..60 {
        let (id, begin) = (Uuid::now_v7(), Instant::now());
        let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, &text)).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
        ids.push(json!(id));
        socket.until(|frame| frame["message_id"] == json!(id)).await;
        assert!(begin.elapsed() < BOUND, "{:?}", begin.elapsed());
    }
    // They are far behind: each is told so, and where to go on from.
    for mut peer in deaf {
        let end = loop {
            match peer.next().await {
                In::Text(_) | In::Ping(_) => {}
                end => break end,
            }
        };
        assert!(matches!(end, In::Close(4008, _)), "{end:?}");
    }
    travels(&ann, &bob, &mut socket).await;
}

#[tokio::test]
async fn a_peer_that_says_one_byte_a_second_is_heard_and_hurts_nobody() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    let mut socket = Socket::open(&bob).await;
    let mut slow = Vec::new();
    for _ in 0..50 {
        slow.push(Wire::open(&bob, system.port).await);
    }
    let frame = Out::of(TEXT, ping_of(15)).bytes();
    for byte in frame {
        for peer in &mut slow {
            peer.raw(&[byte]).await;
        }
        let second = Instant::now();
        travels(&ann, &bob, &mut socket).await;
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(second.elapsed())).await;
    }
    for peer in &mut slow {
        loop {
            match peer.next().await {
                In::Text(frame) if frame["type"] == "pong" => break,
                In::Text(_) | In::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_ends_its_half_is_let_go_and_one_that_is_silent_after_a_minute() {
    let system = System::shared().await;
    let bob = Person::register(system, "bob").await;
    let mut half = Wire::open(&bob, system.port).await;
    let mut silent = Wire::open(&bob, system.port).await;
    half.half_close().await;
    let end = half.next_within(Duration::from_secs(10)).await;
    assert!(matches!(end, Some(In::End { .. } | In::Close(..))), "{end:?}");
    // It reads, and answers no ping: as one whose network has gone.
    let begin = Instant::now();
    let end = loop {
        match silent.next_within(Duration::from_secs(80)).await {
            Some(In::Ping(_) | In::Text(_)) => {}
            end => break end,
        }
    };
    assert!(matches!(end, Some(In::Close(1001, _))), "{end:?}");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(55) && took < Duration::from_secs(75), "{took:?}");
}

/// Needs 10,000 descriptors on each side.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connects_that_never_finish_the_upgrade_hurt_nobody() {
    const PEERS: usize = 10_000;
    let _alone = MACHINE.lock().await;
    // A shell's usual limit is 1,024.
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).expect("the hard limit is anybody's");
    let system = System::start(SystemConfig::default()).await;
    let (ann, bob) = (Person::register(&system, "ann").await, Person::register(&system, "bob").await);
    let mut socket = Socket::open(&bob).await;
    travels(&ann, &bob, &mut socket).await;
    let head = upgrade(&bob, "");
    let mut peers = Vec::with_capacity(PEERS);
    for n in 0..PEERS {
        let Ok(mut peer) = TcpStream::connect(("127.0.0.1", system.port)).await else { break };
        // A third says nothing, a third a part of a head, a third a whole one but for its end.
        let _ = peer.write_all(&head.as_bytes()[..[0, 40, head.len() - 2][n % 3]]).await;
        peers.push(peer);
        if n % 500 == 0 {
            travels(&ann, &bob, &mut socket).await;
        }
    }
    assert!(peers.len() > PEERS * 9 / 10, "only {} connects", peers.len());
    for _ in 0..20 {
        travels(&ann, &bob, &mut socket).await;
        let begin = Instant::now();
        drop(Socket::open(&ann).await);
        assert!(begin.elapsed() < BOUND, "a new socket took {:?}", begin.elapsed());
    }
    // Each is let go in its time.
    let ends = join_all(peers.iter_mut().map(async |peer| {
        let mut answer = Vec::new();
        tokio::time::timeout(Duration::from_secs(60), peer.read_to_end(&mut answer)).await.is_ok()
    }));
    let ended = tokio::join!(ends, async {
        for _ in 0..20 {
            travels(&ann, &bob, &mut socket).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
    .0;
    assert!(ended.iter().all(|ended| *ended), "{} are still open", ended.iter().filter(|ended| !**ended).count());
    wait_until("all is as before", Duration::from_secs(10), async || {
        travels(&ann, &bob, &mut socket).await;
        Some(())
    })
    .await;
}
