//! Private servers: they are ours alone, die with their parent, and come back with their data.
//!
//! The parent that gets killed is this very test binary, started again with [`PARENT`] set.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use platform::config::ServerUrl;
use platform::private::{DataDir, PrivatePostgres, PrivateRedis, Running};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use sqlx::{Connection, Executor, PgConnection};
use testkit::servers::temporary_directory;
use testkit::wait_until;

const PARENT: &str = "POSTRIDER_TEST_PARENT_IN";
const BOUND: Duration = Duration::from_secs(30);

/// Not a rule but the process that the rules below kill: says its servers' URLs and processes, and stays.
#[tokio::test]
async fn parent_process() {
    let Some(dir) = std::env::var_os(PARENT) else { return };
    let locked = Arc::new(DataDir::open(Path::new(&dir)).unwrap().lock().unwrap());
    let postgres = PrivatePostgres::start(&locked).await.unwrap();
    let redis = PrivateRedis::start(&locked).await.unwrap();
    println!("\nready {} {} {} {}", postgres.url(), postgres.process().unwrap(), redis.url(), redis.process().unwrap());
    std::future::pending::<()>().await;
}

struct Parent {
    process: Child,
    postgres: (String, Pid),
    redis: (String, Pid),
}

fn parent(dir: &Path) -> Parent {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "private::parent_process", "--nocapture"])
        .env(PARENT, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).find(|line| line.starts_with("ready ")).expect("the parent starts its servers");
    let words: Vec<_> = ready.split_whitespace().collect();
    let pid = |word: &str| Pid::from_raw(word.parse().unwrap()).unwrap();
    Parent { process, postgres: (words[1].into(), pid(words[2])), redis: (words[3].into(), pid(words[4])) }
}

/// Ended; in a container whose first process reaps nobody it may stay in the list for ever.
async fn gone(process: Pid) {
    let process = process.as_raw_nonzero().get().unsigned_abs();
    wait_until("a server is gone", BOUND, || async move { (!testkit::system::lives(process)).then_some(()) }).await;
}

async fn write(url: &str, statement: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    connection.execute(statement).await.unwrap();
}

async fn redis(url: &str, command: ::redis::Cmd) -> Option<String> {
    let client = ::redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    command.query_async(&mut connection).await.unwrap()
}

#[tokio::test]
async fn servers_die_when_their_parent_is_killed_and_come_back_with_what_was_committed() {
    let dir = temporary_directory();
    let mut first = parent(&dir);
    write(&first.postgres.0, "CREATE TABLE kept AS SELECT 1 AS one").await;
    redis(&first.redis.0, ::redis::Cmd::set("kept", "one")).await;
    first.process.kill().unwrap();
    first.process.wait().unwrap();
    gone(first.postgres.1).await;
    gone(first.redis.1).await;

    let mut second = parent(&dir);
    write(&second.postgres.0, "SELECT one FROM kept").await;
    second.process.kill().unwrap();
    second.process.wait().unwrap();
}

#[tokio::test]
async fn a_start_right_after_a_kill_waits_for_what_still_holds_the_data() {
    let dir = temporary_directory();
    for round in 0..3 {
        let mut one = parent(&dir);
        assert!(test_kill_process(one.postgres.1).is_ok(), "round {round}");
        one.process.kill().unwrap();
        one.process.wait().unwrap();
    }
}

#[tokio::test]
async fn servers_orphaned_in_spite_of_everything_are_ended_by_the_next_start() {
    let dir = temporary_directory();
    let locked = Arc::new(DataDir::open(&dir).unwrap().lock().unwrap());
    PrivatePostgres::start(&locked).await.unwrap().stop().await;
    PrivateRedis::start(&locked).await.unwrap().stop().await;
    // Servers that nobody's death ends, as after a parent without `setpriv`.
    let data = locked.servers().join("postgres/data");
    let program = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().map(|entry| entry.path().join("bin/postgres")).next();
    let mut postgres = as_owner_of(&data, &program.expect("Debian's Postgres"));
    postgres.arg("-D").arg(&data).args(["-c", "unix_socket_directories="]);
    let postgres = orphan(postgres, |port| vec!["-c".into(), format!("port={port}")]).await;
    let data = locked.servers().join("redis/data");
    let mut redis = as_owner_of(&data, Path::new("redis-server"));
    redis.args(["--appendonly", "yes", "--dir"]).arg(&data);
    let redis = orphan(redis, |port| vec!["--port".into(), port.to_string()]).await;

    let next = PrivatePostgres::start(&locked).await.unwrap();
    write(next.url(), "SELECT 1").await;
    postgres.join().expect("it was ended");
    next.stop().await;
    PrivateRedis::start(&locked).await.unwrap().stop().await;
    redis.join().expect("it was ended");
}

/// Starts a server on a free port and waits until it listens; the thread ends with it.
async fn orphan(mut command: Command, on_port: impl Fn(u16) -> Vec<String>) -> std::thread::JoinHandle<()> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = command.args(on_port(port)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_until("the orphan listens", BOUND, || async move { std::net::TcpStream::connect(("127.0.0.1", port)).ok() }).await;
    std::thread::spawn(move || drop(server.wait()))
}

