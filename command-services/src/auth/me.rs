//! Oneself: `GET /auth/me`. From auth's own ledger; name, picture and bio from its own copy of what people say of themselves. It never fails for the lag of that copy.

use axum::extract::State;
use axum::{Extension, Json};
use platform::auth::Caller;
use platform::fresh::Behind;
use platform::http::api::{Route, get};
use platform::http::{Params, Problem};
use platform::limits::Class;
use schemars::JsonSchema;
use schemas::{Timestamp, UserId};
use serde::Serialize;

use super::Auth;
use super::view::{AccountView, account_unreadable};

/// The caller's account. The order of fields is the monolith's.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Me {
    /// The caller.
    id: UserId,
    /// How they sign in; `null` for a guest.
    email: Option<String>,
    /// How others see them.
    username: String,
    /// As they want to be called.
    full_name: Option<String>,
    /// Whether the account may be used.
    is_active: bool,
    /// A picture of them.
    avatar_url: Option<String>,
    /// What they say of themselves.
    bio: Option<String>,
    /// Whether the address was proved to be theirs.
    is_verified: bool,
    /// Since when there is this account.
    created_at: Timestamp,
    /// base64 of a JWK: the key that others encrypt for.
    public_key: Option<String>,
    /// `user`, `admin` or `guest`.
    role: &'static str,
}

impl From<AccountView> for Me {
    fn from(account: AccountView) -> Self {
        Self {
            id: account.id,
            email: account.email,
            username: account.username,
            full_name: account.full_name,
            is_active: true,
            avatar_url: account.avatar_url,
            bio: account.bio,
            is_verified: false,
            created_at: account.created_at,
            public_key: account.public_key,
            role: account.role,
        }
    }
}

pub(super) fn route() -> Route<Auth> {
    get("/auth/me", http_me)
        .says(
            "auth.me",
            "Who am I",
            "The caller's own account. Never fails because a read model is behind, and is never limited below what one busy client needs.",
        )
        .counts(Class::Vital)
        .refuses([account_unreadable()])
}

async fn http_me(State(auth): State<Auth>, caller: Caller, params: Params, behind: Option<Extension<Behind>>) -> Result<Json<Me>, Problem> {
    params.must_be(&caller)?;
    // A token may outlive its account.
    let mut account = AccountView::load(&auth.ledger, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    if !auth.portraits.complete(&mut account).await
        && let Some(Extension(behind)) = behind
    {
        behind.set();
    }
    Ok(Json(account.into()))
}
