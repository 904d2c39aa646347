//! Schemas, forward only.

use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::pools::connect;
use super::{Databases, READER, Service};
use crate::config::{ServerUrl, StartError};
use crate::crash::crash_point;

static LEDGER: Migrator = sqlx::migrate!("../migrations/ledger");
static KEYS: Migrator = sqlx::migrate!("../migrations/keys");
static AUTH: Migrator = sqlx::migrate!("../migrations/auth");

/// Held in a database while its schemas change, so that two starts do it one after the other.
const MIGRATING: i64 = 0x706f_7374_7269_0002;

/// A schema, what makes it, and the one thing in it that the reader may see.
struct Schema {
    name: &'static str,
    migrations: &'static Migrator,
    shown: Option<&'static str>,
}

impl Databases {
    /// Brings every schema but those of projections up to date; each carries the list of its migrations in itself. Safe to repeat, to interrupt (every
    /// migration is one transaction), and to run twice at once.
    ///
    /// # Errors
    /// When a database cannot be reached, lacks a right, or has been migrated by a newer version, or holds half of a restore.
    pub async fn migrate(&self) -> Result<(), StartError> {
        for service in Service::ALL {
            finished(self.url(service)).await?;
        }
        finished(self.keys()).await?;
        self.migrate_unfinished().await
    }

    /// The same, where a restore is under way.
    pub(crate) async fn migrate_unfinished(&self) -> Result<(), StartError> {
        let keys = [Schema { name: "keys", migrations: &KEYS, shown: None }];
        let own = Service::ALL.map(|service| async move {
            let ledger = Schema { name: service.ledger(), migrations: &LEDGER, shown: Some("ledger_head") };
            let published = (service == Service::Auth).then_some(Schema { name: "auth", migrations: &AUTH, shown: Some("signing_keys") });
            let schemas: Vec<_> = std::iter::once(ledger).chain(published).collect();
            migrate(self.url(service), &schemas).await
        });
        // The key store comes first: by default it shares a database, and would only wait for its lock.
        migrate(self.keys(), &keys).await?;
        futures::future::try_join_all(own).await.map(|_| ())
    }
}

/// Refuses a database in which a restore has not been finished.
async fn finished(url: &ServerUrl) -> Result<(), StartError> {
    let mut connection = connect(url, "migrate").await?;
    crate::backup::refuse_unfinished(&mut connection, &url.to_string()).await?;
    let _closing = connection.close().await;
    Ok(())
}

async fn migrate(url: &ServerUrl, schemas: &[Schema]) -> Result<(), StartError> {
    let mut connection = connect(url, "migrate").await?;
    let locked = connection.execute(AssertSqlSafe(format!("SET lock_timeout = '60s'; SELECT pg_advisory_lock({MIGRATING})"))).await;
    locked.map_err(|error| StartError::because(format!("another start has been migrating {url} for a minute"), error))?;
    for schema in schemas {
        let name = schema.name;
        let failed = |error: sqlx::Error| {
            let lacking =
                "whoever uses this database must be allowed to make schemas in it (GRANT CREATE ON DATABASE), or own those that are there";
            StartError::because(format!("the schema {name} in {url} cannot be made: {lacking}"), error)
        };
        make(&mut connection, name).await.map_err(failed)?;
        crash_point(&format!("migrate.{name}.made"));
        // Prepared statements of one schema must not meet the next one's tables.
        connection.clear_cached_statements().await.map_err(failed)?;
        schema.migrations.run_direct(None, &mut connection, false).await.map_err(|error| refused(error, name, url))?;
        crash_point(&format!("migrate.{name}.migrated"));
        if let Some(shown) = schema.shown {
            show(&mut connection, name, shown).await.map_err(failed)?;
        }
    }
    let _closing = connection.close().await;
    Ok(())
}

async fn make(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    // Asked first, since `IF NOT EXISTS` wants the right to make it even when it is there.
    let there: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)").bind(name).fetch_one(&mut *connection).await?;
    if !there {
        connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {name}"))).await?;
    }
    connection.execute(AssertSqlSafe(format!("SET search_path = {name}"))).await?;
    Ok(())
}

/// Lets the reader see one table or view, where there is a reader.
async fn show(connection: &mut PgConnection, schema: &str, table: &str) -> Result<(), sqlx::Error> {
    let wanted: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1
            AND NOT (has_schema_privilege(r.oid, $2, 'USAGE') AND has_table_privilege(r.oid, $2 || '.' || $3, 'SELECT')))",
    )
    .bind(READER)
    .bind(schema)
    .bind(table)
    .fetch_one(&mut *connection)
    .await?;
    if wanted {
        let grant = format!("GRANT USAGE ON SCHEMA {schema} TO {READER}; GRANT SELECT ON {schema}.{table} TO {READER}");
        connection.execute(AssertSqlSafe(grant)).await?;
    }
    Ok(())
}

fn refused(error: MigrateError, schema: &str, url: &ServerUrl) -> StartError {
    match error {
        MigrateError::VersionMissing(version) => StartError::new(format!(
            "the schema {schema} in {url} was migrated by a newer postrider (it has migration {version}, which this one does not know): start that one"
        )),
        MigrateError::VersionMismatch(version) => StartError::new(format!(
            "migration {version} of the schema {schema} in {url} is not the one that this postrider carries: a migration that was applied must never change"
        )),
        error => StartError::because(format!("the schema {schema} in {url} cannot be migrated"), error),
    }
}
