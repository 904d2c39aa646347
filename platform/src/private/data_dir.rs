//! What belongs to one installation on this machine.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

use super::{in_path, random_token};
use crate::config::StartError;

/// The arrangement of files below the data directory that this binary writes.
const LAYOUT: u32 = 1;
/// Where private servers live when their account cannot reach the data directory itself.
const FALLBACK: &str = "/var/lib/postrider";

/// A directory with what one installation keeps beside its databases. Its layout has a number: an older one is upgraded, a newer one refused.
#[derive(Debug, Clone)]
pub struct DataDir {
    path: PathBuf,
}

/// A data directory whose private servers are ours until this is dropped or the process ends.
#[derive(Debug)]
pub struct Locked {
    data_dir: PathBuf,
    /// Below which each private server has a directory of its own.
    servers: PathBuf,
    account: Option<Account>,
    _locks: Vec<File>,
}

/// Who runs the servers when we are root, which Postgres refuses to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub uid: u32,
    pub gid: u32,
}

impl DataDir {
    /// Makes it when it is not there, and brings its layout up to date.
    ///
    /// # Errors
    /// When it cannot be made or written, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let failed = |error| StartError::because(format!("the data directory {} cannot be used", path.display()), error);
        // The account of the servers must be able to pass through; what is private in here has a mode of its own.
        DirBuilder::new().recursive(true).mode(0o711).create(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let version = path.join("version");
        match fs::read_to_string(&version) {
            Ok(text) => match text.trim().parse::<u32>() {
                Ok(LAYOUT) => {}
                Ok(newer) if newer > LAYOUT => {
                    return Err(StartError::new(format!(
                        "{} was written by a newer postrider (layout {newer}, this one knows {LAYOUT}): start that one, or name another directory with --data-dir",
                        path.display()
                    )));
                }
                // Upgrades from older layouts go here, one step per number.
                _ => {
                    return Err(StartError::new(format!("{} should hold a layout number, but holds {:?}", version.display(), text.trim())));
                }
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_whole(&version, &format!("{LAYOUT}\n"), 0o644).map_err(failed)?
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Self { path })
    }

    /// Its canonical path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Claims the private servers for this process, until the returned value is dropped; a process that is killed lets go by dying.
    ///
    /// # Errors
    /// When another process has them, or no directory can be found that their account can reach.
    pub fn lock(&self) -> Result<Locked, StartError> {
        let mut locks = vec![self.claim(&self.path)?];
        let account = match Account::owner_of(&self.path.join("postgres")) {
            _ if !rustix::process::geteuid().is_root() => None,
            Some(owner) => Some(owner),
            None => Some(Account::find()?),
        };
        let servers = match account {
            Some(account) => self.reachable(account)?,
            None => self.path.clone(),
        };
        if servers != self.path {
            locks.push(self.claim(&servers)?); // a copy of the data directory names the same place
        }
        // Nobody else's servers run here any more, whatever an earlier process told.
        let _nothing_told = fs::remove_file(self.path.join("running"));
        Ok(Locked { data_dir: self.path.clone(), servers, account, _locks: locks })
    }

    /// Whether nobody has claimed the private servers.
    pub(super) fn is_free(&self) -> Result<bool, StartError> {
        let path = self.path.join("lock");
        let failed = |error: io::Error| StartError::because(format!("{} cannot be used", path.display()), error);
        match OpenOptions::new().write(true).open(&path) {
            Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
                Err(error) => Err(failed(error.into())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(failed(error)),
        }
    }

    fn claim(&self, dir: &Path) -> Result<File, StartError> {
        let path = dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(|error| StartError::because(format!("{} cannot be opened", path.display()), error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                belongs_to_its_directory(&path)
                    .map_err(|error| StartError::because(format!("{} cannot be given away", path.display()), error))?;
                Ok(file)
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::new(format!(
                "another postrider already runs its private servers in {}: stop it, name another directory with --data-dir, or give both the same DATABASE_URL and REDIS_URL",
                self.path.display()
            ))),
            Err(error) => Err(StartError::because(format!("{} cannot be locked", path.display()), error)),
        }
    }

    /// The data directory itself, or, when the account cannot pass through to it (a checkout below /root), a directory in [`FALLBACK`] which the file
    /// `servers` names from then on.
    fn reachable(&self, account: Account) -> Result<PathBuf, StartError> {
        let record = self.path.join("servers");
        let failed = |error| StartError::because(format!("a directory for the private servers cannot be made in {FALLBACK}"), error);
        let dir = match fs::read_to_string(&record) {
            Ok(recorded) => PathBuf::from(recorded.trim()),
            Err(_) if account.can_enter(&self.path) => return Ok(self.path.clone()),
            Err(_) => Path::new(FALLBACK).join(random_token()?),
        };
        DirBuilder::new().recursive(true).mode(0o711).create(&dir).map_err(failed)?;
        let dir = dir.canonicalize().map_err(failed)?;
        if !account.can_enter(&dir) {
            return Err(StartError::new(format!(
                "private servers do not run as root, and their account (uid {}) can enter neither {} nor {}: name another directory with --data-dir",
                account.uid,
                self.path.display(),
                dir.display()
            )));
        }
        if !record.exists() {
            write_whole(&record, &format!("{}\n", dir.display()), 0o644).map_err(failed)?;
            tracing::info!("the servers' account cannot enter {}: their data goes to {}", self.path.display(), dir.display());
        }
        Ok(dir)
    }
}

impl Locked {
    /// Where the private servers keep their data: the data directory, or what replaces it when their account cannot enter that.
    #[must_use]
    pub fn servers(&self) -> &Path {
        &self.servers
    }

    pub(super) fn told_in(&self) -> &Path {
        &self.data_dir
    }

    pub(super) fn account(&self) -> Option<Account> {
        self.account
    }

    /// A directory that belongs to the servers' account, and to nobody else.
    pub(super) fn home(&self, server: &str) -> Result<PathBuf, StartError> {
        let dir = self.servers.join(server);
        let made = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            self.give(&dir)
        };
        made().map_err(|error| StartError::because(format!("{} cannot be made", dir.display()), error))?;
        Ok(dir)
    }

    /// Makes a file the account's own.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        match self.account {
            Some(Account { uid, gid }) if fs::metadata(path)?.uid() != uid => chown(path, Some(uid), Some(gid)),
            _ => Ok(()),
        }
    }

    /// Where a server's own words go, appended; what is longer than a few megabytes begins anew.
    pub(super) fn log(&self, home: &Path) -> io::Result<File> {
        const KEPT: u64 = 8 << 20;
        let path = home.join("log");
        if fs::metadata(&path).is_ok_and(|log| log.len() > KEPT) {
            fs::rename(&path, home.join("log.old"))?;
        }
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&path)?;
        self.give(&path)?;
        Ok(log)
    }
}

