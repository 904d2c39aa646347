//! What an operator types, and what comes back.
#![expect(clippy::unwrap_used, reason = "tests")]

mod admin;
mod backup;
mod events;
mod listen;
mod metrics;
mod parked;
mod refusals;
mod topics;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use testkit::system::{System, binary};
use testkit::wait_until;

/// How a command ended, and what it said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Succeeded, and said this.
    pub fn well(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out
    }

    /// Refused in a sentence that holds all of these.
    pub fn refused(&self, parts: &[&str]) {
        assert_ne!(self.code, Some(0), "{}{}", self.out, self.err);
        assert!(!self.err.contains("panic"), "{}", self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing in: {}", self.err);
        }
    }
}

/// The binary in a directory of its own, without the settings of whoever runs the tests.
fn command(directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    for name in ["DATABASE_URL", "AUTH_DATABASE_URL", "USER_DATABASE_URL", "MESSAGE_DATABASE_URL", "KEYS_DATABASE_URL"] {
        command.env_remove(name);
    }
    for name in ["REDIS_URL", "KAFKA_BROKERS", "PORT", "POSTRIDER_CONFIG"] {
        command.env_remove(name);
    }
    command.args(args).envs(env.iter().copied()).current_dir(directory);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs a command to its end, which comes within a minute.
async fn run(directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Said {
    let mut child = command(directory, args, env).spawn().expect("the binary starts");
    // Read aside: a full pipe would keep it from ending.
    let (out, err) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let reading = |pipe: Box<dyn std::io::Read + Send>| tokio::task::spawn_blocking(move || std::io::read_to_string(pipe).expect("UTF-8"));
    let (out, err) = (reading(Box::new(out)), reading(Box::new(err)));
    let code = ended(&mut child).await;
    Said { code, out: out.await.expect("read"), err: err.await.expect("read") }
}

/// Waits for the end; after a minute it is forced.
async fn ended(child: &mut Child) -> Option<i32> {
    struct Kill<'a>(&'a mut Child);
    impl Drop for Kill<'_> {
        fn drop(&mut self) {
            let _ = self.0.kill();
        }
    }
    let kill = Kill(child);
    wait_until("the command ends", Duration::from_secs(60), async || kill.0.try_wait().ok().flatten()).await.code()
}

/// A command beside a system, on its data directory and with its settings.
pub async fn beside(system: &System, args: &[&str]) -> Said {
    let data = system.directory.join("data");
    let mut all = vec!["--data-dir", data.to_str().expect("UTF-8")];
    all.extend(args);
    let env: Vec<_> = system.config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    run(&system.directory, &all, &env).await
}
