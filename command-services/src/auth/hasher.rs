//! Passwords are hashed on threads of their own, behind a bounded queue: a storm of sign-ins waits there, and everything else goes on.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use argon2::password_hash::PasswordHasher;
use argon2::password_hash::phc::{Output, PasswordHash};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use axum::http::StatusCode;
use platform::http::Problem;
use tokio::sync::oneshot;

/// What is verified when there is no such account: as expensive as a real one, and nobody's.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5cyBzYWx0Li4$bm9ib2R5J3MgaGFzaDogbm8gcGFzc3dvcmQgbWF0Y2g";

/// For how long a thread that has nothing to do keeps its memory.
const KEPT: Duration = Duration::from_secs(10);

/// While more than so many wait, a spare thread takes nothing, and looks again after a while.
const FEW: usize = 2;
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How every hash of today begins: whatever begins otherwise is replaced at its next sign-in.
const TODAYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// What the monolith stored (bcrypt; the letters tell apart implementations that have had faults, and mean the same since).
const BCRYPT: [&str; 3] = ["$2a$", "$2b$", "$2y$"];

/// Hashes and verifies passwords with Argon2id (19 MiB, two passes: RFC 9106's family with OWASP's parameters). Clones share its threads, which end with the last one.
#[derive(Clone, Debug)]
pub struct Hasher {
    jobs: SyncSender<Job>,
    waiting: Arc<AtomicUsize>,
    patience: Duration,
}

/// More people sign in than there are threads for, or the hash could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Busy {
    /// The queue is full, or one's turn did not come in time.
    #[error("too many people sign in at once")]
    Full,
    /// A stored hash cannot be read, or the hasher has broken.
    #[error("a password cannot be hashed or verified")]
    Broken,
}

impl From<Busy> for Problem {
    fn from(busy: Busy) -> Self {
        match busy {
            Busy::Full => Self {
                retry_after: Some(Duration::from_secs(2)),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Many people are signing in right now, please try again")
            },
            Busy::Broken => {
                tracing::error!("a password could not be hashed or verified");
                Self::internal()
            }
        }
    }
}

struct Job {
    password: String,
    work: Work,
}

enum Work {
    Hash(oneshot::Sender<Result<String, Busy>>),
    Verify(String, oneshot::Sender<Result<bool, Busy>>),
}

impl Hasher {
    /// `threads` of its own (at least one), a `queue` of at most so many who wait, and for how long they do.
    ///
    /// # Panics
    /// When the operating system gives no thread.
    #[must_use]
    pub fn new(threads: usize, queue: usize, patience: Duration) -> Self {
        Self::start(threads.max(1), 0, queue, patience)
    }

    /// For a process that does other things as well: in a storm one core is left to those; as long as few wait, there is a thread for each core, so that two who come at the same time do not wait for each other.
    ///
    /// # Panics
    /// As [`Hasher::new`].
    #[must_use]
    pub fn beside_others(cores: usize, queue: usize, patience: Duration) -> Self {
        let steady = cores.saturating_sub(1).max(1);
        Self::start(steady, cores.saturating_sub(steady), queue, patience)
    }

    fn start(steady: usize, spare: usize, queue: usize, patience: Duration) -> Self {
        let (jobs, queued) = sync_channel(queue);
        let queued = Arc::new(Mutex::new(queued));
        let waiting = Arc::new(AtomicUsize::new(0));
        for number in 0..steady + spare {
            let (queued, waiting) = (queued.clone(), waiting.clone());
            let thread = std::thread::Builder::new().name(format!("hasher-{number}"));
            thread.spawn(move || work(&queued, &waiting, number >= steady)).expect("the system has a thread for us at the start");
        }
        Self { jobs, waiting, patience }
    }

    /// The password's hash with a salt of its own, as a PHC string.
    ///
    /// # Errors
    /// [`Busy`]
    ///
    /// # Cancel safety
    /// Whoever stops waiting is passed over.
    pub async fn hash(&self, password: String) -> Result<String, Busy> {
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job { password, work: Work::Hash(answer) })?;
        self.answer(answered).await
    }

    /// Whether it is the password of this hash: Argon2id, or bcrypt as the monolith made it, of which only the first 72 bytes count. Without a hash it never is, and that takes as long to find out.
    ///
    /// # Errors
    /// [`Busy`]
    ///
    /// # Cancel safety
    /// Whoever stops waiting is passed over.
    pub async fn verify(&self, password: String, phc: Option<String>) -> Result<bool, Busy> {
        let is_somebodys = phc.is_some();
        let (answer, answered) = oneshot::channel();
        self.enqueue(Job { password, work: Work::Verify(phc.unwrap_or_else(|| NOBODYS.to_owned()), answer) })?;
        Ok(self.answer(answered).await? && is_somebodys)
    }

    fn enqueue(&self, job: Job) -> Result<(), Busy> {
        // Counted first: a thread may take it before we come back.
        count(&self.waiting, |waiting| waiting.fetch_add(1, Ordering::Relaxed) + 1);
        self.jobs.try_send(job).map_err(|_| {
            count(&self.waiting, |waiting| waiting.fetch_sub(1, Ordering::Relaxed) - 1);
            full()
        })
    }

    async fn answer<T>(&self, answered: oneshot::Receiver<Result<T, Busy>>) -> Result<T, Busy> {
        match tokio::time::timeout(self.patience, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Busy::Broken)),
            Err(_) => Err(full()),
        }
    }
}

