//! How many descriptors a process may have: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// With fewer, not many sockets fit.
const FEW: u64 = 10_000;
/// What is reckoned with where nobody knows.
const AT_LEAST: u64 = 1_024;

/// Raises the limit of this process as far as it may itself, and answers it. Whatever it starts afterwards inherits it.
///
/// # Errors
/// When the system refuses, which it does to nobody who only asks for the hard limit.
pub fn raise() -> std::io::Result<u64> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })?;
    Ok(most.unwrap_or(u64::MAX))
}

/// As [`raise`], for a process that serves: a limit that is low is said, not fatal. So many it may have.
pub fn raise_to_serve() -> u64 {
    let raised = raise();
    match &raised {
        Ok(most) if *most < FEW => tracing::warn!(
            most,
            "this process may have only so many open sockets: raise the hard limit of descriptors (ulimit -Hn, LimitNOFILE=)"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of descriptors stays as it is"),
    }
    raised.unwrap_or(AT_LEAST)
}

/// Of so many descriptors, how many may be sockets: whoever only asks, and everything below, needs some too.
#[must_use]
pub fn for_sockets(descriptors: u64) -> usize {
    usize::try_from(descriptors - descriptors / 8).unwrap_or(usize::MAX).saturating_sub(200).max(16)
}

#[cfg(test)]
mod tests {
    use super::for_sockets;

    #[test]
    fn sockets_leave_descriptors_to_others() {
        assert_eq!([0, 1_024, 20_000, 1 << 20].map(for_sockets), [16, 696, 17_300, 917_304]);
    }
}
