//! An account as its user sees it, read from auth's own ledger.

use platform::http::Problem;
use platform::ledger::Ledger;
use platform::vault::{Vault, VaultError};
use schemas::auth::{AccountEvent, AccountRegistered};
use schemas::{Event, Personal, Recorded, Timestamp, UserId};

/// The account of a user.
#[derive(Debug, Clone)]
pub(super) struct AccountView {
    pub(super) id: UserId,
    pub(super) email: Option<String>,
    pub(super) username: String,
    pub(super) full_name: Option<String>,
    /// As [`super::Portraits`] has it; nobody registers with one.
    pub(super) avatar_url: Option<String>,
    /// The same.
    pub(super) bio: Option<String>,
    pub(super) role: &'static str,
    pub(super) public_key: Option<String>,
    pub(super) created_at: Timestamp,
}

impl AccountView {
    /// `None` when there is no such account, or it was erased.
    pub(super) async fn load(ledger: &Ledger, user: UserId) -> Result<Option<Self>, Problem> {
        let events = ledger.load(AccountEvent::AGGREGATE, &user.to_string()).await?;
        Self::of(&events, ledger.vault()).await
    }

    /// Folds an account's own events.
    pub(super) async fn of(events: &[Recorded], vault: &Vault) -> Result<Option<Self>, Problem> {
        let mut account = None;
        for recorded in events {
            let mut event = AccountEvent::decode(recorded).map_err(|error| {
                tracing::error!(%error, "an account cannot be read");
                Problem::internal()
            })?;
            vault.unseal(recorded.event_id, &mut event).await.map_err(|error| unreadable(&error))?;
            match event {
                AccountEvent::Registered(registered) => account = Self::registered(registered, recorded.recorded_at),
                later => account = account.and_then(|account| account.then(later)),
            }
        }
        Ok(account)
    }

    /// As it is after a later event.
    fn then(mut self, event: AccountEvent) -> Option<Self> {
        match event {
            AccountEvent::UsernameChanged(changed) => self.username = opened(&changed.username)?,
            AccountEvent::PublicKeyAdded(added) => self.public_key = Some(added.key.key_data),
            AccountEvent::RoleChanged(changed) => self.role = changed.role.as_str(),
            AccountEvent::Registered(_) | AccountEvent::PasswordChanged(_) | AccountEvent::Locked(_) => {}
        }
        Some(self)
    }

    fn registered(registered: AccountRegistered, created_at: Timestamp) -> Option<Self> {
        Some(Self {
            id: registered.user_id,
            email: registered.email.as_ref().and_then(opened),
            // Without a name there is nobody any more: it was erased.
            username: opened(&registered.username)?,
            full_name: registered.full_name.as_ref().and_then(opened),
            avatar_url: None,
            bio: None,
            role: registered.role.as_str(),
            public_key: registered.public_keys.into_iter().next_back().map(|key| key.key_data),
            created_at,
        })
    }
}

fn opened(personal: &Personal) -> Option<String> {
    personal.reveal().ok().flatten().map(str::to_owned)
}

pub(super) fn account_unreadable() -> Problem {
    Problem::unavailable("unavailable", "Your account cannot be read at the moment")
}

pub(super) fn unreadable(error: &VaultError) -> Problem {
    tracing::error!(%error, "an account cannot be opened");
    match error {
        VaultError::Unavailable(_) => account_unreadable(),
        _ => Problem::internal(),
    }
}
