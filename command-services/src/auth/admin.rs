//! What an operator does to accounts from the command line, beside the running processes or without any: the same commands, appended as `system`.

use platform::auth::Revocations;
use platform::http::RequestContext;
use platform::ledger::{Actor, AppendError, CommitError, Context, ExecuteError, Ledger};
use schemas::auth::{PasswordReason, RevocationReason, Role};
use schemas::{SessionId, Timestamp, UserId};

use super::account::{Account, AccountCommand, AccountRefused};
use super::ending::{end_latecomers, end_others};
use super::identity::{EMAIL, email_digest};
use super::kept::{credentials_changed, password_of, put_password};
use super::opening::random_token;
use super::session::SessionRefused;
use super::{Busy, Hasher, Lifetimes};

/// How often a sign-in or its user may be quicker.
const ATTEMPTS: u32 = 8;
/// The shortest and the longest password, in characters.
pub const PASSWORD_LENGTH: std::ops::RangeInclusive<usize> = 8..=1024;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody has this address.
    #[error("there is no account with this address")]
    Unknown,
    /// The new password is too short or too long.
    #[error("a password has 8 to 1024 characters")]
    PasswordLength,
    /// Somebody else changed it again and again.
    #[error("the account is being changed by somebody else; try again")]
    Contended,
    /// It could not be hashed.
    #[error(transparent)]
    Hasher(#[from] Busy),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// The ledger did not answer, or holds what this release cannot read.
    #[error("the ledger did not take it")]
    Ledger(#[source] Box<CommitError>),
}

impl From<CommitError> for AdminError {
    fn from(error: CommitError) -> Self {
        Self::Ledger(Box::new(error))
    }
}

impl From<AppendError> for AdminError {
    fn from(error: AppendError) -> Self {
        CommitError::from(error).into()
    }
}

impl From<ExecuteError<AccountRefused>> for AdminError {
    fn from(error: ExecuteError<AccountRefused>) -> Self {
        match error {
            ExecuteError::Refused(_) => Self::Unknown,
            other => CommitError::from(other).into(),
        }
    }
}

impl From<ExecuteError<SessionRefused>> for AdminError {
    fn from(error: ExecuteError<SessionRefused>) -> Self {
        CommitError::from(error).into()
    }
}

/// What became of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// It has the role from now on.
    Now(UserId),
    /// It had it before.
    Already(UserId),
}

/// A password that was set anew. `Debug` is left out on purpose.
#[expect(missing_debug_implementations, reason = "a password must not reach a log line")]
pub struct Reset {
    /// Whose.
    pub user: UserId,
    /// The new password, when it was drawn here.
    pub drawn: Option<String>,
    /// The sessions that ended, and when the last token of each would have.
    pub ended: Vec<(SessionId, Timestamp)>,
}

async fn user_of(ledger: &Ledger, email: &str) -> Result<UserId, AdminError> {
    let owner = ledger.owner_of(EMAIL, &email_digest(ledger.vault(), email)).await?;
    owner.and_then(|owner| owner.parse().ok()).ok_or(AdminError::Unknown)
}

fn context() -> Context {
    Context { actor: Actor::System, request: RequestContext::of_system(), record: None }
}

/// Gives an account a role. Tokens that exist say the old one until they end or are refreshed.
///
/// # Errors
/// [`AdminError`]
pub async fn grant(ledger: &Ledger, email: &str, role: Role) -> Result<Granted, AdminError> {
    let user = user_of(ledger, email).await?;
    let mut unit = ledger.unit(context());
    unit.execute::<Account>(user, AccountCommand::ChangeRole { user_id: user, role }, &()).await?;
    if unit.is_empty() {
        return Ok(Granted::Already(user));
    }
    unit.commit().await?;
    Ok(Granted::Now(user))
}

/// Sets an account's password to the one given, or to one drawn here; ends all its sessions and lifts its lock.
///
/// What ended still has to be announced ([`announce`]).
///
/// # Errors
/// [`AdminError`]
pub async fn reset_password(
    ledger: &Ledger,
    hasher: &Hasher,
    lifetimes: Lifetimes,
    email: &str,
    given: Option<String>,
) -> Result<Reset, AdminError> {
    let user = user_of(ledger, email).await?;
    let drawn = match &given {
        Some(given) if !PASSWORD_LENGTH.contains(&given.chars().count()) => return Err(AdminError::PasswordLength),
        Some(_) => None,
        None => Some(random_token().map_err(|_| AdminError::Random)?.chars().take(20).collect::<String>()),
    };
    let hash = hasher.hash(given.or_else(|| drawn.clone()).unwrap_or_default()).await?;
    for _ in 0..ATTEMPTS {
        let stored = password_of(ledger, user).await?;
        let mut unit = ledger.unit(context());
        let reset = AccountCommand::ChangePassword { user_id: user, reason: PasswordReason::Reset };
        unit.execute::<Account>(user, reset, &()).await?;
        for effect in put_password(user, stored.as_deref(), hash.clone()) {
            unit.effect(effect);
        }
        let whose = (user, None, None);
        let mut ended = end_others(ledger, lifetimes, &mut unit, whose, RevocationReason::PasswordChanged).await?;
        match unit.commit().await {
            Ok(_) => {
                ended.extend(end_latecomers(ledger, lifetimes, context(), (user, None, &hash)).await?);
                return Ok(Reset { user, drawn, ended });
            }
            Err(CommitError::Ledger(AppendError::Reserved { kind, .. })) if credentials_changed(&kind) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(AdminError::Contended)
}

/// Makes the sessions that a reset has ended known to the processes that run. Whether all of them could be told; else they learn of it from the ledger, within minutes.
pub async fn announce(revocations: &Revocations, ended: &[(SessionId, Timestamp)]) -> bool {
    super::ending::announce(revocations, ended).await.is_ok()
}
