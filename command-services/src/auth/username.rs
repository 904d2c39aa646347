//! Another name: `PUT /auth/username`.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::api::{Route, put};
use platform::http::{Params, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{AppendError, CommitError, Committed, Context, Effect, ExecuteError};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::Auth;
use super::account::{Account, AccountCommand, AccountRefused};
use super::identity::{self, USERNAME, check_username, username_digest};
use super::me::Me;
use super::register::RegisterRefused;
use super::view::{AccountView, account_unreadable};

/// How often another change of the same account may come first.
const ATTEMPTS: u32 = 8;

/// What the caller wants to be called.
#[derive(Deserialize, JsonSchema)]
pub struct PutUsername {
    /// 3 to 50 characters. The one before it is free at once.
    #[schemars(regex(pattern = identity::USERNAME_PATTERN))]
    username: String,
}

impl Validate for PutUsername {
    fn validate(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        check_username(&mut violations, &self.username);
        violations.finish()
    }
}

/// Gives the old name back and takes the new one, in one append. Of many who want the same name at once, one gets it.
async fn change(auth: Auth, caller: Caller, request: RequestContext, to: String) -> Result<(Committed, Me), Problem> {
    let (vault, owner) = (auth.ledger.vault(), caller.user.to_string());
    let new_key = username_digest(vault, &to);
    for _ in 0..ATTEMPTS {
        // A token may outlive its account.
        let account = AccountView::load(&auth.ledger, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
        let old_key = username_digest(vault, &account.username);
        let mut unit = auth.ledger.unit(Context::of_user(caller.user, request.clone()));
        let rename = AccountCommand::ChangeUsername { user_id: caller.user, from: account.username.clone(), to: to.clone() };
        match unit.execute::<Account>(caller.user, rename, &()).await {
            Ok(_) => {}
            Err(ExecuteError::Refused(AccountRefused::Renamed)) => continue,
            Err(error) => return Err(error.into()),
        }
        if unit.is_empty() {
            return Ok((unit.found(Vec::new()).await, account.into()));
        }
        if old_key != new_key {
            unit.effect(Effect::Release { kind: USERNAME, key: old_key, owner: owner.clone() });
        }
        unit.effect(Effect::Claim { kind: USERNAME, key: new_key.clone(), owner: owner.clone(), expires_at: None });
        match unit.commit().await {
            Ok(committed) => return Ok((committed, AccountView { username: to, ..account }.into())),
            Err(CommitError::Ledger(AppendError::Reserved { .. })) => return Err(RegisterRefused::Taken.into()),
            Err(error) => match error.refused::<AccountRefused>() {
                Ok(AccountRefused::Renamed) => {}
                Ok(refused) => return Err(refused.into()),
                Err(error) => return Err(error.into()),
            },
        }
    }
    Err(changed_meanwhile())
}

pub(super) fn changed_meanwhile() -> Problem {
    Problem::conflict("conflict", "Somebody else changed this at the same time")
}

pub(super) fn route() -> Route<Auth> {
    put("/auth/username", http_username)
        .says("auth.putUsername", "Another name", "Changes the name that others see. The old one is free at once.")
        .refuses([RegisterRefused::Taken])
        .refuses([account_unreadable(), changed_meanwhile()])
        .example(json!({"username": "ann.example"}))
}

async fn http_username(
    State(auth): State<Auth>,
    caller: Caller,
    params: Params,
    request: RequestContext,
    Valid { body, .. }: Valid<PutUsername>,
) -> Result<Written<Json<Me>>, Problem> {
    params.must_be(&caller)?;
    let shutdown = auth.shutdown.clone();
    let (committed, me) = detached(&shutdown, change(auth, caller, request, body.username.trim().to_owned())).await?;
    Ok(Written(committed.token, Json(me)))
}