fn as_owner_of(data: &Path, program: &Path) -> Command {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(data).unwrap();
    if owner.uid() == rustix::process::geteuid().as_raw() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &owner.uid().to_string(), "--regid", &owner.gid().to_string(), "--clear-groups"]).arg(program);
    command
}

#[tokio::test]
async fn a_server_that_is_killed_alone_comes_back_on_its_port() {
    let dir = temporary_directory();
    let locked = Arc::new(DataDir::open(&dir).unwrap().lock().unwrap());
    let (postgres, redis_server) = (PrivatePostgres::start(&locked).await.unwrap(), PrivateRedis::start(&locked).await.unwrap());
    write(postgres.url(), "CREATE TABLE kept AS SELECT 1 AS one").await;
    for process in [postgres.process(), redis_server.process()] {
        kill_process(Pid::from_raw(process.unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    let url = postgres.url();
    wait_until("Postgres answers again", BOUND, || async move {
        let mut connection = PgConnection::connect(url).await.ok()?;
        connection.execute("SELECT one FROM kept").await.ok()
    })
    .await;
    let url = redis_server.url();
    wait_until("Redis answers again", BOUND, || async move {
        let mut connection = ::redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.ok()?;
        ::redis::cmd("PING").query_async::<String>(&mut connection).await.ok()
    })
    .await;
    let (postgres_process, redis_process) = (postgres.process().unwrap(), redis_server.process().unwrap());
    postgres.stop().await;
    redis_server.stop().await;
    for process in [postgres_process, redis_process] {
        assert!(test_kill_process(Pid::from_raw(process).unwrap()).is_err(), "stopped means ended");
    }
}

#[tokio::test]
async fn strangers_are_neither_taken_for_ours_nor_touched() {
    let dir = temporary_directory();
    let other = Arc::new(DataDir::open(&dir.join("other")).unwrap().lock().unwrap());
    let stranger = PrivatePostgres::start(&other).await.unwrap();
    let before = stranger.process();
    // Its pid file in our directory, as if it had got the number of our last server.
    let ours = Arc::new(DataDir::open(&dir.join("ours")).unwrap().lock().unwrap());
    PrivatePostgres::start(&ours).await.unwrap().stop().await;
    let data = ours.servers().join("postgres/data");
    fs::write(data.join("postmaster.pid"), format!("{}\n{}\n1\n1\n\n127.0.0.1\n", before.unwrap(), data.display())).unwrap();

    let mine = PrivatePostgres::start(&ours).await.unwrap();
    assert_ne!(mine.port(), stranger.port());
    let refused = PgConnection::connect(&mine.url().replace(&mine.port().to_string(), &stranger.port().to_string())).await;
    assert!(refused.is_err(), "our password opens nothing of a stranger's");
    write(stranger.url(), "SELECT 1").await;
    assert_eq!(stranger.process(), before, "it was not restarted");
}

#[tokio::test]
async fn a_second_start_on_one_data_directory_is_told_what_to_do() {
    let dir = temporary_directory();
    let first = DataDir::open(&dir).unwrap();
    let held = first.lock().unwrap();
    let refused = DataDir::open(&dir).unwrap().lock().unwrap_err().to_string();
    assert!(refused.contains("another postrider") && refused.contains("--data-dir"), "{refused}");
    drop(held);
    first.lock().expect("it was let go");
}

#[tokio::test]
async fn a_newer_layout_is_refused() {
    let dir = temporary_directory();
    DataDir::open(&dir).unwrap();
    fs::write(dir.join("version"), "2\n").unwrap();
    let refused = DataDir::open(&dir).unwrap_err().to_string();
    assert!(refused.contains("newer postrider (layout 2"), "{refused}");
}

#[tokio::test]
async fn a_cluster_that_was_half_made_is_made_again() {
    let dir = temporary_directory();
    let locked = Arc::new(DataDir::open(&dir).unwrap().lock().unwrap());
    let half = locked.servers().join("postgres/data.new");
    fs::create_dir_all(half.join("base")).unwrap();
    fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    let postgres = PrivatePostgres::start(&locked).await.unwrap();
    write(postgres.url(), "SELECT 1").await;
    assert!(!half.exists());
    postgres.stop().await;
}

#[tokio::test]
async fn other_commands_find_the_servers_of_a_running_process_and_only_those() {
    let dir = DataDir::open(&temporary_directory()).unwrap();
    assert!(dir.running().unwrap().is_none());
    let held = dir.lock().unwrap();
    assert!(dir.running().unwrap_err().to_string().contains("just starting"));
    let url = ServerUrl::new("postgres://postgres:planted@127.0.0.1:1/postgres");
    held.tell(&Running::new(Some(&url), None)).unwrap();
    let found = dir.running().unwrap().unwrap();
    assert_eq!(found.postgres(), Some(url));
    assert!(!format!("{found:?}").contains("planted"));
    drop(held);
    assert!(dir.running().unwrap().is_none(), "the file is still there, but nobody holds the lock");
}
