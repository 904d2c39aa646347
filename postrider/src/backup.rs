//! `postrider backup` and `postrider restore`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use platform::backup::{self, Manifest};
use platform::telemetry;

use crate::output;
use crate::servers::PostgresBeside;
use crate::settings::Flags;

/// Where to.
#[derive(Debug, Args)]
pub struct BackupOptions {
    /// A directory that is missing or empty; every backup has one of its own
    #[arg(value_name = "DIR")]
    to: PathBuf,
}

/// Where from.
#[derive(Debug, Args)]
pub struct RestoreOptions {
    /// The directory of a backup
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// Only read the backup and say whether it is whole; touches nothing
    #[arg(long)]
    check: bool,
}

/// Writes a backup, beside a running `up` or without one.
pub async fn back_up(flags: Flags, options: BackupOptions) -> Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    let beside = PostgresBeside::look(&config).await?;
    let written = async {
        let Some(databases) = beside.found(&config).await? else { bail!("nothing has been made on this server yet: `postrider up` does") };
        Ok(backup::back_up(&databases, &options.to).await?)
    }
    .await;
    beside.close().await;
    let manifest = written?;
    output::line(&format!("Backed up to {}, as of {}:", options.to.display(), manifest.taken_at))?;
    tell(&manifest)?;
    if manifest.keys.kept_in_store {
        output::line(
            "No keys.wrapping_key is configured, so the key that opens personal data is in this backup too: keep it as safe as the system itself.",
        )
    } else {
        output::line(
            "Personal data in it can be opened only with the configured keys.wrapping_key, which is not in it: keep that one elsewhere.",
        )
    }
}

/// Brings one into an empty installation.
pub async fn restore(flags: Flags, options: RestoreOptions) -> Result<()> {
    let config = flags.load(Vec::new())?.config;
    telemetry::logs(&config.telemetry)?;
    if options.check {
        let manifest = Manifest::read(&options.from)?;
        output::line(&format!("{} is whole, as of {}:", options.from.display(), manifest.taken_at))?;
        return tell(&manifest);
    }
    // Before a server is started for it.
    Manifest::read(&options.from)?;
    let beside = PostgresBeside::find(&config).await?;
    let restored = async {
        let databases = beside.databases(&config).await?;
        backup::restore(&databases, &options.from, config.keys.wrapping_key.as_ref().map(|key| key.0)).await
    }
    .await;
    beside.close().await;
    let manifest = restored?;
    output::line(&format!("Restored from {}, as of {}:", options.from.display(), manifest.taken_at))?;
    tell(&manifest)?;
    output::line(
        "Every ledger has a new incarnation: topics begin a new generation, and the next `postrider up` fills the read models before it is ready.",
    )
}

fn tell(manifest: &Manifest) -> Result<()> {
    for part in &manifest.parts {
        let ledger = part.ledger.map_or_else(String::new, |ledger| format!(", events up to position {}", ledger.head));
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let size = part.bytes as f64 / f64::from(1 << 20);
        output::line(&format!("  {:<9} {size:>9.1} MiB{ledger}", part.name))?;
    }
    Ok(())
}
