//! A projection's schema: made, compared, refilled beside the old one, swapped.

use schemas::read_models::ReadModel;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgTransaction};

use super::Trouble;
use crate::config::StartError;
use crate::crash::crash_point;
use crate::log::Projection;
use crate::log::checkpoint::{self, Rows};

/// The runner's own tables.
const TABLES: &str = include_str!("../checkpoints.sql");

/// How the schema that stands compares with this build.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Prepared {
    Current,
    Older,
}

/// Begins a transaction whose `search_path` is this schema and nothing else.
pub(super) async fn begin<'c>(conn: &'c mut PgConnection, schema: &str) -> Result<PgTransaction<'c>, sqlx::Error> {
    conn.begin_with(AssertSqlSafe(format!(r#"BEGIN; SET LOCAL search_path TO "{schema}""#))).await
}

async fn run(conn: &mut PgConnection, sql: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(conn).await.map(drop)
}

/// Whether the schema has the runner's tables.
pub(super) async fn stands(conn: &mut PgConnection, schema: &str) -> Result<bool, sqlx::Error> {
    let table = format!(r#""{schema}".checkpoints"#);
    sqlx::query_scalar!(r#"SELECT to_regclass($1) IS NOT NULL AS "stands!""#, table).fetch_one(conn).await
}

async fn create<P: Projection>(conn: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    run(conn, format!(r#"CREATE SCHEMA IF NOT EXISTS "{schema}"; SET LOCAL search_path TO "{schema}"; {TABLES}"#)).await?;
    run(conn, P::SCHEMA.to_owned()).await?;
    for topic in P::Model::READS {
        checkpoint::create(conn, *topic, P::BUILD).await?;
    }
    Ok(())
}

async fn rows(conn: &mut PgConnection, schema: &str) -> Result<Rows, sqlx::Error> {
    let mut tx = begin(conn, schema).await?;
    let rows = checkpoint::load(&mut tx).await?;
    tx.commit().await?;
    Ok(rows)
}

fn refuse_newer<P: Projection>(rows: &Rows) -> Result<(), Trouble> {
    match rows.values().map(|row| row.build).max() {
        Some(build) if build > P::BUILD => Err(Trouble::Stop(StartError::new(format!(
            "the projection {} was filled by build {build}, and this release is build {}: start the newer release",
            P::Model::NAME,
            P::BUILD
        )))),
        _ => Ok(()),
    }
}

/// Whether these rows are for this build to move: a successor may have been swapped in since they were last seen.
pub(super) fn serves<P: Projection>(rows: &Rows) -> Result<(), Trouble> {
    refuse_newer::<P>(rows)?;
    if rows.values().all(|row| row.live && row.build == P::BUILD) {
        return Ok(());
    }
    Err(Trouble::Infrastructure("the projection's schema is being replaced".into()))
}

/// What stands, for somebody who does not own it; `None` when nothing does, or an older build.
pub(super) async fn look<P: Projection>(conn: &mut PgConnection) -> Result<Option<Rows>, Trouble> {
    if !stands(conn, P::Model::NAME).await? {
        return Ok(None);
    }
    let rows = rows(conn, P::Model::NAME).await?;
    refuse_newer::<P>(&rows)?;
    Ok(rows.values().all(|row| row.build == P::BUILD).then_some(rows))
}

/// Makes the schema where it is missing, all of it in one transaction; compares builds where it stands.
pub(super) async fn prepare<P: Projection>(conn: &mut PgConnection) -> Result<Prepared, Trouble> {
    let name = P::Model::NAME;
    let mut tx = conn.begin().await?;
    // Several owners may share the projection, and all of them come here.
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", format!("projection.{name}.schema")).execute(&mut *tx).await?;
    if !stands(&mut tx, name).await? {
        create::<P>(&mut tx, name).await?;
        tracing::info!(projection = name, build = P::BUILD, "made the schema");
    }
    crash_point(&format!("projection.{name}.schema"));
    tx.commit().await?;
    let rows = rows(conn, name).await?;
    refuse_newer::<P>(&rows)?;
    Ok(if rows.values().any(|row| row.build < P::BUILD) { Prepared::Older } else { Prepared::Current })
}

fn next_name<P: Projection>() -> String {
    format!("{}__next", P::Model::NAME)
}

fn old_name<P: Projection>() -> String {
    format!("{}__old", P::Model::NAME)
}

/// Makes the successor's schema, or finds one of this very build that an earlier run had begun to fill.
pub(super) async fn prepare_next<P: Projection>(conn: &mut PgConnection) -> Result<String, Trouble> {
    let next = next_name::<P>();
    let resume = stands(conn, &next).await? && {
        let rows = rows(conn, &next).await?;
        !rows.is_empty() && rows.values().all(|row| row.build == P::BUILD)
    };
    if !resume {
        let mut tx = conn.begin().await?;
        run(&mut tx, format!(r#"DROP SCHEMA IF EXISTS "{next}" CASCADE"#)).await?;
        create::<P>(&mut tx, &next).await?;
        tx.commit().await?;
    }
    Ok(next)
}

/// Puts the successor in the old one's place, in one transaction; whoever still writes to the old one finds its rows retired.
pub(super) async fn swap<P: Projection>(conn: &mut PgConnection) -> Result<(), Trouble> {
    let (name, next, old) = (P::Model::NAME, next_name::<P>(), old_name::<P>());
    let mut tx = conn.begin().await?;
    run(
        &mut tx,
        format!(
            r#"DROP SCHEMA IF EXISTS "{old}" CASCADE;
               UPDATE "{name}".checkpoints SET state = 'retired';
               ALTER SCHEMA "{name}" RENAME TO "{old}";
               ALTER SCHEMA "{next}" RENAME TO "{name}""#
        ),
    )
    .await?;
    tx.commit().await?;
    // A reader in the middle of something keeps it; then the next swap drops it.
    if let Err(error) = run(conn, format!(r#"DROP SCHEMA IF EXISTS "{old}" CASCADE"#)).await {
        tracing::warn!(projection = name, %error, "the old build's schema could not be dropped yet");
    }
    Ok(())
}
