//! The way back.

use std::path::Path;

use schemas::Topic;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::manifest::{Manifest, hex};
use super::snapshot::{ledger_state, server_major};
use super::{Part, archive, parts};
use crate::config::StartError;
use crate::crash::crash_point;
use crate::ledger;
use crate::postgres::{Databases, connect};
use crate::vault::fingerprint;

/// While this schema stands in a database, a restore has been begun there and not been finished: what else stands there may be half of something.
const UNFINISHED: &str = "restoring";

/// Refuses a database in which a restore has not been finished.
pub(crate) async fn refuse_unfinished(connection: &mut PgConnection, place: &str) -> Result<(), StartError> {
    match is_there(connection, UNFINISHED).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(StartError::new(format!(
            "a restore into {place} was begun and not finished: run `postrider restore` again, which begins anew and leaves nothing of the first attempt"
        ))),
        Err(error) => Err(StartError::because(format!("{place} does not say whether a restore was finished"), error)),
    }
}

async fn is_there(connection: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)").bind(schema).fetch_one(connection).await
}

/// Brings a backup into an installation whose ledgers and key store are empty, and declares a new incarnation of every ledger. Read models are dropped: the next start fills them from the ledgers before it is ready.
///
/// Safe to interrupt: until everything is there, no process starts on it, and a second call begins anew.
///
/// # Errors
/// When the backup is damaged or not for this release, the wrapping key is another one, the installation holds something or is in use, or a database fails.
pub async fn restore(databases: &Databases, from: &Path, wrapping_key: Option<[u8; 32]>) -> Result<Manifest, StartError> {
    let manifest = Manifest::read(from)?;
    must_open(&manifest, wrapping_key)?;
    let parts = parts(databases);
    for part in &manifest.parts {
        if !parts.iter().any(|known| known.name == part.name) {
            return Err(StartError::new(format!(
                "the backup has a part `{}` that this release does not know: restore it with postrider {}",
                part.name, manifest.version
            )));
        }
    }
    let mut connections = Vec::new();
    for part in &parts {
        let mut connection = connect(part.url, "restore").await?;
        must_be_unused(&mut connection, part).await?;
        must_be_empty(&mut connection, part).await?;
        connections.push(connection);
    }
    for (part, connection) in parts.iter().zip(&mut connections) {
        run(connection, part, &format!("CREATE SCHEMA IF NOT EXISTS {UNFINISHED}")).await?;
    }
    crash_point("restore.begun");
    for (part, connection) in parts.iter().zip(&mut connections) {
        let schemas = part.schemas.join(", ");
        run(connection, part, &format!("DROP SCHEMA IF EXISTS {schemas} CASCADE")).await?;
        let Some(archived) = manifest.parts.iter().find(|archived| archived.name == part.name) else { continue };
        let major = server_major(connection).await;
        let major = major.map_err(|error| StartError::because(format!("{} does not say its version", part.url), error))?;
        archive::load(part, &from.join(&archived.file), major).await?;
        if let (Some(said), Some(schema)) = (archived.ledger, part.ledger) {
            let found = ledger_state(connection, schema).await?;
            if found != said {
                return Err(StartError::new(format!(
                    "the archive of `{}` holds another ledger than the manifest says ({found:?} instead of {said:?}): the backup was put together from several",
                    part.name
                )));
            }
        }
        tracing::info!(part = part.name, "brought back");
        crash_point("restore.part");
    }
    databases.migrate_unfinished().await?;
    for topic in Topic::ALL {
        ledger::new_incarnation(databases, *topic).await?;
    }
    crash_point("restore.before_end");
    for (part, connection) in parts.iter().zip(&mut connections) {
        run(connection, part, &format!("DROP SCHEMA IF EXISTS {UNFINISHED}")).await?;
    }
    for connection in connections {
        let _everything_is_committed = connection.close().await;
    }
    Ok(manifest)
}

/// Whether the data keys in the backup can be opened with what is configured.
fn must_open(manifest: &Manifest, wrapping_key: Option<[u8; 32]>) -> Result<(), StartError> {
    match (wrapping_key, manifest.keys.kept_in_store) {
        (None, true) => Ok(()),
        (Some(key), false) if hex(&fingerprint(key)) == manifest.keys.fingerprint => Ok(()),
        (Some(_), false) => Err(StartError::new(
            "the wrapping key (`keys.wrapping_key`) is not the one of the system that was backed up: with another one nobody's personal data could be opened",
        )),
        (None, false) => Err(StartError::new(
            "the system that was backed up had a wrapping key configured (`keys.wrapping_key`): configure the same one here",
        )),
        (Some(_), true) => Err(StartError::new(
            "the system that was backed up kept its wrapping key in its key store: remove `keys.wrapping_key` from the configuration",
        )),
    }
}

async fn must_be_unused(connection: &mut PgConnection, part: &Part<'_>) -> Result<(), StartError> {
    match ledger::others_connected(connection).await {
        Ok(0) => Ok(()),
        Ok(n) => Err(StartError::new(format!(
            "{n} connections of a running postrider use {}: stop it first (a restore goes into an installation that nobody uses)",
            part.url
        ))),
        Err(error) => Err(StartError::because(format!("{} does not say who uses it", part.url), error)),
    }
}

async fn must_be_empty(connection: &mut PgConnection, part: &Part<'_>) -> Result<(), StartError> {
    let failed = |error| StartError::because(format!("{} does not say whether it is empty", part.url), error);
    if is_there(connection, UNFINISHED).await.map_err(failed)? {
        return Ok(());
    }
    let table = part.ledger.map_or_else(|| "keys.data_keys".to_owned(), |schema| format!("{schema}.events"));
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&table).fetch_one(&mut *connection).await.map_err(failed)?;
    if there {
        let sql = format!("SELECT EXISTS (SELECT FROM {table})");
        if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.map_err(failed)? {
            return Err(StartError::new(format!(
                "{table} in {} is not empty: a backup is restored into an empty installation (another --data-dir, or a server without these databases), so that nothing can be lost by it",
                part.url
            )));
        }
    }
    Ok(())
}

async fn run(connection: &mut PgConnection, part: &Part<'_>, sql: &str) -> Result<(), StartError> {
    let done = connection.execute(AssertSqlSafe(sql.to_owned())).await;
    done.map(drop).map_err(|error| StartError::because(format!("{} cannot be prepared for a restore", part.url), error))
}
