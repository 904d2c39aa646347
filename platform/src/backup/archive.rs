//! `pg_dump` and `pg_restore`: archives in their custom format, compressed.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use percent_encoding::percent_decode_str;
use sqlx::ConnectOptions;
use tokio::process::Command;

use super::Part;
use super::snapshot::Snapshot;
use crate::config::{ServerUrl, StartError};
use crate::postgres::options;
use crate::private::major_version;

/// Archives a part as its snapshot sees it.
pub(super) async fn dump(part: &Part<'_>, snapshot: &Snapshot, to: &Path) -> Result<(), StartError> {
    let failed = |error| StartError::because(format!("{} cannot be written", to.display()), error);
    let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).map_err(failed)?;
    let mut command = program("pg_dump", snapshot.major)?;
    command.args(["--format=custom", "--no-owner", "--no-privileges", "--no-password"]).arg(format!("--snapshot={}", snapshot.name));
    for schema in &part.schemas {
        command.arg(format!("--schema={schema}"));
    }
    connect_to(&mut command, part.url)?.stdout(file);
    run(command, &format!("the database of `{}` cannot be archived", part.name)).await
}

/// Brings an archive back, all of it or nothing. Its schemas must not be there.
pub(super) async fn load(part: &Part<'_>, from: &Path, major: u32) -> Result<(), StartError> {
    let mut command = program("pg_restore", major)?;
    let database = options(part.url)?;
    command.args(["--no-owner", "--no-privileges", "--no-password", "--exit-on-error", "--single-transaction"]);
    command.arg("--dbname").arg(database.get_database().unwrap_or_default()).arg(from);
    connect_to(&mut command, part.url)?.stdout(Stdio::null());
    run(command, &format!("the archive of `{}` cannot be brought back", part.name)).await
}

/// By environment, where a password is not seen by everybody who lists processes.
fn connect_to<'c>(command: &'c mut Command, url: &ServerUrl) -> Result<&'c mut Command, StartError> {
    let options = options(url)?;
    let whole = options.to_url_lossy();
    command.env("PGHOST", options.get_socket().map_or_else(|| options.get_host().to_owned(), |path| path.display().to_string()));
    command.env("PGPORT", options.get_port().to_string()).env("PGUSER", options.get_username());
    command.env("PGDATABASE", options.get_database().unwrap_or_else(|| options.get_username()));
    command.env("PGPASSWORD", percent_decode_str(whole.password().unwrap_or_default()).decode_utf8_lossy().as_ref());
    command.env("PGAPPNAME", "postrider (backup)").env("PGCONNECT_TIMEOUT", "10");
    for (name, value) in whole.query_pairs() {
        let variable = match &*name {
            "sslmode" => "PGSSLMODE",
            "sslrootcert" => "PGSSLROOTCERT",
            "sslcert" => "PGSSLCERT",
            "sslkey" => "PGSSLKEY",
            _ => continue,
        };
        command.env(variable, &*value);
    }
    Ok(command)
}

async fn run(mut command: Command, failed: &str) -> Result<(), StartError> {
    let because = |error| StartError::because(failed.to_owned(), error);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn().map_err(because)?;
    let output = output.wait_with_output().await.map_err(because)?;
    if output.status.success() {
        return Ok(());
    }
    // Names of tables and of what is wrong; rows are not shown by these programs.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().filter(|line| !line.trim().is_empty()).take(3).collect::<Vec<_>>().join("; ");
    Err(StartError::because(failed.to_owned(), std::io::Error::other(said)))
}

/// The program of the oldest version here that is as new as the server: it refuses newer ones, and an older server may not know what newer ones say.
fn program(name: &str, server: u32) -> Result<Command, StartError> {
    let packaged = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin").join(name));
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for path in packaged.filter(|path| path.is_file()).chain([PathBuf::from(name)]) {
        found.extend(major_version(&path).map(|version| (version, path)));
    }
    let newest = found.iter().map(|(version, _)| *version).max();
    match (found.into_iter().filter(|(version, _)| *version >= server).min_by_key(|(version, _)| *version), newest) {
        (Some((_, path)), _) => Ok(Command::new(path)),
        (None, Some(newest)) => Err(StartError::new(format!(
            "the server is PostgreSQL {server}, but the newest {name} here is {newest}: install the package postgresql-client-{server}"
        ))),
        (None, None) => Err(StartError::new(format!("there is no {name} on this machine: install the package postgresql-client"))),
    }
}
