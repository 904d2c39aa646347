//! How many descriptors a process may have: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer, not many sockets fit.
const FEW: u64 = 10_000;

/// Raises the limit of this process as far as it may itself, and answers it. Whatever it starts afterwards inherits it.
///
/// # Errors
/// When the system refuses, which it does to nobody who only asks for the hard limit.
pub fn raise() -> std::io::Result<u64> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(most.unwrap_or(u64::MAX))
}

/// As [`raise`], for a process that serves: a limit that is low is said, not fatal.
pub fn raise_to_serve() {
    match raise() {
        Ok(most) if most < FEW => tracing::warn!(
            most,
            "this process may have only so many open sockets: raise the hard limit of descriptors (ulimit -Hn, LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it is"),
    }
}
