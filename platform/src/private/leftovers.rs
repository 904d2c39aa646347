//! What a killed parent may have left behind: servers that still work in our data directory.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::config::StartError;

/// How long they may take to end in peace, and then by force.
const PATIENCE: Duration = Duration::from_secs(5);

/// Ends every process of these programs that works in `dir`, and waits until they are gone.
///
/// A process is one of ours only when both its working directory and its program say so; whoever holds the data directory's lock is
/// the only one who may have such processes, so they are nobody's any more. Everything else on the machine is left alone.
///
/// # Errors
/// When they do not end.
pub(super) fn end(dir: &Path, programs: &[&str], politely: Signal) -> Result<(), StartError> {
    let begin = Instant::now();
    let mut asked = false;
    let mut forced = false;
    loop {
        let left = working_in(dir, programs);
        if left.is_empty() {
            return Ok(());
        }
        if !asked {
            asked = true;
            tracing::warn!(directory = %dir.display(), processes = left.len(), "ending what an earlier run left behind");
            signal(&left, politely);
        } else if !forced && begin.elapsed() > PATIENCE {
            forced = true;
            signal(&left, Signal::KILL);
        } else if begin.elapsed() > 2 * PATIENCE {
            return Err(StartError::new(format!("process {} still works in {} and does not end", left[0].as_raw_nonzero(), dir.display())));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(processes: &[Pid], signal: Signal) {
    for &process in processes {
        let _gone_meanwhile = kill_process(process, signal);
    }
}

/// Whether this process runs one of these programs with this working directory.
pub(super) fn is_ours(process: Pid, dir: &Path, programs: &[&str]) -> bool {
    let proc = format!("/proc/{}", process.as_raw_nonzero());
    let works_here = fs::read_link(format!("{proc}/cwd")).is_ok_and(|cwd| cwd == dir);
    works_here
        && fs::read_link(format!("{proc}/exe")).is_ok_and(|exe| {
            // A program whose package was upgraded meanwhile is shown as "… (deleted)".
            let name = exe.file_name().unwrap_or_default().to_string_lossy().into_owned();
            programs.contains(&name.trim_end_matches(" (deleted)"))
        })
}

fn working_in(dir: &Path, programs: &[&str]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|&process| is_ours(process, dir, programs))
        .collect()
}
