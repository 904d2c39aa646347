//! `postrider bench`: figures that anyone can measure again.
//!
//! Every run starts a system of its own in a temporary directory (unless `--url` names a running one), checks what it counts, and prints a table or `--json`.

mod compare;
mod fill;
mod history;
mod login;
mod mixed;
mod pairs;
mod processes;
mod read_back;
mod report;
mod send;
mod sockets;
mod target;
mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::settings::Flags;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Direct messages: accepted, projected and pending.
    Send(send::Options),
    /// Logins: what one costs beside its hash, and what a storm of them does to those who write.
    Login(login::Options),
    /// Reads of a long conversation: its newest page, its newest thousand, all of it.
    History(history::Options),
    /// A day in small: logins, sends, acknowledgements, reads, contact lists in stated shares.
    Mixed(mixed::Options),
    /// A large ledger: many messages, written as fast as the ledger takes them.
    Fill(fill::Options),
    /// Sockets: what they cost, and how soon they are told.
    #[command(subcommand)]
    Sockets(sockets::Sockets),
    /// Two builds in alternation, and the ratios between them.
    Compare(compare::Options),
}

/// What every measurement can be pointed at.
#[derive(Debug, Clone, Args)]
pub struct TargetOptions {
    /// A running system, e.g. `http://127.0.0.1:8000`; without it one is started for the run, in a temporary directory.
    #[arg(long)]
    url: Option<String>,
    /// The binary that is started; by default this one.
    #[arg(long, conflicts_with = "url")]
    binary: Option<std::path::PathBuf>,
    /// Kafka brokers between ledger and projections of the started system, e.g. `127.0.0.1:9092`; each run makes topics of its own there, and leaves them.
    #[arg(long, conflicts_with = "url")]
    kafka: Option<String>,
    /// Process id of the running system that `--url` names, to measure its CPU and memory.
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

impl TargetOptions {
    /// For people who watch; nothing where a program reads the report.
    fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        let bar = if self.json { ProgressBar::hidden() } else { ProgressBar::new(length) };
        bar.set_style(ProgressStyle::with_template("{msg:<22} {wide_bar} {pos}/{len}").expect("a valid template"));
        bar.set_message(what);
        bar
    }
}

/// Runs it.
pub async fn run(bench: Bench, flags: Flags) -> Result<()> {
    match bench {
        Bench::Fill(options) => fill::run(options, flags).await,
        Bench::Login(options) => login::run(options).await,
        Bench::History(options) => history::run(options, flags).await,
        Bench::Mixed(options) => mixed::run(options).await,
        Bench::Send(options) => send::run(options).await,
        Bench::Sockets(what) => sockets::run(what, flags).await,
        Bench::Compare(options) => compare::run(&options).await,
    }
}

/// Prints what was measured.
fn print(json: bool, figures: &impl Serialize, table: &str) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string(figures)?);
    } else {
        print!("{table}");
    }
    Ok(())
}
