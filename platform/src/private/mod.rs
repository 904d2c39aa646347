//! Servers of our own: a Postgres and a Redis as child processes below a data directory, for a machine where nothing is configured.
//!
//! * [`DataDir`] what belongs to one installation: layout version, lock, signing key · [`PrivatePostgres`], [`PrivateRedis`] the servers
//! * [`Running`] how other commands find them
//! * `child` a process that dies with us and is started again when it dies alone · `leftovers` what a killed parent left behind
//!
//! A server that is already on the machine is never touched: ports are free ones on 127.0.0.1, passwords are drawn, and a server that
//! answers is taken for ours only when it says that it is the very process that we started.

mod child;
mod data_dir;
mod leftovers;
mod postgres;
mod redis;
mod running;
mod server;

pub(crate) use data_dir::write_whole;
pub use data_dir::{DataDir, Locked};
pub use postgres::PrivatePostgres;
pub(crate) use postgres::major_version;
pub use redis::PrivateRedis;
pub use running::Running;

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use crate::config::StartError;

/// How often a start is tried again on another port, when somebody took the one that was free a moment ago.
const PORTS_TRIED: usize = 5;

/// A port on 127.0.0.1 that is free now.
fn free_port() -> Result<u16, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| StartError::because("no free port on 127.0.0.1 for a private server", error))
}

/// 128 random bits in hex: a password that needs no quoting anywhere.
pub(crate) fn random_token() -> Result<String, StartError> {
    use std::io::Read;
    let mut bytes = [0_u8; 16];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .map_err(|error| StartError::because("no randomness from /dev/urandom", error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Where a program lies, by the PATH of this process.
fn in_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}
