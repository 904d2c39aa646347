//! Registration: `POST /auth/register`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use platform::auth::cookie;
use platform::http::api::{Route, post};
use platform::http::{IdempotencyKey, Problem, RequestContext, Valid, Validate, Violations, Written, detached};
use platform::ledger::{AppendError, CommitError, Committed, Context, Effect};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::{Event, UserId};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::Auth;
use super::account::{Account, AccountCommand, AccountRefused};
use super::hasher::Busy;
use super::identity::{self, EMAIL, USERNAME, check_email, check_username, email_digest, username_digest};
use super::kept::put_password;
use super::opening::{Opening, SignedIn};
use super::password::check_password;
use super::public_key::{PUBLIC_KEY_LIMIT, public_key};
use super::view::AccountView;

/// What somebody says of themselves. A `role` is not heard.
#[derive(Deserialize, JsonSchema)]
pub struct Register {
    /// Where they can be reached; how they sign in. Compared without case.
    #[schemars(email, length(max = 254))]
    email: String,
    /// How others see them: 3 to 50 characters, without control characters, the space around them not counted. Compared without case.
    #[schemars(regex(pattern = identity::USERNAME_PATTERN))]
    username: String,
    /// 8 to 1024 characters.
    #[schemars(length(min = 8, max = 1024))]
    password: String,
    /// As they want to be called.
    #[schemars(length(max = 255))]
    full_name: Option<String>,
    /// base64 of a JWK, of the device at hand: what others encrypt for.
    #[schemars(length(max = 16384))]
    public_key: Option<String>,
}

impl Validate for Register {
    fn validate(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        check_email(&mut violations, &self.email);
        check_username(&mut violations, &self.username);
        check_password(&mut violations, "password", &self.password);
        violations
            .when(self.full_name.as_ref().is_some_and(|name| name.chars().count() > 255), "full_name", "must have at most 255 characters")
            .when(self.public_key.as_ref().is_some_and(|key| key.len() > PUBLIC_KEY_LIMIT), "public_key", "must have at most 16 KiB")
            .finish()
    }
}

/// Why a registration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RegisterRefused {
    /// The address or the name is somebody's. Which of them is not said.
    #[error("User with this email or username already exists")]
    Taken,
}

impl From<RegisterRefused> for Problem {
    fn from(refused: RegisterRefused) -> Self {
        match refused {
            RegisterRefused::Taken => Self::bad_request("already_exists", refused.to_string()),
        }
    }
}

impl From<AccountRefused> for Problem {
    fn from(refused: AccountRefused) -> Self {
        match refused {
            AccountRefused::Exists => RegisterRefused::Taken.into(),
            // A token may outlive its account.
            AccountRefused::Unknown => Self::unauthenticated(),
            AccountRefused::Renamed => Self::conflict("conflict", refused.to_string()),
        }
    }
}

/// Makes an account with its first session, in one append. Of many who want the same address or name at once, one gets it.
///
/// A repeat is refused like anybody's: what was handed out is never stored, so it cannot be handed out again.
async fn register(auth: Auth, request: RequestContext, body: Register) -> Result<(Committed, SignedIn), Problem> {
    let vault = auth.ledger.vault();
    let (email_key, username_key) = (email_digest(vault, &body.email), username_digest(vault, &body.username));
    // Whoever comes too late needs no hash; that nobody else comes in between is for the commit to see.
    for (kind, key) in [(EMAIL, &email_key), (USERNAME, &username_key)] {
        if auth.ledger.owner_of(kind, key).await?.is_some() {
            return Err(RegisterRefused::Taken.into());
        }
    }
    let hash = auth.hasher.hash(body.password).await?;
    let user = UserId(Uuid::now_v7());
    let command = AccountCommand::Register {
        user_id: user,
        email: body.email.trim().to_owned(),
        username: body.username.trim().to_owned(),
        full_name: body.full_name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()),
        public_key: body.public_key.filter(|key| !key.is_empty()).map(public_key),
    };
    let shutdown = auth.shutdown.clone();
    detached(&shutdown, async move {
        let opening = Opening::of(&auth, user, schemas::auth::Role::User.as_str(), &request)?;
        let mut unit = auth.ledger.unit(Context::of_user(user, request));
        unit.create::<Account>(user, command, &()).await?;
        let owner = user.to_string();
        unit.effect(Effect::Claim { kind: identity::EMAIL, key: email_key, owner: owner.clone(), expires_at: None });
        unit.effect(Effect::Claim { kind: identity::USERNAME, key: username_key, owner, expires_at: None });
        opening.join(&mut unit, &hash).await?;
        for effect in put_password(user, None, hash) {
            unit.effect(effect);
        }
        let committed = unit.commit().await.map_err(|error| match error {
            CommitError::Ledger(AppendError::Reserved { .. }) => RegisterRefused::Taken.into(),
            other => Problem::from(other),
        })?;
        let of_account: Vec<_> =
            committed.events.iter().filter(|event| event.aggregate_type == schemas::auth::AccountEvent::AGGREGATE).cloned().collect();
        let account = AccountView::of(&of_account, auth.ledger.vault()).await?.ok_or_else(Problem::internal)?;
        Ok((committed, opening.answer(account, true)))
    })
    .await
}

pub(super) fn route() -> Route<Auth> {
    post("/auth/register", http_register)
        .says(
            "auth.register",
            "Make an account",
            "Makes an account and signs in. Every account begins with the role `user`, whatever the body says. The answer hands out tokens, so it is not kept for an \
             `Idempotency-Key`: a repeat finds that the account exists.",
        )
        .refuses([RegisterRefused::Taken])
        .counts_address(Class::Registrations)
        .refuses([Busy::Full])
        .example(json!({"email": "ann@example.org", "username": "ann", "password": "correct horse battery", "full_name": "Ann Example"}))
}

async fn http_register(
    State(auth): State<Auth>,
    request: RequestContext,
    _checked: IdempotencyKey,
    Valid { body, .. }: Valid<Register>,
) -> Result<Written<(HeaderMap, Json<SignedIn>)>, Problem> {
    let (committed, signed_in) = register(auth, request, body).await?;
    let cookie = cookie::header(signed_in.tokens.cookie()?);
    Ok(Written(committed.token, (cookie, Json(signed_in))))
}
