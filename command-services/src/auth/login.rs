//! Sign-in: `POST /auth/login`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{Actor, Committed, Context};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::UserId;
use serde::Deserialize;
use serde_json::json;

use super::Auth;
use super::hasher::Busy;
use super::identity::{EMAIL, email_digest};
use super::opening::{Opening, SignedIn};
use super::view::AccountView;

/// Secrets: of a user, the password's PHC string.
pub(super) const PASSWORD: &str = "password";
/// No password is longer: what is need not be hashed to be wrong.
const LONGEST: usize = 1024;

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

/// Opens a session for whoever knows the password.
async fn login(auth: Auth, request: RequestContext, body: Login) -> Result<(Committed, SignedIn), Problem> {
    let email_key = email_digest(auth.ledger.vault(), &body.email);
    let owner = auth.ledger.owner_of(EMAIL, &email_key).await?;
    // The same look-ups and the same hash, whether or not somebody is there.
    let user: Option<UserId> = owner.and_then(|owner| owner.parse().ok());
    let hash = auth.ledger.secret(PASSWORD, &user.map(|user| user.to_string()).unwrap_or_default()).await?;
    let hash = hash.and_then(|hash| String::from_utf8(hash).ok());
    let too_long = body.password.chars().count() > LONGEST;
    let password = if too_long { String::new() } else { body.password };
    let right = auth.hasher.verify(password, hash).await? && !too_long;
    let (Some(user), true) = (user, right) else { return Err(LoginRefused::Wrong.into()) };
    let shutdown = auth.shutdown.clone();
    detached(&shutdown, async move {
        let account = AccountView::load(&auth.ledger, user).await?.ok_or(LoginRefused::Wrong)?;
        let opening = Opening::of(&auth, user, account.role, &request)?;
        let mut unit = auth.ledger.unit(Context { actor: Actor::User(user), request, record: None });
        opening.join(&auth, &mut unit).await?;
        let committed = unit.commit().await?;
        Ok((committed, opening.answer(account, false)))
    })
    .await
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
        .counts_address(Class::Logins)
        .refuses([Busy::Full])
        .example(json!({"email": "ann@example.org", "password": "correct horse battery"}))
}

async fn http_login(
    State(auth): State<Auth>,
    request: RequestContext,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<Login>,
) -> Result<Written<Json<SignedIn>>, Problem> {
    let (committed, signed_in) = login(auth, request, body).await?;
    Ok(Written(committed.token, Json(signed_in)))
}
