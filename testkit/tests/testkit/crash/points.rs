//! Death at the very moments that a random one rarely meets.

use std::time::Duration;

use testkit::kafka;
use testkit::load::{Load, violations};
use testkit::system::{System, SystemConfig};
use testkit::wait_until;

const POINT: &str = "POSTRIDER_CRASH_POINT";

/// Starts what was stopped, lets it die at the point, and leaves it without the point.
async fn until_it_dies(system: &mut System, point: &str) {
    system.config = system.config.clone().env(POINT, point);
    system.start_again();
    let status = wait_until(format!("the process dies at {point}"), Duration::from_secs(60), async || system.exit_status()).await;
    assert_eq!(status.code(), None, "aborted at {point}, not ended by itself:\n{}", system.log_tail());
    system.config = system.config.clone().without(POINT);
}

/// Runs under load until the process dies at the point, starts it again without the point, and checks every promise.
async fn dies_at(point: &str, config: SystemConfig) {
    let mut system = System::start(config).await;
    let load = Load::begin(&system, 3).await;
    system.kill();
    until_it_dies(&mut system, &format!("{point}:20")).await;
    system.start_again();
    load.goes_on(5).await;
    system.ready().await;
    let promises = load.end().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new(), "after dying at {point}");
}

/// Begins with nothing, dies at one point after the other, each further on in the first start, and is whole in the end.
async fn starts_in_spite_of(points: &[&str]) {
    let mut system = System::prepare(SystemConfig::default());
    for point in points {
        until_it_dies(&mut system, point).await;
    }
    system.start_again();
    system.ready().await;
    let load = Load::begin(&system, 1).await;
    load.goes_on(10).await;
    let promises = load.end().await;
    assert_eq!(violations(&promises).await, Vec::<String>::new(), "after dying at {points:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_after_the_commit_and_before_the_answer_loses_and_doubles_nothing() {
    dies_at("ledger.after_commit", SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_two_projections_of_one_batch_loses_and_doubles_nothing() {
    dies_at("projection.conversations.after_commit", SystemConfig::default()).await;
    dies_at("projection.relay.after_commit", SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_before_the_rows_of_a_batch_are_committed_loses_and_doubles_nothing() {
    dies_at("projection.conversations.before_commit", SystemConfig::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_the_brokers_acknowledgement_and_the_cursor_loses_and_doubles_nothing() {
    dies_at("publisher.after_ack", SystemConfig::default().kafka(kafka::broker())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_inside_the_first_start_leaves_nothing_that_the_next_one_cannot_go_on_from() {
    starts_in_spite_of(&[
        "initdb.before_rename",
        "install.first_database",
        "install.before_grants",
        "start.after_databases",
        "start.after_migrations",
        "start.before_key_is_published",
        "projection.conversations.schema",
        "projection.people.schema",
        "projection.relay.schema",
        "projection.blocks.schema",
        "projection.profiles.schema",
        "projection.contacts.schema",
        "projection.portraits.schema",
        "projection.users.schema",
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_inside_a_migration_leaves_nothing_that_the_next_one_cannot_go_on_from() {
    starts_in_spite_of(&[
        "migrate.keys.made",
        "migrate.keys.migrated",
        "migrate.auth_ledger.made",
        "migrate.auth_ledger.migrated",
        "migrate.auth.made",
        "migrate.auth.migrated",
    ])
    .await;
    // Beside which those of auth are made at the same time.
    starts_in_spite_of(&[
        "migrate.messages_ledger.made",
        "migrate.messages_ledger.migrated",
        "migrate.users_ledger.made",
        "migrate.users_ledger.migrated",
    ])
    .await;
}
