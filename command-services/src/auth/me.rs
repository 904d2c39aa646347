//! Oneself: `GET /auth/me`. From auth's own ledger; name, picture and bio from its own copy of what people say of themselves. It never fails for the lag of that copy.

use axum::extract::State;
use axum::{Extension, Json};
use platform::auth::Caller;
use platform::fresh::Behind;
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

pub(super) async fn http_me(State(auth): State<Auth>, caller: Caller, behind: Option<Extension<Behind>>) -> Result<Json<Me>, Problem> {
    // A token may outlive its account.
    let mut account = AccountView::load(&auth.ledger, caller.user).await?.ok_or_else(Problem::unauthenticated)?;
    if !auth.portraits.complete(&mut account).await
        && let Some(Extension(behind)) = behind
    {
        behind.set();
    }
    Ok(Json(Me {
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
    }))
}
