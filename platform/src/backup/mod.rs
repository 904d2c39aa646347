//! Backup and restore of what cannot be rebuilt: the ledgers, what the services publish beside them, and the key store.
//!
//! * [`back_up`] writes a directory: one archive of `pg_dump` per part, and [`Manifest`], last
//! * [`restore`] brings it into an empty installation, as a new incarnation of every ledger
//!
//! Read models, topics and Redis are not in it: they are made again from the ledgers. A read model of the time after the backup would know what the ledger no longer knows.
//!
//! **Consistency.** All parts are read from snapshots that are taken before the first byte is written, in the order *messages, users, auth, keys*: each service after those that rest on its facts. So
//! whoever a message names has an account, and whatever was sealed has its key; what is committed while the archives are written is in none of them.

mod archive;
mod manifest;
mod restore;
mod snapshot;

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub(crate) use restore::refuse_unfinished;

pub use manifest::{LedgerState, Manifest, ManifestPart};
pub use restore::restore;

use crate::config::{ServerUrl, StartError};
use crate::postgres::{Databases, Service};
use snapshot::Snapshot;

/// What is archived as a whole.
#[derive(Debug)]
struct Part<'a> {
    /// `messages`, `users`, `auth`, `keys`
    name: String,
    url: &'a ServerUrl,
    schemas: Vec<&'static str>,
    ledger: Option<&'static str>,
}

/// Every part, in the order in which their snapshots are taken.
fn parts(databases: &Databases) -> Vec<Part<'_>> {
    let services = Service::ALL.into_iter().rev().map(|service| {
        let ledger = service.ledger();
        let schemas = if service == Service::Auth { vec![ledger, "auth"] } else { vec![ledger] };
        Part { name: service.to_string(), url: databases.url(service), schemas, ledger: Some(ledger) }
    });
    services.chain([Part { name: "keys".into(), url: databases.keys(), schemas: vec!["keys"], ledger: None }]).collect()
}

/// Writes a backup into `to`, a directory that is missing or empty; safe beside whatever runs. Files are readable for their owner only. A directory without `manifest.json` is no backup.
///
/// # Errors
/// When the directory cannot be used, a database cannot be read, or there is no `pg_dump` that is as new as the server. What was begun is removed.
///
/// # Cancel safety
/// A dropped future leaves a directory without a manifest.
pub async fn back_up(databases: &Databases, to: &Path) -> Result<Manifest, StartError> {
    make_directory(to)?;
    let written = write(databases, to).await;
    if written.is_err() {
        // What cannot be removed has no manifest, and so is taken for nothing.
        let _ = fs::remove_dir_all(to);
    }
    written
}

async fn write(databases: &Databases, to: &Path) -> Result<Manifest, StartError> {
    let parts = parts(databases);
    let mut snapshots = Vec::new();
    for part in &parts {
        snapshots.push(Snapshot::take(part).await?);
    }
    let taken_at = crate::clock::now();
    let mut written = Vec::new();
    let mut keys = None;
    for (part, snapshot) in parts.iter().zip(&mut snapshots) {
        let ledger = match part.ledger {
            Some(schema) => Some(snapshot.ledger(schema).await?),
            None => {
                keys = Some(snapshot.keys().await?);
                None
            }
        };
        let file = format!("{}.dump", part.name);
        archive::dump(part, snapshot, &to.join(&file)).await?;
        let (bytes, sha256) = manifest::digest(&to.join(&file))?;
        tracing::info!(part = part.name, bytes, "archived");
        written.push(ManifestPart { name: part.name.clone(), file, bytes, sha256, ledger });
    }
    for snapshot in snapshots {
        snapshot.close().await;
    }
    let keys = keys
        .ok_or_else(|| StartError::new("the key store has no row yet: start `postrider up` once before there is something to back up"))?;
    let manifest = Manifest::new(taken_at, keys, written);
    manifest.write(to)?;
    Ok(manifest)
}

fn make_directory(to: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::because(format!("a backup cannot be written to {}", to.display()), error);
    if to.exists() {
        if fs::read_dir(to).map_err(failed)?.next().is_some() {
            return Err(StartError::new(format!("{} is not empty: every backup has a directory of its own", to.display())));
        }
        // Made by somebody else, perhaps for everybody to read.
        use std::os::unix::fs::PermissionsExt;
        return fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(failed);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(to).map_err(failed)
}
