//! Standard output that somebody may close: `| head` has seen enough, which is no error.

use std::io::{self, Write};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The reader of our output is gone. Commands hand it up like an error; the process then ends as if all had been said.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads our output any more")]
pub struct Closed;

/// Writes a line, at once.
pub fn line(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Closed.into()),
        written => written.context("the output cannot be written"),
    }
}

/// Whether somebody still reads, for those who wait for something to say.
pub fn must_be_open() -> Result<()> {
    let stdout = io::stdout();
    let mut state = [PollFd::new(&stdout, PollFlags::empty())];
    // A descriptor that cannot be asked (a file) does not close either.
    let _ = poll(&mut state, Some(&Timespec::default()));
    let gone = state[0].revents().intersects(PollFlags::ERR | PollFlags::NVAL);
    if gone { Err(Closed.into()) } else { Ok(()) }
}
