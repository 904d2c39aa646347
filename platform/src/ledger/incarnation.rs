//! A ledger's next life.

use schemas::Topic;
use schemas::read_models::Described;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use super::LedgerMeta;
use super::connection::{lane, schema};
use crate::config::StartError;
use crate::postgres::{Databases, Service, connect};

/// Declares that a ledger may have lost events that others have seen (it was restored, or a replica took over): positions of before mean nothing any more. Opens the next generation of its topic, which is published
/// from the start, and drops the read models that are made from it, which the next start fills again before it is ready.
///
/// # Errors
/// When a process works on it, or a database fails; then nothing has changed, but that read models may have been dropped.
pub async fn new_incarnation(databases: &Databases, topic: Topic) -> Result<LedgerMeta, StartError> {
    let name = schema(topic);
    let failed = |error| StartError::because(format!("a new incarnation of {name} cannot be declared"), error);
    let url = databases.url(Service::of(topic));
    let mut connection = connect(url, "new incarnation").await?;
    if others_connected(&mut connection).await.map_err(failed)? > 0 {
        return Err(StartError::new(format!("a running postrider uses {url}: stop every process that works on it first")));
    }
    for model in schemas::read_models::all() {
        if model.reads.contains(&topic) {
            drop_read_model(databases, model).await?;
        }
    }
    let mut transaction = connection.begin().await.map_err(failed)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1, 0)").bind(lane(topic)).execute(&mut *transaction).await.map_err(failed)?;
    let sql = format!(
        "UPDATE {name}.ledger_meta SET incarnation = gen_random_uuid(), generation = generation + 1 RETURNING incarnation, generation, partitions"
    );
    let (incarnation, generation, partitions) = sqlx::query_as(AssertSqlSafe(sql)).fetch_one(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    let _everything_is_committed = connection.close().await;
    tracing::info!(%topic, %incarnation, generation, "a new incarnation");
    Ok(LedgerMeta { incarnation, generation, partitions })
}

/// How many connections other processes of ours have to this database, short-lived ones that only look or restore aside.
pub(crate) async fn others_connected(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
            AND application_name LIKE 'postrider%' AND application_name NOT LIKE 'postrider (%'",
    )
    .fetch_one(connection)
    .await
}

/// A read model, with what a rebuild has left beside it.
async fn drop_read_model(databases: &Databases, model: &Described) -> Result<(), StartError> {
    let service = Service::ALL.into_iter().find(|service| service.to_string() == model.service);
    let service = service.ok_or_else(|| StartError::new(format!("no database holds the read model {}", model.name)))?;
    let mut connection = connect(databases.url(service), "new incarnation").await?;
    let name = model.name;
    let dropped = connection.execute(AssertSqlSafe(format!("DROP SCHEMA IF EXISTS {name}, {name}__next, {name}__old CASCADE"))).await;
    dropped.map_err(|error| StartError::because(format!("the read model {name} cannot be dropped"), error))?;
    let _everything_is_committed = connection.close().await;
    Ok(())
}
