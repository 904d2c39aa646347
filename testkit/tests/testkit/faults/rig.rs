//! The servers of a run, and what is done to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use platform::private::{DataDir, PrivatePostgres};
use rustix::process::Signal;
use testkit::servers::temporary_directory;
use testkit::system::{System, SystemConfig, family, signal};
use testkit::wait_until;

use super::dice::Dice;
use super::history::{Event, History};
use super::plan::{Blow, Strike};
use super::redis::AgingRedis;

/// How long until clients get on after a blow.
const RECOVERY: Duration = Duration::from_secs(45);

/// Processes on one Postgres and one Redis. The servers are last: fields are dropped in order.
#[derive(Debug)]
pub struct Rig {
    pub processes: Vec<System>,
    pub postgres: PrivatePostgres,
    pub redis: AgingRedis,
}

impl Rig {
    pub async fn start(processes: usize, config: SystemConfig) -> Self {
        let directory = DataDir::open(&temporary_directory()).and_then(|dir| dir.lock()).expect("a temporary data directory can be made");
        let directory = Arc::new(directory);
        let (postgres, redis) = tokio::join!(PrivatePostgres::start(&directory), AgingRedis::start());
        let postgres = postgres.expect("a private Postgres starts");
        let config = config.env("DATABASE_URL", postgres.url()).env("REDIS_URL", redis.url());
        let processes = join_all((0..processes).map(|_| System::start(config.clone()))).await;
        Self { processes, postgres, redis }
    }

    /// Strikes again and again until it is told to stop; then everything runs.
    pub async fn suffer(mut self, history: &History, seed: u64, stop: &AtomicBool) -> Self {
        let mut dice = Dice::of(seed, u64::MAX);
        while !stop.load(Ordering::Relaxed) {
            let strike = Strike::next(&mut dice);
            tokio::time::sleep(strike.after).await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            if strike.copy {
                self.redis.copy();
            }
            let done = history.done();
            self.strike(strike.blow, history).await;
            let goes_on = async {
                while history.done() < done + 5 {
                    self.keep(history);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            if tokio::time::timeout(RECOVERY, goes_on).await.is_err() {
                history.add(Event::Wrong(format!("nothing goes on within {RECOVERY:?} of {:?}", strike.blow)));
                break;
            }
        }
        for number in 0..self.processes.len() {
            let begin = Instant::now();
            while !self.processes[number].is_ready_within(RECOVERY).await {
                self.keep(history);
                if begin.elapsed() > RECOVERY {
                    history.add(Event::Wrong(format!("process {number} is not ready after {RECOVERY:?}")));
                    break;
                }
            }
        }
        history.add(Event::Suffers { what: "nothing any more".into(), forgets: false });
        self
    }

    /// Starts what has ended, as whoever runs such processes does: one whose servers are away when it starts says so and ends. None ends for another reason.
    fn keep(&mut self, history: &History) {
        for (number, process) in self.processes.iter_mut().enumerate() {
            let Some(status) = process.exit_status() else { continue };
            let tail = process.log_tail();
            if status.code() != Some(1) || !tail.lines().rev().take(8).any(|line| line.starts_with("postrider: ")) {
                history.add(Event::Wrong(format!("process {number} ended by itself: {status}\n{tail}")));
            }
            process.start_again();
        }
    }

    async fn strike(&mut self, blow: Blow, history: &History) {
        let forgets = matches!(blow, Blow::KillRedis(_) | Blow::FlushRedis | Blow::AgeRedis);
        history.add(Event::Suffers { what: format!("{blow:?}"), forgets });
        let count = self.processes.len() as u64;
        let process = |which: u64| usize::try_from(which % count).expect("small");
        match blow {
            Blow::Kill { process: which } => {
                self.processes[process(which)].kill();
                self.processes[process(which)].start_again();
            }
            Blow::Stop { process: which } => {
                // One that is only starting is stopped as well: it ends without a drain.
                self.processes[process(which)].stop().await;
                self.processes[process(which)].start_again();
            }
            Blow::Pause { process: which, length } => {
                let pids: Vec<u32> = self.processes[process(which)].pid().into_iter().collect();
                paused(&pids, length).await;
            }
            Blow::KillPostgres => signal(self.postgres().await, Signal::KILL),
            Blow::PausePostgres(length) => paused(&family(self.postgres().await), length).await,
            Blow::KillRedis(length) => {
                self.redis.kill();
                tokio::time::sleep(length).await;
                self.redis.start_again().await;
            }
            Blow::PauseRedis(length) => paused(&[self.redis.pid()], length).await,
            Blow::FlushRedis => self.redis.flush().await,
            Blow::AgeRedis => self.redis.age().await,
        }
        history.add(Event::Suffers { what: format!("{blow:?} is over"), forgets: false });
    }

    async fn postgres(&self) -> u32 {
        let process = wait_until("Postgres runs", Duration::from_secs(30), async || self.postgres.process()).await;
        u32::try_from(process).expect("a process id")
    }
}

async fn paused(pids: &[u32], length: Duration) {
    pids.iter().for_each(|pid| signal(*pid, Signal::STOP));
    tokio::time::sleep(length).await;
    pids.iter().for_each(|pid| signal(*pid, Signal::CONT));
}
