//! How people present themselves, from auth's own copy of `users.events`: what completes an account when it is shown to its user.

use std::time::Duration;

use platform::fresh::Freshness;
use schemas::read_models::{self, ReadModel};

use super::view::AccountView;

/// How long a look-up may take, with the wait for a connection.
const BOUND: Duration = Duration::from_millis(500);

/// The copy. Nothing fails for its sake: while it cannot be read, an account is shown as it registered. Clones share it.
#[derive(Debug, Clone)]
pub struct Portraits {
    freshness: Freshness,
}

impl Portraits {
    /// `freshness` must hold the pool of `auth_db`.
    #[must_use]
    pub fn new(freshness: Freshness) -> Self {
        Self { freshness }
    }

    /// Puts what somebody said of themselves over what they registered with. Whether it is all that they said; when not, it is what could be had.
    pub(super) async fn complete(&self, account: &mut AccountView) -> bool {
        let settled = self.freshness.settle::<read_models::Portraits>(&[account.id]).await;
        let Some(pool) = self.freshness.pools.get(read_models::Portraits::SERVICE) else { return false };
        let query =
            sqlx::query!("SELECT full_name_set, full_name, bio, avatar_url FROM portraits.portraits WHERE user_id = $1", account.id.0);
        let portrait = match tokio::time::timeout(BOUND, query.fetch_optional(pool)).await {
            Ok(Ok(portrait)) => portrait,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the copy of how people present themselves did not answer; an account is shown without it");
                return false;
            }
            Err(_) => {
                tracing::warn!(bound_ms = BOUND.as_millis(), "the copy of how people present themselves did not answer in time");
                return false;
            }
        };
        if let Some(portrait) = portrait {
            if portrait.full_name_set {
                account.full_name = portrait.full_name;
            }
            account.bio = portrait.bio;
            account.avatar_url = portrait.avatar_url;
        }
        settled
    }
}
