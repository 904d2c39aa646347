//! What is in a backup, and how whole it is.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use schemas::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::StartError;
use crate::private::write_whole;

const FILE: &str = "manifest.json";

/// The layout that this release writes and reads.
const FORMAT: u32 = 1;

/// `manifest.json`: written last, so that a backup that has one is whole.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Manifest {
    /// Of the layout.
    pub format: u32,
    /// Of the Postrider that wrote it.
    pub version: String,
    /// Everything that was answered before this moment is in it.
    pub taken_at: Timestamp,
    /// What wraps the data keys.
    pub keys: Keys,
    /// The archives.
    pub parts: Vec<ManifestPart>,
}

/// What wraps the data keys in the archive of the key store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Keys {
    /// Of the wrapping key, in hex.
    pub fingerprint: String,
    /// Whether that key itself is in the backup too: then the backup alone opens everything.
    pub kept_in_store: bool,
}

/// One archive.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ManifestPart {
    /// Service, or `keys`.
    pub name: String,
    /// Beside the manifest; custom format of `pg_dump`.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// Of the file, in hex.
    pub sha256: String,
    /// Of a service that has one.
    pub ledger: Option<LedgerState>,
}

/// How far a ledger was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerState {
    /// Its life.
    pub incarnation: Uuid,
    /// Of its topic.
    pub generation: i32,
    /// Position of its newest event; 0: none.
    pub head: i64,
}

impl Manifest {
    pub(super) fn new(taken_at: Timestamp, keys: Keys, parts: Vec<ManifestPart>) -> Self {
        Self { format: FORMAT, version: env!("CARGO_PKG_VERSION").to_owned(), taken_at, keys, parts }
    }

    /// Makes the backup whole.
    pub(super) fn write(&self, directory: &Path) -> Result<(), StartError> {
        let failed = |error| StartError::because(format!("{FILE} cannot be written to {}", directory.display()), error);
        let text = serde_json::to_string_pretty(self).map_err(|error| failed(error.into()))?;
        write_whole(&directory.join(FILE), &text, 0o600).map_err(failed)
    }

    /// Reads it, and every archive that it names: sizes and digests must be right.
    ///
    /// # Errors
    /// What is missing, damaged, or newer than this release.
    pub fn read(directory: &Path) -> Result<Self, StartError> {
        let path = directory.join(FILE);
        let text = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(StartError::new(format!(
                    "{} is no backup: it has no {FILE}, which is written last, when everything else is there",
                    directory.display()
                )));
            }
            read => read.map_err(|error| StartError::because(format!("{} cannot be read", path.display()), error))?,
        };
        #[derive(Deserialize)]
        struct Format {
            format: u32,
            version: String,
        }
        let unreadable = |error| StartError::because(format!("{} is not what a backup's manifest looks like", path.display()), error);
        let Format { format, version } = serde_json::from_slice(&text).map_err(unreadable)?;
        if format > FORMAT {
            return Err(StartError::new(format!(
                "{} was written by postrider {version}, in a newer format: restore it with that one",
                directory.display()
            )));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(unreadable)?;
        for part in &manifest.parts {
            let path = directory.join(&part.file);
            // The name comes from a file: it must not lead elsewhere.
            if Path::new(&part.file).components().count() != 1 {
                return Err(StartError::new(format!("{FILE} names `{}`, which is no file beside it", part.file)));
            }
            if digest(&path)? != (part.bytes, part.sha256.clone()) {
                return Err(StartError::new(format!("{} is damaged: it is not what {FILE} says of it", path.display())));
            }
        }
        Ok(manifest)
    }
}

/// Size and SHA-256 of a file; makes it durable on the way.
pub(super) fn digest(path: &Path) -> Result<(u64, String), StartError> {
    let read = || {
        let mut file = File::open(path)?;
        file.sync_all()?;
        let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0_u64, vec![0_u8; 1 << 16]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((bytes, hex(&hash.finalize()))),
                n => {
                    bytes += n as u64;
                    hash.update(&buffer[..n]);
                }
            }
        }
    };
    read().map_err(|error: std::io::Error| StartError::because(format!("{} cannot be read", path.display()), error))
}

/// Lower-case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
