//! A reader far behind needs no more memory than one at the tail: shown by processes of their own, whose peak can be read.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use platform::ledger::Feed;
use platform::log::kafka::{KafkaConfig, KafkaSource};
use platform::log::{Checkpoints, EventSource, LedgerSource, SourceError};
use platform::shutdown::Shutdown;
use schemas::Topic;
use tokio::process::Command;
use uuid::Uuid;

use super::conformance::seek;
use super::support::{FromKafka, ledger_pool};

const EVENTS: usize = 100_000;
/// Payloads alone are 100 MiB.
const GROWTH_KIB: u64 = 64 << 10;

/// A line of `/proc/self/status`, in KiB.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Not a test of its own: reads everything and looks at its own peak.
#[tokio::test]
#[ignore = "run as a child by other tests"]
async fn child() {
    #[expect(clippy::disallowed_methods, reason = "how its parent tells it")]
    let [url, brokers, prefix] = ["CHILD_URL", "CHILD_BROKERS", "CHILD_PREFIX"].map(|name| std::env::var(name).unwrap());
    let feed = Feed::open(ledger_pool(&url).await, Topic::Messages, None, &Shutdown::new()).await.unwrap();
    let mut source: Box<dyn EventSource> = if brokers.is_empty() {
        Box::new(LedgerSource::new(feed))
    } else {
        let kafka = KafkaConfig { brokers, prefix, ..KafkaConfig::default() };
        Box::new(KafkaSource::new(kafka, "memory", Topic::Messages, Arc::new(feed)))
    };
    seek(&mut *source, &Checkpoints::new()).await;
    let before = status("VmRSS");
    let (mut seen, mut checkpoints) = (0, Checkpoints::new());
    while seen < EVENTS {
        match source.next_batch().await {
            Ok(batch) => {
                assert!(batch.events.len() <= 2000);
                assert!(batch.events.iter().map(|e| e.weight()).sum::<usize>() <= 8 << 20);
                seen += batch.events.len();
                checkpoints.extend(batch.checkpoints());
            }
            Err(SourceError::Reassigned) => seek(&mut *source, &checkpoints).await,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(seen, EVENTS);
    let grown = status("VmHWM") - before;
    assert!(grown < GROWTH_KIB, "grew by {grown} KiB");
    println!("grew by {grown} KiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_far_behind_has_bounded_memory_whichever_its_source() {
    let world = FromKafka::new().await;
    // As ciphertext is: nothing to compress, so that the bound is on what is really there.
    let filler = || (0..32).map(|_| Uuid::now_v7().simple().to_string()).collect::<String>();
    for from in (0..EVENTS).step_by(1000) {
        let events: Vec<_> =
            (from..from + 1000).map(|n| (format!("key-{}", n % 200), format!(r#"{{"n":{n},"filler":"{}"}}"#, filler()))).collect();
        world.ledger.append(&events).await;
    }
    for brokers in ["", &world.kafka.brokers] {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log::memory::child", "--ignored", "--nocapture"])
            .env("CHILD_URL", &world.ledger.url)
            .env("CHILD_BROKERS", brokers)
            .env("CHILD_PREFIX", &world.kafka.prefix)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(120), child).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{brokers}: {said}");
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
