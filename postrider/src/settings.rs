//! The flags that every command knows: where settings come from.

use std::path::PathBuf;

use clap::Args;
use platform::config::{Effective, Sources, StartError};

/// Before or after the command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Read settings from this file [default: $POSTRIDER_CONFIG, else ./postrider.toml if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Keep the signing key and the private servers' data here
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<String>,
    /// Set anything, e.g. `--set telemetry.log=debug`; may be repeated
    #[arg(long, global = true, value_name = "SECTION.KEY=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,
}

impl Flags {
    /// The flags of a command that stand for settings: how each is written, which key it sets, and to what.
    pub fn load(&self, more: Vec<(&str, &str, Option<String>)>) -> Result<Effective, StartError> {
        let mut sources = Sources::of_process(self.config.clone());
        for (key, value) in &self.set {
            sources = sources.with_flag(format!("--set {key}"), key, value);
        }
        for (flag, key, value) in more.into_iter().chain([("--data-dir", "server.data_dir", self.data_dir.clone())]) {
            if let Some(value) = value {
                sources = sources.with_flag(flag, key, value);
            }
        }
        sources.load()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if key.contains('.') => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("SECTION.KEY=VALUE would be right, e.g. telemetry.log=debug".into()),
    }
}
