//! The crash tests can fail: with a rule broken on purpose they find what is missing.

use std::time::Duration;

use testkit::kafka;
use testkit::load::{Acknowledging, Load, violations_within};
use testkit::system::{System, SystemConfig};
use testkit::wait_until;

const SABOTAGE: &str = "POSTRIDER_SABOTAGE";
const POINT: &str = "POSTRIDER_CRASH_POINT";

/// What is found after a load during which the rule was broken, and a kill.
async fn found(config: SystemConfig) -> Vec<String> {
    let dies_by_itself = config.env.iter().any(|(name, _)| name == POINT);
    let mut system = System::start(config.clone().without(POINT)).await;
    let load = Load::between(&system, &system, 3, Acknowledging::Nothing).await;
    if dies_by_itself {
        system.kill();
        system.config = config;
        system.start_again();
        wait_until("the process dies at its point", Duration::from_secs(60), async || system.exit_status()).await;
    } else {
        // What the killed process had not passed on yet, the next one passes on whole.
        load.goes_on(60).await;
        load.arrives(60).await;
        system.kill();
    }
    system.config = system.config.clone().without(SABOTAGE).without(POINT);
    system.start_again();
    system.ready().await;
    load.goes_on(5).await;
    violations_within(Duration::from_secs(5), &load.end().await).await
}

fn missing(found: &[String]) -> bool {
    found.iter().any(|violation| violation.contains("stands 0 times in the history"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feed_that_skips_an_event_is_found() {
    let found = found(SystemConfig::default().env(SABOTAGE, "feed.skip:20")).await;
    assert!(missing(&found), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_skips_an_event_is_found() {
    let found = found(SystemConfig::default().kafka(kafka::broker()).env(SABOTAGE, "publisher.skip:20")).await;
    assert!(missing(&found), "{found:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_moves_before_its_rows_is_found() {
    let config = SystemConfig::default().env(SABOTAGE, "projection.checkpoint_first");
    let found = found(config.env(POINT, "projection.conversations.before_commit:10")).await;
    assert!(missing(&found), "{found:?}");
}
