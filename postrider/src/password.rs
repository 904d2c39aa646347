//! Secrets that a command is given: never as an argument, which everybody on the machine may read.

use std::io::{self, BufRead, IsTerminal};

use anyhow::Result;

/// The first line of standard input; whoever sits there is asked for it.
pub fn read(what: &str) -> Result<String> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        eprintln!("{what} (it is shown while you type; pipe it in to avoid that):");
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
