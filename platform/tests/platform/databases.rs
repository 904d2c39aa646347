//! Databases, roles, migrations: made once, by whoever comes, and closed to each other.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use platform::config::{Config, ServerUrl, Sources};
use platform::postgres::{Databases, Pools, Service};
use platform::private::{DataDir, PrivatePostgres};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use testkit::servers::temporary_directory;

/// A server of the test's own, since roles and database names belong to the whole server.
async fn server() -> (PrivatePostgres, ServerUrl, Config) {
    let locked = Arc::new(DataDir::open(&temporary_directory()).unwrap().lock().unwrap());
    let postgres = PrivatePostgres::start(&locked).await.unwrap();
    let url = ServerUrl::new(postgres.url());
    (postgres, url, Sources::default().load().unwrap().config)
}

async fn may(url: &ServerUrl, statement: &str) -> Result<(), String> {
    let mut connection = PgConnection::connect(url.expose()).await.map_err(|error| error.to_string())?;
    connection.execute(AssertSqlSafe(statement.to_owned())).await.map(|_| ()).map_err(|error| error.to_string())
}

fn in_database(url: &ServerUrl, other: &str) -> ServerUrl {
    let (base, _) = url.expose().rsplit_once('/').unwrap();
    ServerUrl::new(format!("{base}/{other}"))
}

#[tokio::test]
async fn two_starts_at_once_both_end_well_and_agree() {
    let (_server, url, config) = server().await;
    let start = || async {
        let databases = Databases::prepare(&config.postgres, &url).await?;
        databases.migrate().await.map(|()| databases)
    };
    let (one, other) = tokio::join!(start(), start());
    let (one, other) = (one.unwrap(), other.unwrap());
    let again = start().await.unwrap();
    for service in Service::ALL {
        assert!(one.url(service) == other.url(service) && one.url(service) == again.url(service), "{service}");
        may(one.url(service), "SELECT 1").await.unwrap();
    }
    may(one.url(Service::Messages), "SELECT * FROM messages_ledger.ledger_head").await.unwrap();
    may(one.url(Service::Auth), "SELECT * FROM auth.signing_keys; SELECT * FROM auth_ledger.events; SELECT * FROM keys.data_keys")
        .await
        .unwrap();
    let pools = Pools::open(&one, &config.postgres).await.unwrap();
    for ledger in [&pools.auth_ledger, &pools.users_ledger, &pools.messages_ledger] {
        ledger.execute("SELECT head FROM ledger_head").await.expect("a ledger's pool finds its tables by their bare names");
    }
    pools.close().await;
}

#[tokio::test]
async fn roles_see_nothing_of_each_other_but_heads_and_published_keys() {
    let (_server, url, config) = server().await;
    let databases = Databases::prepare(&config.postgres, &url).await.unwrap();
    databases.migrate().await.unwrap();
    for service in Service::ALL {
        for other in Service::ALL.into_iter().filter(|other| *other != service) {
            let refused = may(&in_database(databases.url(service), other.database()), "SELECT 1").await.unwrap_err();
            assert!(refused.contains("permission denied"), "{service} in {other}: {refused}");
        }
        let refused = may(databases.url(service), "CREATE DATABASE more").await.unwrap_err();
        assert!(refused.contains("permission denied"), "{service}: {refused}");
    }
    let reader = databases.as_reader(Service::Auth);
    may(reader, "SELECT * FROM auth_ledger.ledger_head; SELECT * FROM auth.signing_keys").await.unwrap();
    may(databases.as_reader(Service::Users), "SELECT * FROM users_ledger.ledger_head").await.unwrap();
    may(databases.as_reader(Service::Messages), "SELECT * FROM messages_ledger.ledger_head").await.unwrap();
    for table in ["auth_ledger.events", "auth_ledger.secrets", "keys.data_keys", "installation.roles"] {
        let refused = may(reader, &format!("SELECT * FROM {table}")).await.unwrap_err();
        assert!(refused.contains("permission denied"), "{table}: {refused}");
    }
    let refused = may(databases.url(Service::Auth), "SELECT * FROM installation.roles").await.unwrap_err();
    assert!(refused.contains("permission denied"), "{refused}");
}