impl Account {
    /// `postgres` where the package made it, else `nobody`.
    fn find() -> Result<Self, StartError> {
        let passwd = fs::read_to_string("/etc/passwd").map_err(|error| StartError::because("/etc/passwd cannot be read", error))?;
        let named = |name: &str| {
            let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2);
            Some(Self { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
        };
        named("postgres").or_else(|| named("nobody")).ok_or_else(|| {
            StartError::new("private servers do not run as root, and there is neither a user `postgres` nor `nobody`: start as another user, or give DATABASE_URL and REDIS_URL")
        })
    }

    /// An ordinary user who ran these servers before, and will want to again.
    fn owner_of(dir: &Path) -> Option<Self> {
        let owner = fs::metadata(dir).ok()?;
        (owner.uid() != 0).then(|| Self { uid: owner.uid(), gid: owner.gid() })
    }

    /// `setpriv` with what makes a child this account.
    pub(super) fn arguments(self) -> [String; 5] {
        ["--reuid".into(), self.uid.to_string(), "--regid".into(), self.gid.to_string(), "--clear-groups".into()]
    }

    fn can_enter(self, dir: &Path) -> bool {
        let Some(setpriv) = in_path("setpriv") else { return false };
        Command::new(setpriv).args(self.arguments()).args(["test", "-x"]).arg(dir).status().is_ok_and(|status| status.success())
    }
}

/// Puts a file in place as a whole, or not at all.
pub(crate) fn write_whole(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let aside = path.with_extension(format!("new.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(mode).open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(aside, path)?;
    sync_directory(path)
}

/// What root writes into an ordinary user's data directory stays usable for that user.
pub(super) fn belongs_to_its_directory(path: &Path) -> io::Result<()> {
    let Some(owner) = path.parent().and_then(Account::owner_of) else { return Ok(()) };
    if rustix::process::geteuid().is_root() { chown(path, Some(owner.uid), Some(owner.gid)) } else { Ok(()) }
}

/// Makes a rename in a file's directory durable.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
