//! Another password: `POST /auth/password/change`.

use axum::extract::State;
use axum::response::NoContent;
use platform::auth::{Caller, NotYetRevoked};
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{AppendError, CommandRecord, CommitError, Committed, Context};
use platform::vault::Vault;
use schemars::JsonSchema;
use schemas::UserId;
use schemas::auth::{PasswordReason, RevocationReason};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Auth;
use super::account::{Account, AccountCommand};
use super::ending::{announce, announce_again, end_latecomers, end_others, revocation_pending};
use super::hasher::Busy;
use super::kept::{credentials_changed, password_of, put_password};
use super::lockout::Locked;
use super::login::{Judged, judge};
use super::username::changed_meanwhile;
use super::view::{AccountView, account_unreadable};

/// How often the stored hash may change while we look at it.
const ATTEMPTS: u32 = 3;

/// The old password and the new one.
#[derive(Deserialize, JsonSchema)]
pub struct ChangePassword {
    /// As it is. Wrong ones count like failed sign-ins.
    current_password: String,
    /// 8 to 1024 characters.
    #[schemars(length(min = 8, max = 1024))]
    new_password: String,
}

impl Validate for ChangePassword {
    fn validate(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        check_password(&mut violations, "new_password", &self.new_password);
        violations.finish()
    }
}

/// Checks a password that is to be.
pub(super) fn check_password(violations: &mut Violations, field: &'static str, password: &str) {
    violations.when(!(8..=1024).contains(&password.chars().count()), field, "must have 8 to 1024 characters");
}

/// Why a password is not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    /// The current password is another one. Not 401: the caller is signed in all the same.
    #[error("The current password is not right")]
    Wrong,
}

impl From<ChangeRefused> for Problem {
    fn from(refused: ChangeRefused) -> Self {
        match refused {
            ChangeRefused::Wrong => Self::forbidden("wrong_password", refused.to_string()),
        }
    }
}

/// A repeat under this key is told by a keyed digest: a plain one of a body with a password in it would be that password's fast hash.
fn record(vault: &Vault, user: UserId, key: &IdempotencyKey, sha256: &[u8; 32]) -> Option<CommandRecord> {
    let digest = key.digest(sha256).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let digest = Sha256::digest(vault.digest("command.v1", &digest)).into();
    key.key.clone().map(|key| CommandRecord { actor: user.to_string(), key, digest, status: 204 })
}

/// Stores another password and ends every other session of its user, in one append.
///
/// Safe to repeat: who gives as the new password what it is by now has done so before, and completes what Redis could not take.
async fn change(
    auth: Auth,
    caller: Caller,
    request: RequestContext,
    body: ChangePassword,
    record: Option<CommandRecord>,
) -> Result<Committed, Problem> {
    // A token may outlive its account.
    let account = AccountView::load(&auth.ledger, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    let email = account.email.unwrap_or_default();
    let context = Context::of_user(caller.user, request);
    for _ in 0..ATTEMPTS {
        let mut unit = auth.ledger.unit(Context { record: record.clone(), ..context.clone() });
        let stored = password_of(&auth.ledger, caller.user).await?;
        match judge(&auth, &email, Some(caller.user), stored.clone(), body.current_password.clone()).await? {
            Judged::Right => {}
            Judged::Wrong => {
                let again = unit.answered().await?;
                let already = again.is_some() || auth.hasher.verify(body.new_password.clone(), stored.clone()).await?;
                if !already {
                    return Err(ChangeRefused::Wrong.into());
                }
                if let Some(hash) = stored.filter(|_| again.is_none()) {
                    end_latecomers(&auth.ledger, auth.lifetimes, context, (caller.user, Some(caller.session), &hash)).await?;
                }
                announce_again(&auth.ledger, &auth.revocations, caller.user).await?;
                return match again {
                    Some(again) => Ok(again),
                    None => Ok(unit.found(Vec::new()).await),
                };
            }
        }
        let hash = auth.hasher.hash(body.new_password.clone()).await?;
        let changed = AccountCommand::ChangePassword { user_id: caller.user, reason: PasswordReason::Changed };
        unit.execute::<Account>(caller.user, changed, &()).await?;
        for effect in put_password(caller.user, stored.as_deref(), hash.clone()) {
            unit.effect(effect);
        }
        let but = (caller.user, Some(caller.session), None);
        let mut ended = end_others(&auth.ledger, auth.lifetimes, &mut unit, but, RevocationReason::PasswordChanged).await?;
        match unit.commit().await {
            Ok(committed) if committed.again => {
                announce_again(&auth.ledger, &auth.revocations, caller.user).await?;
                return Ok(committed);
            }
            Ok(committed) => {
                let whose = (caller.user, Some(caller.session), hash.as_str());
                ended.extend(end_latecomers(&auth.ledger, auth.lifetimes, context, whose).await?);
                announce(&auth.revocations, &ended).await?;
                return Ok(committed);
            }
            // Changed, or hashed anew, since it was read: what is there now decides.
            Err(CommitError::Ledger(AppendError::Reserved { kind, .. })) if credentials_changed(&kind) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(changed_meanwhile())
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/password/change", http_change)
        .says(
            "auth.changePassword",
            "Another password",
            "Changes the caller's password and ends every other session of theirs: from the answer on, their tokens are refused everywhere. Wrong current passwords count like failed sign-ins.",
        )
        .refuses([ChangeRefused::Wrong])
        .refuses([Busy::Full])
        .refuses([Locked(super::lockout::LOCKED_FOR)])
        .refuses([account_unreadable(), changed_meanwhile(), revocation_pending(NotYetRevoked)])
        .example(json!({"current_password": "correct horse battery", "new_password": "battery staple horse"}))
}

async fn http_change(
    State(auth): State<Auth>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    key: IdempotencyKey,
    Valid { body, sha256 }: Valid<ChangePassword>,
) -> Result<Written<NoContent>, Problem> {
    params.must_be(&caller)?;
    let record = record(auth.ledger.vault(), caller.user, &key, &sha256);
    let shutdown = auth.shutdown.clone();
    let committed = detached(&shutdown, change(auth, caller, request, body, record)).await?;
    Ok(Written(committed.token, NoContent))
}
