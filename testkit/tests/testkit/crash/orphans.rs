//! What a killed process leaves behind on the machine: nothing that runs.

use std::sync::Arc;
use std::time::Duration;

use platform::private::{DataDir, PrivatePostgres, PrivateRedis};
use sqlx::{Connection, PgConnection};
use testkit::load::{Load, violations};
use testkit::servers::temporary_directory;
use testkit::system::{System, SystemConfig, family, lives};
use testkit::wait_until;

use super::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_process_takes_its_servers_with_it_touches_no_others_and_starts_again() {
    let strangers = Arc::new(DataDir::open(&temporary_directory()).and_then(|dir| dir.lock()).expect("a directory"));
    let postgres = PrivatePostgres::start(&strangers).await.expect("a stranger's Postgres");
    let redis = PrivateRedis::start(&strangers).await.expect("a stranger's Redis");
    let before = (postgres.process(), redis.process());

    let mut system = System::start(SystemConfig::default()).await;
    let load = Load::begin(&system, 2).await;
    for _ in 0..2 {
        load.goes_on(10).await;
        let mut servers = family(server(&system, "postgres").await);
        servers.push(server(&system, "redis-server").await);
        assert!(servers.len() > 5, "Postgres has processes of its own: {servers:?}");
        system.kill();
        wait_until("the servers are gone", Duration::from_secs(10), async || (!servers.iter().any(|pid| lives(*pid))).then_some(())).await;
        system.start_again();
        system.ready().await;
    }
    assert_eq!(violations(&load.end().await).await, Vec::<String>::new());

    assert_eq!((postgres.process(), redis.process()), before, "nobody ended a stranger's server");
    PgConnection::connect(postgres.url()).await.expect("a stranger's Postgres answers").close().await.expect("it closes");
}
