//! The checker can fail: with a rule of the sockets broken on purpose it finds that one.

use std::time::Duration;

use testkit::system::SystemConfig;

use super::checker::Rule;
use super::run::Run;

/// Which rules are found broken in a short run without blows, in which every so many-th passage of a point breaks one.
async fn found(point: &str) -> Vec<Rule> {
    let run = Run {
        seed: 5,
        length: Duration::from_secs(5),
        processes: 1,
        people: 3,
        devices: 2,
        blows: false,
        settling: Duration::from_secs(2),
        config: SystemConfig::default().env("POSTRIDER_SABOTAGE", point),
    };
    let mut rules: Vec<Rule> = run.found().await.into_iter().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_leaves_a_frame_out_is_found() {
    let found = found("socket.skip:30").await;
    assert!(found.contains(&Rule::NoGaps), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_says_a_frame_twice_is_found() {
    assert_eq!(found("socket.twice:30").await, [Rule::NothingTwice]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lacks_an_event_is_found() {
    let found = found("frames.skip:30").await;
    assert!(found.contains(&Rule::NoGaps), "{found:?}");
}
