//! `postrider migrate`: databases, roles, schemas.

use platform::telemetry;

use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// Makes what is missing; safe to repeat. `up` does the same at its start.
pub async fn migrate(flags: Flags) -> anyhow::Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let server = PostgresBeside::find(&config).await?;
    let migrated = async { server.databases(&config).await?.migrate().await }.await;
    server.close().await;
    migrated?;
    println!("Every schema is up to date.");
    Ok(())
}
