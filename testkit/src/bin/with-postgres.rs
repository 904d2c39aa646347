//! `with-postgres COMMAND…`: runs a command with `DATABASE_URL` naming a private Postgres, which goes when the command has ended.

use std::process::{Command, ExitCode};

#[tokio::main]
async fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: with-postgres COMMAND [ARGUMENT]…");
        return ExitCode::from(2);
    };
    let url = testkit::servers::postgres_url().await;
    match Command::new(&program).args(words).env("DATABASE_URL", url).status() {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("with-postgres: {} cannot be started: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