#[tokio::test]
async fn an_installation_that_was_interrupted_is_completed() {
    let (_server, url, config) = server().await;
    may(&url, "CREATE DATABASE auth_db").await.unwrap(); // killed after its first step
    may(&url, "CREATE ROLE postrider_auth LOGIN PASSWORD 'of an earlier installation'").await.unwrap();
    let databases = Databases::prepare(&config.postgres, &url).await.unwrap();
    databases.migrate().await.unwrap();
    may(
        &in_database(&url, "auth_db"),
        "DELETE FROM auth_ledger._sqlx_migrations; DROP SCHEMA auth CASCADE; DROP TABLE auth_ledger._sqlx_migrations",
    )
    .await
    .unwrap();
    databases.migrate().await.expect_err("a schema whose history was cut off is not guessed at");
    may(&in_database(&url, "auth_db"), "DROP SCHEMA auth_ledger CASCADE").await.unwrap();
    databases.migrate().await.unwrap();
}

#[tokio::test]
async fn a_database_that_a_newer_version_migrated_is_refused() {
    let (_server, url, config) = server().await;
    let databases = Databases::prepare(&config.postgres, &url).await.unwrap();
    databases.migrate().await.unwrap();
    let newer = "INSERT INTO messages_ledger._sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'later', true, '', 0)";
    may(databases.url(Service::Messages), newer).await.unwrap();
    let refused = databases.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("newer postrider") && refused.contains("9999") && refused.contains("messages_ledger"), "{refused}");
}

#[tokio::test]
async fn a_lacking_right_and_a_lack_of_connections_are_named() {
    let (server, url, config) = server().await;
    may(&url, "CREATE ROLE plain LOGIN PASSWORD 'plain'").await.unwrap();
    let plain = ServerUrl::new(format!("postgres://plain:plain@127.0.0.1:{}/postgres", server.port()));
    let refused = Databases::prepare(&config.postgres, &plain).await.unwrap_err().to_string();
    assert!(refused.contains("plain") && refused.contains("CREATEDB") && refused.contains("AUTH_DATABASE_URL"), "{refused}");

    may(&url, "CREATE ROLE making LOGIN PASSWORD 'making' CREATEDB CREATEROLE").await.unwrap();
    let making = ServerUrl::new(format!("postgres://making:making@127.0.0.1:{}/postgres", server.port()));
    let databases = Databases::prepare(&config.postgres, &making).await.expect("no superuser is needed");
    databases.migrate().await.unwrap();

    let mut greedy = config.postgres.clone();
    greedy.message_pool = 1000;
    let refused = Pools::open(&databases, &greedy).await.unwrap_err().to_string();
    assert!(refused.contains("max_connections") && refused.contains("message_pool"), "{refused}");
}

#[tokio::test]
async fn a_database_that_is_given_is_used_as_it_is() {
    let (server, url, mut config) = server().await;
    may(&url, "CREATE ROLE own LOGIN PASSWORD 'own'").await.unwrap();
    may(&url, "CREATE DATABASE own OWNER own").await.unwrap();
    config.postgres.message_url = ServerUrl::new(format!("postgres://own:own@127.0.0.1:{}/own", server.port()));
    let databases = Databases::prepare(&config.postgres, &url).await.unwrap();
    databases.migrate().await.unwrap();
    assert_eq!(databases.url(Service::Messages), &config.postgres.message_url);
    may(databases.as_reader(Service::Messages), "SELECT * FROM messages_ledger.ledger_head").await.unwrap();
    let made = may(&in_database(&url, "message_db"), "SELECT 1").await.unwrap_err();
    assert!(made.contains("does not exist"), "{made}");
}
