//! Sign-in: `POST /auth/login`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use platform::auth::cookie;
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Actor, AppendError, CommitError, Committed, Context};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::UserId;
use schemas::auth::PasswordReason;
use serde::Deserialize;
use serde_json::json;

use super::Auth;
use super::account::{Account, AccountCommand};
use super::hasher::{Busy, is_outdated};
use super::identity::{email_digest, lockout_subject};
use super::kept::{claim_credentials, credentials_changed, known_by, put_password};
use super::lockout::{Failed, LOCKED_FOR, Locked};
use super::opening::{Opening, SignedIn, after};
use super::view::AccountView;

/// No password is longer: what is need not be hashed to be wrong.
const LONGEST: usize = 1024;
/// How often the stored hash may change while we look at it.
const ATTEMPTS: u32 = 3;

/// Who somebody says to be, and how they prove it.
#[derive(Deserialize, JsonSchema)]
pub struct Login {
    /// Compared without case.
    email: String,
    /// As it was chosen.
    password: String,
}

impl Validate for Login {
    /// Whatever it is, it can only be wrong.
    fn validate(&self) -> Result<(), Violations> {
        Ok(())
    }
}

/// Why a sign-in is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// Nobody has this address, or another password. Which of them is not said, nor to be seen from the time it takes.
    #[error("Invalid credentials")]
    Wrong,
}

impl From<LoginRefused> for Problem {
    fn from(refused: LoginRefused) -> Self {
        match refused {
            LoginRefused::Wrong => Self::new(StatusCode::UNAUTHORIZED, "invalid_credentials", refused.to_string()),
        }
    }
}

/// Whether a password is the right one.
pub(super) enum Judged {
    Right,
    Wrong,
}

/// Looks at a password and counts what comes of it; 429 when the account is locked, whatever the password. The same work whether or not somebody is there.
pub(super) async fn judge(
    auth: &Auth,
    email: &str,
    user: Option<UserId>,
    stored: Option<String>,
    password: String,
) -> Result<Judged, Problem> {
    let subject = lockout_subject(auth.ledger.vault(), email, stored.as_deref());
    auth.lockout.begins(&subject).await?;
    let too_long = password.chars().count() > LONGEST;
    let right = auth.hasher.verify(if too_long { String::new() } else { password }, stored).await? && !too_long;
    if right {
        auth.lockout.succeeded(&subject).await?;
        return Ok(Judged::Right);
    }
    if auth.lockout.failed(&subject).await? == Failed::LockedNow
        && let Some(user) = user
    {
        // Not waited for: that there is somebody to lock must not show in the time it takes.
        auth.shutdown.spawn(record_lock(auth.clone(), user));
    }
    Ok(Judged::Wrong)
}

/// For the audit; the lock itself holds without it.
async fn record_lock(auth: Auth, user: UserId) {
    let lock = async {
        let mut unit = auth.ledger.unit(Context { actor: Actor::System, request: RequestContext::of_system(), record: None });
        unit.execute::<Account>(user, AccountCommand::Lock { user_id: user, until: after(LOCKED_FOR) }, &()).await?;
        unit.commit().await
    };
    if let Err(error) = lock.await {
        tracing::error!(actor.id = %user, error = &error as &dyn std::error::Error, "an account is locked, and its ledger does not say so");
    }
}

/// Opens a session for whoever knows the password.
async fn login(auth: Auth, request: RequestContext, body: Login) -> Result<(Committed, SignedIn), Problem> {
    let email_key = email_digest(auth.ledger.vault(), &body.email);
    for _ in 0..ATTEMPTS {
        // The same look-up and the same hash, whether or not somebody is there.
        let (user, stored) = known_by(&auth.ledger, &email_key).await?;
        let judged = judge(&auth, &body.email, user, stored.clone(), body.password.clone()).await?;
        let (Some(user), Some(stored), Judged::Right) = (user, stored, judged) else { return Err(LoginRefused::Wrong.into()) };
        // A hash of yesterday is replaced while the password is at hand; when the hasher has no time for it, another time.
        let hashed_anew = if is_outdated(&stored) { auth.hasher.hash(body.password.clone()).await.ok() } else { None };
        let (shutdown, auth, request) = (auth.shutdown.clone(), auth.clone(), request.clone());
        let opened = detached(&shutdown, open(auth, request, user, stored, hashed_anew)).await?;
        if let Some(opened) = opened {
            return Ok(opened);
        }
    }
    Err(LoginRefused::Wrong.into())
}

/// `None`: the password has been changed, or hashed anew, since it was looked at.
async fn open(
    auth: Auth,
    request: RequestContext,
    user: UserId,
    stored: String,
    hashed_anew: Option<String>,
) -> Result<Option<(Committed, SignedIn)>, Problem> {
    let mut account = AccountView::load(&auth.ledger, user).await?.ok_or(LoginRefused::Wrong)?;
    auth.portraits.complete(&mut account).await;
    let opening = Opening::of(&auth, user, account.role, &request)?;
    let mut unit = auth.ledger.unit(Context::of_user(user, request));
    opening.join(&mut unit, hashed_anew.as_deref().unwrap_or(&stored)).await?;
    match hashed_anew {
        None => drop(unit.effect(claim_credentials(user, &stored))),
        Some(hash) => {
            let rehashed = AccountCommand::ChangePassword { user_id: user, reason: PasswordReason::Rehashed };
            unit.execute::<Account>(user, rehashed, &()).await?;
            for effect in put_password(user, Some(&stored), hash) {
                unit.effect(effect);
            }
        }
    }
    match unit.commit().await {
        Ok(committed) => Ok(Some((committed, opening.answer(account, false)))),
        Err(CommitError::Ledger(AppendError::Reserved { kind, .. })) if credentials_changed(&kind) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/login", http_login)
        .says(
            "auth.login",
            "Sign in",
            "Opens a session. An address that nobody has and a wrong password are refused alike, in the same time. The answer hands out tokens, so it is not kept for \
             an `Idempotency-Key`: a repeat opens another session.",
        )
        .refuses([LoginRefused::Wrong])
        .refuses([Locked(LOCKED_FOR)])
        .counts_address(Class::Logins)
        .refuses([Busy::Full])
        .example(json!({"email": "ann@example.org", "password": "correct horse battery"}))
}

async fn http_login(
    State(auth): State<Auth>,
    request: RequestContext,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<Login>,
) -> Result<Written<(HeaderMap, Json<SignedIn>)>, Problem> {
    let (committed, signed_in) = login(auth, request, body).await?;
    let cookie = cookie::header(signed_in.tokens.cookie()?);
    Ok(Written(committed.token, (cookie, Json(signed_in))))
}
