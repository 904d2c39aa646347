//! A process that dies with us, and is started again when it dies alone.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tokio::sync::watch;

use super::data_dir::Account;
use super::in_path;
use crate::config::StartError;

/// After a death: how long until the first new start, and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Who has run for this long begins with the short backoff again.
const STEADY: Duration = Duration::from_secs(60);

/// A child under its keeper, a thread that starts it, waits for its end, and starts it again.
///
/// The thread lives as long as the child should, because the signal that ends the child with its parent (`PR_SET_PDEATHSIG`) follows
/// the *thread* that made it, and an async runtime ends threads as it likes.
#[derive(Debug)]
pub(super) struct Child {
    in_haste: Signal,
    shared: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

/// What a child is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not yet, or not at the moment.
    Down,
    /// Its process runs; whether it answers is another matter.
    Running(Pid),
    /// It does not run and will not be started again.
    Ended,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Not reaped yet, so this number cannot be anybody else's.
    process: Option<Pid>,
    /// Whether it has answered once: only then it is worth another start.
    confirmed: bool,
    stopping: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic holds this lock")
    }
}

impl Child {
    /// Starts the keeper. `prepare` runs before every start, in the keeper's thread, and may take its time. `in_haste` is what ends the process at once
    /// when this is dropped without [`Child::stop`].
    pub(super) fn start(
        name: &'static str,
        in_haste: Signal,
        prepare: impl Fn() -> Result<Command, StartError> + Send + 'static,
    ) -> Result<Self, StartError> {
        let shared = Arc::new(Shared { name, state: Mutex::default(), changed: Condvar::new() });
        let (says, phase) = watch::channel(Phase::Down);
        let keeper = Keeper { shared: Arc::clone(&shared), says };
        std::thread::Builder::new()
            .name(format!("keeps-{name}"))
            .spawn(move || keeper.keep(prepare))
            .map_err(|error| StartError::because(format!("no thread to keep the private {name}"), error))?;
        Ok(Self { in_haste, shared, phase })
    }

    /// What it is doing now.
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// It answers: from now on it is started again whenever it dies.
    pub(super) fn confirm(&self) {
        self.shared.state().confirmed = true;
    }

    /// Asks it to end, waits for it, and uses force after `patience`.
    pub(super) async fn stop(mut self, politely: Signal, patience: Duration) {
        self.ask_to_end(politely);
        if tokio::time::timeout(patience, self.phase.wait_for(|phase| *phase == Phase::Ended)).await.is_err() {
            tracing::warn!(server = self.shared.name, ?patience, "a private server did not stop in time: ended by force");
            self.ask_to_end(Signal::KILL);
            let _bounded_by_the_kernel = self.phase.wait_for(|phase| *phase == Phase::Ended).await;
        }
    }

    fn ask_to_end(&self, signal: Signal) {
        let mut state = self.shared.state();
        state.stopping = true;
        if let Some(process) = state.process {
            let _ended_just_now = kill_process(process, signal);
        }
        self.shared.changed.notify_all();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.phase() != Phase::Ended {
            self.ask_to_end(self.in_haste);
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    says: watch::Sender<Phase>,
}

impl Keeper {
    fn keep(&self, prepare: impl Fn() -> Result<Command, StartError>) {
        let mut backoff = BACKOFF.0;
        loop {
            let begin = Instant::now();
            let ended = self.run_once(&prepare);
            self.says.send_replace(Phase::Down);
            let state = self.shared.state();
            if state.stopping || !state.confirmed {
                if let (Err(error), false) = (&ended, state.stopping) {
                    tracing::debug!(server = self.shared.name, error = error as &dyn std::error::Error, "a private server did not start");
                }
                break;
            }
            if begin.elapsed() > STEADY {
                backoff = BACKOFF.0;
            }
            match ended {
                Ok(status) => tracing::error!(server = self.shared.name, %status, ?backoff, "a private server died: starting it again"),
                Err(error) => {
                    tracing::error!(
                        server = self.shared.name,
                        error = &error as &dyn std::error::Error,
                        ?backoff,
                        "a private server cannot be started"
                    );
                }
            }
            let wait = self.shared.changed.wait_timeout_while(state, backoff, |state| !state.stopping);
            drop(wait.expect("no panic holds this lock"));
            backoff = (backoff * 2).min(BACKOFF.1);
        }
        self.says.send_replace(Phase::Ended);
    }

    fn run_once(&self, prepare: &impl Fn() -> Result<Command, StartError>) -> Result<std::process::ExitStatus, StartError> {
        let failed = |error: io::Error| StartError::because(format!("the private {} cannot be started", self.shared.name), error);
        let mut command = prepare()?;
        let (mut child, process) = {
            let mut state = self.shared.state();
            if state.stopping {
                return Err(StartError::new("stopped before it was started"));
            }
            let child = command.spawn().map_err(failed)?;
            let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id is positive");
            state.process = Some(process);
            (child, process)
        };
        self.says.send_replace(Phase::Running(process));
        // Without reaping it, so that nobody else can get its number while a signal may be on its way.
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while matches!(waitid(WaitId::Pid(process), ended), Err(rustix::io::Errno::INTR)) {}
        let mut state = self.shared.state();
        state.process = None;
        child.wait().map_err(failed)
    }
}

/// A command that runs as `account`, in a process group of its own (a Ctrl-C at the terminal is for us, who then stop it in order), and dies with this thread.
///
/// `setpriv` asks for the signal; the shell behind it then looks whether its parent was still there to send it (a parent that died between the
/// fork and the request never will).
pub(super) fn dying_with_us(account: Option<Account>, dir: &Path, log: File, program: &Path) -> Result<Command, StartError> {
    let setpriv = in_path("setpriv").ok_or_else(|| {
        StartError::new("`setpriv` (package util-linux) is needed to run private servers: install it, or give DATABASE_URL and REDIS_URL")
    })?;
    let errors = log.try_clone().map_err(|error| StartError::because("the log of a private server cannot be opened", error))?;
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "KILL"]);
    if let Some(account) = account {
        command.args(account.arguments());
    }
    command.args(["/bin/sh", "-c", r#"[ "$PPID" = "$0" ] && exec "$@""#]).arg(std::process::id().to_string()).arg(program);
    // Nothing of our environment: PGDATA, PGPORT and their like would change what a server does, and secrets are not theirs to see.
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("LC_ALL", "C").env("TZ", "UTC");
    command.current_dir(dir).stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
    Ok(command)
}
