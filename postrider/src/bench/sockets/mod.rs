//! `postrider bench sockets`: what sockets cost, and how soon they are told.

mod fan;
mod idle;
mod many;
mod send;
mod traffic;
mod waiting;

use anyhow::{Result, ensure};
use clap::Subcommand;
use serde::Deserialize;
use uuid::Uuid;

use crate::descriptors;
use crate::settings::Flags;

/// What to measure.
#[derive(Debug, Subcommand)]
pub enum Sockets {
    /// Many that are only open: memory of each as a slope, connections per second, what pings cost.
    Idle(idle::Options),
    /// The same over several processes on the same servers, each with a generator of its own: more than the descriptors of one allow.
    Many(many::Options),
    /// Messages to people whose socket is open: how long until the 2xx, and until the recipient has the frame.
    Send(send::Options),
    /// Many messages that wait: from connecting until all of them are there, and what that does to others.
    Waiting(waiting::Options),
    /// One message to somebody with many sockets: how long after the 2xx the last of them has it.
    Fan(fan::Options),
}

/// Runs it.
pub async fn run(what: Sockets, flags: Flags) -> Result<()> {
    match what {
        Sockets::Idle(options) => idle::run(options).await,
        Sockets::Many(options) => many::run(options).await,
        Sockets::Send(options) => send::run(options).await,
        Sockets::Waiting(options) => waiting::run(options, flags).await,
        Sockets::Fan(options) => fan::run(options).await,
    }
}

/// Descriptors that a process needs beside its sockets.
const OTHERS: u64 = 200;

/// Raises this process' limit of descriptors, and that of the system it starts, as far as it may be; so many sockets must fit.
fn room_for(sockets: u64) -> Result<()> {
    let most = descriptors::raise()?;
    ensure!(sockets + OTHERS <= most, "a process may have {most} descriptors here, which is too few for {sockets} sockets (ulimit -Hn)");
    Ok(())
}

/// The message that a frame brings: `new_message`, or `relay_message` for what waited.
fn brought(frame: &str) -> Result<Option<Uuid>> {
    #[derive(Deserialize)]
    struct Frame<'a> {
        r#type: &'a str,
        message_id: Option<Uuid>,
        data: Option<Relayed>,
    }
    #[derive(Deserialize)]
    struct Relayed {
        id: Uuid,
    }
    let frame: Frame = serde_json::from_str(frame)?;
    Ok(match frame.r#type {
        "new_message" => frame.message_id,
        "relay_message" => frame.data.map(|data| data.id),
        _ => None,
    })
}
