//! Postrider: an event-sourced messaging backend. This is the one binary; it parses, starts, and stops.

mod admin;
mod api;
mod backup;
mod bench;
mod client;
mod commands;
mod descriptors;
mod events;
mod ledger;
mod listen;
mod migrate;
mod output;
mod page;
mod parked;
mod password;
mod roles;
mod servers;
mod settings;
mod show;
mod topics;
mod up;
mod verify;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Requests allocate much that lives briefly and is freed by another thread, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced messaging backend.
///
/// `postrider up` runs all of it in one process, with a Postgres and a Redis of its own when none are named. Every setting, its default and its meaning
/// stands in postrider/config.default.toml; a file of your own, environment variables and flags override it, in this order.
#[derive(Debug, Parser)]
#[command(name = "postrider", version, propagate_version = true, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    settings: settings::Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything in this process: HTTP, commands, projections, queries
    ///
    /// Without DATABASE_URL and REDIS_URL it starts a Postgres and a Redis of its own, which live and die with it and keep their data in the data
    /// directory. With them, several processes may run on the same servers. With KAFKA_BROKERS, events also travel through Kafka. SIGTERM or Ctrl-C ends it
    /// in order; a second one at once.
    Up(up::Options),
    /// Make what is missing of databases, roles and schemas, and bring them up to date
    ///
    /// Safe to repeat, to interrupt, and to run beside an `up`, which does the same when it starts.
    Migrate,
    /// Show what happened: the events of a topic or of one aggregate
    ///
    /// Reads the ledger, beside a running `up` or without one; with --broker, the topic. Personal data stays sealed. Without --after, the newest are
    /// shown, the oldest of them first.
    Events(events::Options),
    /// Show a user's frames as they come over their socket
    ///
    /// Acknowledges nothing: what waits goes on waiting. To others this person is online meanwhile, as with every open socket. Connects again when the
    /// connection is lost, and goes on where it was.
    Listen(listen::Options),
    /// Show, retry or skip what a projection could not apply
    ///
    /// An event that cannot be applied parks its partition key: the later events of that key wait behind it, everything else goes on.
    #[command(subcommand)]
    Parked(parked::Action),
    /// Compare what read models show with what the log says
    #[command(subcommand)]
    Verify(verify::What),
    /// Make somebody an admin, or give them another password
    ///
    /// Works beside a running `up` or without one. What is done stands in the ledger, by `system`.
    #[command(subcommand)]
    Admin(admin::Action),
    /// Plan, make or check the topics of a Kafka cluster (KAFKA_BROKERS)
    #[command(subcommand)]
    Topics(topics::Action),
    /// Write a backup of everything that cannot be made again, beside a running `up` or without one
    ///
    /// Ledgers and key store, from snapshots of one moment: pg_dump archives and a manifest with their digests. Read models, topics and Redis are not in
    /// it: they are made again from the ledgers.
    Backup(backup::BackupOptions),
    /// Bring a backup into an empty installation
    ///
    /// An empty --data-dir, or a server without Postrider's databases; whatever holds something is refused. Everything answers afterwards as it did at the
    /// backup. Safe to interrupt: nothing starts on half of it, and a second call begins anew.
    Restore(backup::RestoreOptions),
    /// Declare a new incarnation of a ledger that may have lost events
    #[command(subcommand)]
    Ledger(ledger::Action),
    /// Measure it, and check what is counted
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Show the effective settings, and where each value comes from
    Config(show::Options),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let settings = cli.settings;
    match cli.command {
        Command::Up(options) => run(up::everything(settings, options)),
        Command::Migrate => run(migrate::migrate(settings)),
        Command::Events(options) => run(events::events(settings, options)),
        Command::Listen(options) => run(listen::listen(options)),
        Command::Parked(action) => run(parked::parked(settings, action)),
        Command::Verify(what) => run(verify::verify(settings, what)),
        Command::Admin(action) => run(admin::admin(settings, action)),
        Command::Topics(action) => run(topics::topics(settings, action)),
        Command::Backup(options) => run(backup::back_up(settings, options)),
        Command::Restore(options) => run(backup::restore(settings, options)),
        Command::Ledger(action) => run(ledger::ledger(settings, action)),
        Command::Bench(bench) => run(bench::run(bench, settings)),
        Command::Config(options) => finish(show::show(&settings, &options)),
    }
}

/// Runs a command to its end, in a runtime of its own.
fn run(command: impl Future<Output = anyhow::Result<()>>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(command);
            // What still blocks a thread then (a look-up of a host name, say) is not waited for.
            runtime.shutdown_background();
            finish(ended)
        }
        Err(error) => finish(Err(error.into())),
    }
}

/// Says what went wrong, in one sentence and its causes.
fn finish(ended: anyhow::Result<()>) -> ExitCode {
    let Err(error) = ended else { return ExitCode::SUCCESS };
    if error.is::<output::Closed>() {
        return ExitCode::SUCCESS;
    }
    eprintln!("postrider: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::FAILURE
}