fn full() -> Busy {
    metrics::counter!("hasher_refused_total").increment(1);
    Busy::Full
}

fn count(waiting: &AtomicUsize, change: impl FnOnce(&AtomicUsize) -> usize) {
    #[expect(clippy::cast_precision_loss, reason = "a queue of some hundreds")]
    metrics::gauge!("hasher_queue_length").set(change(waiting) as f64);
}

/// What a thread hashes in. Made anew for each hash, its 19 MiB would come from the system page by page, and go back with a word to every core, each time.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// What stood there means nothing.
    fn for_params(&mut self, params: &Params) -> &mut [Block] {
        let blocks = params.block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        &mut self.0[..blocks]
    }
}

/// One thread's life.
fn work(queued: &Mutex<Receiver<Job>>, waiting: &AtomicUsize, is_spare: bool) {
    let mut memory = Memory::default();
    loop {
        if is_spare && waiting.load(Ordering::Relaxed) > FEW {
            std::thread::sleep(LOOK_AGAIN);
            continue;
        }
        let next = match queued.lock() {
            Ok(queued) => queued.recv_timeout(KEPT),
            Err(_) => return,
        };
        let Job { password, work } = match next {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => {
                memory = Memory::default();
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        };
        count(waiting, |waiting| waiting.fetch_sub(1, Ordering::Relaxed) - 1);
        let began = Instant::now();
        // Nobody is told what has been given up.
        let _ = match work {
            Work::Hash(answer) if answer.is_closed() => continue,
            Work::Verify(_, answer) if answer.is_closed() => continue,
            Work::Hash(answer) => answer.send(hash(&password)).map_err(drop),
            Work::Verify(phc, answer) => answer.send(verify(&password, &phc, &mut memory)).map_err(drop),
        };
        metrics::histogram!("hasher_seconds").record(began.elapsed().as_secs_f64());
    }
}

fn hash(password: &str) -> Result<String, Busy> {
    let hash: PasswordHash = Argon2::default().hash_password(password.as_bytes()).map_err(|_| Busy::Broken)?;
    Ok(hash.to_string())
}

/// Whether a hash should be replaced by one of today.
pub(super) fn is_outdated(hash: &str) -> bool {
    !hash.starts_with(TODAYS)
}

fn verify(password: &str, phc: &str, memory: &mut Memory) -> Result<bool, Busy> {
    if BCRYPT.iter().any(|start| phc.starts_with(start)) {
        // Cuts off behind the 72nd byte, as the one that made them did.
        return bcrypt::verify(password, phc).map_err(|_| Busy::Broken);
    }
    let hash = PasswordHash::new(phc).map_err(|_| Busy::Broken)?;
    // What has no hash in it would count as a wrong password: it is damage.
    let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return Err(Busy::Broken) };
    let (algorithm, params) = (Algorithm::try_from(hash.algorithm.as_str()), Params::try_from(&hash));
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from);
    let (Ok(algorithm), Ok(params), Ok(version)) = (algorithm, params, version) else { return Err(Busy::Broken) };
    let mut found = [0; Output::MAX_LENGTH];
    let found = &mut found[..expected.len()];
    let blocks = memory.for_params(&params);
    let argon2 = Argon2::new(algorithm, version, params);
    argon2.hash_password_into_with_memory(password.as_bytes(), salt, found, blocks).map_err(|_| Busy::Broken)?;
    // Compares in constant time.
    Ok(Output::new(found).map_err(|_| Busy::Broken)? == *expected)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argon2::password_hash::PasswordHasher;
    use argon2::password_hash::phc::PasswordHash;
    use argon2::{Algorithm, Argon2, Params, Version};
    use futures::future::join_all;

    use super::{Busy, Hasher, Memory, NOBODYS, hash, is_outdated, verify};

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_password_fits_its_own_hash_and_no_other_does() {
        let hasher = Hasher::new(1, 8, LONG);
        let (one, two) = (hasher.hash("correct horse".into()).await.unwrap(), hasher.hash("correct horse".into()).await.unwrap());
        assert!(one.starts_with("$argon2id$v=19$"));
        assert_ne!(one, two, "each has a salt of its own");
        assert_eq!(hasher.verify("correct horse".into(), Some(one.clone())).await, Ok(true));
        assert_eq!(hasher.verify("Correct horse".into(), Some(one)).await, Ok(false));
        assert_eq!(hasher.verify("correct horse".into(), None).await, Ok(false));
        assert_eq!(hasher.verify("correct horse".into(), Some("$nonsense".into())).await, Err(Busy::Broken));
    }

    #[test]
    fn looking_for_nobody_is_as_much_work_as_looking_for_somebody() {
        let (real, nobodys) = (hash("x").unwrap(), PasswordHash::new(NOBODYS).unwrap());
        let real = PasswordHash::new(&real).unwrap();
        assert_eq!((real.algorithm, real.version, &real.params), (nobodys.algorithm, nobodys.version, &nobodys.params));
        assert_eq!(real.hash.map(|hash| hash.len()), nobodys.hash.map(|hash| hash.len()));
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_at_once_and_the_others_get_their_turn() {
        let hasher = Hasher::new(1, 2, LONG);
        let answers = join_all((0..20).map(|_| hasher.hash("password".into()))).await;
        let done = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!((2..=4).contains(&done), "{done} were served at once by one thread and two places");
        assert!(answers.iter().all(|answer| answer.is_ok() || *answer == Err(Busy::Full)));
        assert!(hasher.hash("password".into()).await.is_ok(), "afterwards there is room again");
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_bound() {
        let hasher = Hasher::new(1, 64, Duration::from_millis(1));
        let answers = join_all((0..8).map(|_| hasher.hash("password".into()))).await;
        assert!(answers.contains(&Err(Busy::Full)));
    }

    #[tokio::test]
    async fn who_hangs_up_while_waiting_costs_nothing() {
        let hasher = Hasher::new(1, 512, LONG);
        let mut waiting: Vec<_> = (0..400).map(|_| Box::pin(hasher.hash("password".into()))).collect();
        for one in &mut waiting {
            assert!(futures::FutureExt::now_or_never(one.as_mut()).is_none());
        }
        drop(waiting);
        // Four hundred hashes take many seconds: this one does not wait for them.
        let begun = std::time::Instant::now();
        assert!(hasher.hash("password".into()).await.is_ok());
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_hash_of_the_monolith_is_understood_and_outdated() {
        // Made by another implementation (libxcrypt); the last is one of its published test vectors.
        for (password, hash) in [
            ("correct horse", "$2b$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
            ("correct horse", "$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
            ("correct horse", "$2a$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e"),
            ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"),
        ] {
            assert_eq!(verify(password, hash, &mut Memory::default()), Ok(true), "{hash}");
            assert_eq!(verify("another", hash, &mut Memory::default()), Ok(false), "{hash}");
            assert!(is_outdated(hash));
        }
        assert_eq!(verify("x", "$2b$12$tooshort", &mut Memory::default()), Err(Busy::Broken));
        assert!(!is_outdated(&hash("x").unwrap()) && !is_outdated(NOBODYS));
    }

    #[test]
    fn of_a_bcrypt_password_only_the_first_72_bytes_count() {
        let of_eighty = "$2b$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i";
        for (length, right) in [(71, false), (72, true), (80, true), (81, true)] {
            assert_eq!(verify(&"x".repeat(length), of_eighty, &mut Memory::default()), Ok(right), "{length}");
        }
        let long = bcrypt::hash(format!("{}tail", "ö".repeat(36)), 4).unwrap();
        assert_eq!(verify(&"ö".repeat(36), &long, &mut Memory::default()), Ok(true), "bytes, not characters");
    }

    #[test]
    fn what_was_hashed_before_in_the_same_memory_means_nothing() {
        let small = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(4_096, 3, 1, None).unwrap());
        let of = |password: &str| [hash(password).unwrap(), small.hash_password(password.as_bytes()).unwrap().to_string()];
        let (mut memory, [one, other]) = (Memory::default(), ["one", "another"].map(of));
        for _ in 0..2 {
            for (mine, theirs) in one.iter().zip(&other) {
                assert_eq!(verify("one", mine, &mut memory), Ok(true));
                assert_eq!(verify("one", theirs, &mut memory), Ok(false));
            }
        }
    }
}
