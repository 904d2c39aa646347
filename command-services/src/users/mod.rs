//! How people present themselves, whom they know, and whom they keep away.
//!
//! * commands: `update` a profile · `settings` · `key_backup` · `add` and `remove` a contact · `block` and unblock
//! * aggregates: `profile` · `contact` · `barrier` (the event contract's `block`)
//! * `people` who exists, and what is shown of them, from the service's own read models

mod add;
mod barrier;
mod block;
mod contact;
mod key_backup;
mod people;
mod profile;
mod remove;
mod settings;
mod update;

use axum::extract::FromRef;
use platform::auth::{Caller, Tokens};
use platform::frames::FrameLog;
use platform::fresh::Freshness;
use platform::http::api::Api;
use platform::http::{IdempotencyKey, RequestContext};
use platform::ledger::{CommandRecord, Context, Ledger};
use platform::presence::Presence;
use platform::shutdown::Shutdown;

use people::People;

/// What the commands of this service need. Clones share it.
#[derive(Debug, Clone)]
pub struct Users {
    /// Its ledger.
    ledger: Ledger,
    /// Who exists.
    people: People,
    /// Who is to hear that somebody lets others see them.
    presence: Presence,
    /// Who is to hear at once that nothing comes any more from somebody.
    frames: FrameLog,
    /// Whom to believe.
    tokens: Tokens,
    /// Who waits for commands that are under way.
    shutdown: Shutdown,
}

impl Users {
    /// On the users ledger; `freshness` must hold the pool of `user_db`, where the read models stand.
    #[must_use]
    pub fn new(ledger: Ledger, freshness: Freshness, presence: Presence, frames: FrameLog, tokens: Tokens, shutdown: Shutdown) -> Self {
        Self { ledger, people: People::new(freshness, presence.clone()), presence, frames, tokens, shutdown }
    }
}

impl FromRef<Users> for Tokens {
    fn from_ref(users: &Users) -> Self {
        users.tokens.clone()
    }
}

/// Every command of this service, below `/api/v1`.
pub fn router(users: Users) -> Api {
    let routes = Api::new()
        .merge(update::routes())
        .merge(settings::routes())
        .merge(key_backup::routes())
        .merge(add::routes())
        .merge(remove::routes())
        .merge(block::routes());
    routes.nest("/api/v1").with_state(users)
}

/// Why and by whom a command runs, with a record of its answer when the client sent a key for it.
fn recorded(caller: &Caller, request: RequestContext, key: IdempotencyKey, body: &[u8; 32], status: u16) -> Context {
    let digest = key.digest(body);
    let record = key.key.map(|key| CommandRecord { actor: caller.user.to_string(), key, digest, status });
    Context { record, ..Context::of_user(caller.user, request) }
}
