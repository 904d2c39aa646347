//! Direct messages: sending one, saying that it has arrived or was read, taking it back.

pub mod acknowledge;
pub mod delete;
mod message;
mod online;
mod people;
pub mod read;
mod receipt;
mod receipts;
pub mod send;

use axum::extract::FromRef;
use platform::auth::{Caller, Tokens};
use platform::fresh::Freshness;
use platform::http::api::Api;
use platform::http::{IdempotencyKey, Problem, RequestContext};
use platform::ledger::{Actor, CommandRecord, Context, Ledger};
use platform::presence::Presence;
use platform::shutdown::Shutdown;
use schemas::UserId;

use people::People;

/// What the commands of this service need. Clones share it.
#[derive(Debug, Clone)]
pub struct Messages {
    /// Its ledger.
    ledger: Ledger,
    /// Who exists, and who has blocked whom.
    people: People,
    /// Whom to believe.
    tokens: Tokens,
    /// Who is online.
    presence: Presence,
    /// Who waits for commands that are under way.
    shutdown: Shutdown,
}

impl Messages {
    /// On the messages ledger; `freshness` must hold the pool of `message_db`, where the copies of who exists and of who has blocked whom stand.
    #[must_use]
    pub fn new(ledger: Ledger, freshness: Freshness, tokens: Tokens, presence: Presence, shutdown: Shutdown) -> Self {
        Self { ledger, people: People::new(freshness), tokens, presence, shutdown }
    }
}

impl FromRef<Messages> for Tokens {
    fn from_ref(messages: &Messages) -> Self {
        messages.tokens.clone()
    }
}

/// Whether somebody may show somebody else what is no message (that they are typing): they exist, and neither has blocked the other.
///
/// # Errors
/// 503 when it cannot be told.
pub async fn may_reach(messages: &Messages, from: UserId, to: UserId) -> Result<bool, Problem> {
    Ok(messages.people.between(from, to).await? == people::Between::Open)
}

/// Every command of this service, below `/api/v1`.
pub fn router(messages: Messages) -> Api {
    let routes =
        Api::new().merge(send::routes()).merge(acknowledge::routes()).merge(read::routes()).merge(delete::routes()).merge(online::routes());
    routes.nest("/api/v1").with_state(messages)
}

/// Why and by whom a command runs; with a record of its answer when the client sent a key for it.
fn context(caller: &Caller, request: RequestContext, key: IdempotencyKey, body: &[u8; 32]) -> Context {
    let digest = key.digest(body);
    let record = key.key.map(|key| CommandRecord { actor: caller.user.to_string(), key, digest, status: 200 });
    Context { actor: Actor::User(caller.user), request, record }
}
