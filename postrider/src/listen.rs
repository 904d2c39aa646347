//! `postrider listen`: a user's frames, as they come.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::client::Client;
use crate::client::socket::{Address, Heard, Refused, Socket};
use crate::{output, password};

/// The server pings every 25 s: one that is silent for longer than this is gone.
const SILENT: Duration = Duration::from_secs(70);
/// Between attempts to connect again: at first, and at most.
const AGAIN: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));
/// How much of a value a line shows.
const SHOWN: usize = 48;
/// Of a socket whose session has ended.
const SESSION_ENDED: u16 = 4001;

/// Whose frames, from where on, and how they look.
#[derive(Debug, Args)]
pub struct Options {
    /// The address that they sign in with; their password is the first line of standard input
    #[arg(required_unless_present = "token", conflicts_with = "token")]
    email: Option<String>,
    /// Read an access token from standard input instead of a password
    #[arg(long)]
    token: bool,
    /// The system
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: String,
    /// Begin with what came after this cursor of an earlier frame
    #[arg(long)]
    cursor: Option<String>,
    /// End after so many frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Print each frame as it came: one JSON object per line
    #[arg(long)]
    json: bool,
}

/// Prints them until Ctrl-C, over every loss of the connection.
pub async fn listen(options: Options) -> Result<()> {
    let secret = password::read(if options.token { "The access token" } else { "The password" })?;
    let mut client = Client::new(&options.url)?;
    let token = match &options.email {
        None => secret,
        Some(email) => sign_in(&mut client, email, &secret).await?,
    };
    let mut client = client.with_token(&token);
    let me = client.json(Method::GET, "/api/v1/auth/me", None).await.context("the token is not accepted")?;
    let user: Uuid = me["id"].as_str().context("no id in /auth/me")?.parse()?;
    let address = client.socket(user)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listened = tokio::select! {
        listened = follow(&address, &options) => listened,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    if options.email.is_some() {
        // The session was for this command only.
        let _ = client.request(Method::POST, "/api/v1/auth/logout", Some("{}".to_owned())).await;
    }
    listened
}

async fn sign_in(client: &mut Client, email: &str, password: &str) -> Result<String> {
    let body = json!({"email": email, "password": password}).to_string();
    let (status, answer) = client.request(Method::POST, "/api/v1/auth/login", Some(body)).await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    ensure!(status == 200, "{email} cannot sign in: {} ({status})", answer["detail"].as_str().unwrap_or("no reason given"));
    Ok(answer["access_token"].as_str().context("no access_token")?.to_owned())
}

async fn follow(address: &Address, options: &Options) -> Result<()> {
    let (mut cursor, mut left, mut wait) = (options.cursor.clone(), options.limit, AGAIN.0);
    loop {
        match address.open(None, cursor.as_deref()).await {
            Ok(socket) => {
                let ended = print(socket, options.json, &mut cursor, &mut left, &mut wait).await?;
                let Some((code, reason)) = ended else { return Ok(()) };
                if code == SESSION_ENDED {
                    bail!("the session has ended ({code} {reason})");
                }
                eprintln!("postrider: closed with {code} {reason}; connecting again");
            }
            Err(error) if error.downcast_ref::<Refused>().is_some_and(|refused| refused.status < 500 && refused.status != 429) => {
                return Err(error);
            }
            Err(error) => eprintln!("postrider: {error:#}; trying again"),
        }
        output::must_be_open()?;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(AGAIN.1);
    }
}

/// Until the socket ends: how; or until enough have been printed: `None`.
async fn print(
    mut socket: Socket,
    json: bool,
    cursor: &mut Option<String>,
    left: &mut Option<u64>,
    wait: &mut Duration,
) -> Result<Option<(u16, String)>> {
    loop {
        let text = match tokio::time::timeout(SILENT, socket.next()).await {
            Ok(Heard::Frame(text)) => text,
            Ok(Heard::Life) => {
                output::must_be_open()?;
                continue;
            }
            Ok(Heard::Closed(code, reason)) => return Ok(Some((code, reason))),
            Err(_) => return Ok(Some((1006, format!("nothing came for {SILENT:?}")))),
        };
        *wait = AGAIN.0;
        let frame: Map<String, Value> = serde_json::from_str(&text).with_context(|| format!("a frame is no JSON object: {text}"))?;
        if let Some(Value::String(newest)) = frame.get("cursor") {
            *cursor = Some(newest.clone());
        }
        output::line(&if json { text.to_string() } else { line(&frame) })?;
        if let Some(count) = left {
            *count -= 1;
            if *count == 0 {
                socket.close().await;
                return Ok(None);
            }
        }
    }
}

/// One frame for people: its type, and its fields as far as a line has room for them.
fn line(frame: &Map<String, Value>) -> String {
    let kind = frame.get("type").and_then(Value::as_str).unwrap_or("?");
    let fields = frame.iter().filter(|(name, value)| *name != "type" && !value.is_null()).map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name}={}", short(&text))
    });
    format!("{kind:<22}  {}", fields.collect::<Vec<_>>().join("  "))
}

fn short(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match text.char_indices().nth(SHOWN) {
        None => text,
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::line;
    use serde_json::json;

    #[test]
    fn a_line_is_one_line_whatever_a_frame_holds() {
        let frame = json!({"type": "new_message", "encrypted_content": format!("a\n\u{1b}[31m{}", "ä".repeat(100)), "message_id": "m", "signatures": null});
        let line = line(frame.as_object().expect("an object"));
        assert!(line.starts_with("new_message ") && line.contains("message_id=m") && line.contains("… ("), "{line}");
        assert!(!line.contains(char::is_control) && !line.contains("signatures"), "{line}");
    }
}
