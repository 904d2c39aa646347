//! Tickets: tokens for one use, for those who can put nothing but an address into a request (a browser that opens a socket).

use std::fmt::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::{SessionId, UserId};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Caller;
use crate::redis::{Redis, RedisAway};

/// How long a ticket is good.
pub const TICKET: Duration = Duration::from_secs(30);

/// 256 bits in base64url.
const LENGTH: usize = 43;

/// Tickets, in Redis by their digests. Clones share it.
#[derive(Debug, Clone)]
pub struct Tickets {
    redis: Redis,
}

/// Why there is no ticket.
#[derive(Debug, thiserror::Error)]
pub enum NoTicket {
    /// Redis did not take it.
    #[error(transparent)]
    Away(#[from] RedisAway),
    /// The system has no randomness to give.
    #[error("no random bytes")]
    Random,
}

/// What a ticket stands for: the caller of the request that asked for it.
#[derive(Serialize, Deserialize)]
struct Kept {
    user: UserId,
    session: SessionId,
    role: String,
    token_ends: i64,
}

fn key(ticket: &str) -> String {
    Sha256::digest(ticket.as_bytes())[..16].iter().fold("ticket:".to_owned(), |mut key, byte| {
        let _ = write!(key, "{byte:02x}");
        key
    })
}

impl Tickets {
    /// In this Redis.
    #[must_use]
    pub fn new(redis: Redis) -> Self {
        Self { redis }
    }

    /// A ticket for this caller, good once, for [`TICKET`].
    ///
    /// # Errors
    /// [`NoTicket`]
    pub async fn give(&self, caller: &Caller) -> Result<String, NoTicket> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_| NoTicket::Random)?;
        let ticket = URL_SAFE_NO_PAD.encode(bytes);
        let Caller { user, session, role, token_ends } = caller.clone();
        let kept = serde_json::to_string(&Kept { user, session, role, token_ends }).map_err(|error| RedisAway(error.to_string()))?;
        let mut set = ::redis::pipe();
        set.cmd("SET").arg(key(&ticket)).arg(kept).arg("EX").arg(TICKET.as_secs()).ignore();
        self.redis.query::<()>(&set).await?;
        Ok(ticket)
    }

    /// Whose ticket it is, which is used up by that; `None`: it is none, was used, or its time is over. Whether the session still stands is for the asker to see.
    ///
    /// # Errors
    /// [`RedisAway`]
    pub async fn take(&self, ticket: &str) -> Result<Option<Caller>, RedisAway> {
        if ticket.len() != LENGTH {
            return Ok(None);
        }
        let mut take = ::redis::pipe();
        take.cmd("GETDEL").arg(key(ticket));
        let (kept,) = self.redis.query::<(Option<String>,)>(&take).await?;
        let kept = kept.and_then(|kept| serde_json::from_str::<Kept>(&kept).ok());
        Ok(kept.map(|Kept { user, session, role, token_ends }| Caller { user, session, role, token_ends }))
    }
}
