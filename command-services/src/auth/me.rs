//! Oneself: `GET /auth/me`. From auth's own ledger, so that it never fails for the lag of a projection.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::http::Problem;
use schemas::{Timestamp, UserId};
use serde::Serialize;

use super::Auth;
use super::view::AccountView;

/// The caller's account. The order of fields is the monolith's.
#[derive(Debug, Serialize)]
pub struct Me {
    id: UserId,
    email: Option<String>,
    username: String,
    full_name: Option<String>,
    is_active: bool,
    avatar_url: Option<String>,
    bio: Option<String>,
    is_verified: bool,
    created_at: Timestamp,
    public_key: Option<String>,
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
            avatar_url: None,
            bio: None,
            is_verified: false,
            created_at: account.created_at,
            public_key: account.public_key,
            role: account.role,
        }
    }
}

pub(super) async fn http_me(State(auth): State<Auth>, caller: Caller) -> Result<Json<Me>, Problem> {
    // A token may outlive its account.
    let account = AccountView::load(&auth.ledger, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    Ok(Json(account.into()))
}
