//! `auth.events`: accounts and sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::event::events;
use crate::{DecodeError, Event, Payload, Personal, Recorded, SessionId, Timestamp, Topic, UserId};

events! {
    /// What happens to an account. Stream id = user id.
    AccountEvent of "account" in Topic::Auth => {
        /// Somebody registered.
        Registered(AccountRegistered) = "account.registered" "1",
        /// It is called otherwise.
        UsernameChanged(AccountUsernameChanged) = "account.username_changed" "1",
        /// A device brought a key, which is the active one from now on.
        PublicKeyAdded(AccountPublicKeyAdded) = "account.public_key_added" "1",
        /// Another password, or the same one under another hash.
        PasswordChanged(AccountPasswordChanged) = "account.password_changed" "1",
        /// It may do more, or less.
        RoleChanged(AccountRoleChanged) = "account.role_changed" "1",
        /// Too many wrong passwords in a row.
        Locked(AccountLocked) = "account.locked" "1",
    }
}

events! {
    /// What happens to a session. Stream id = session id.
    SessionEvent of "session" in Topic::Auth => {
        /// A login or registration opened it.
        Started(SessionStarted) = "session.started" "1",
        /// Its refresh token was exchanged for another.
        Refreshed(SessionRefreshed) = "session.refreshed" "1",
        /// It ended; its tokens are dead.
        Revoked(SessionRevoked) = "session.revoked" "1",
    }
}

/// Any event of the topic.
#[derive(Debug, Clone, PartialEq)]
pub enum AuthEvent {
    /// Of an account.
    Account(AccountEvent),
    /// Of a session.
    Session(SessionEvent),
}

impl AuthEvent {
    /// Reads any event of the topic.
    ///
    /// # Errors
    /// [`DecodeError`], also for an aggregate type that this release does not know.
    pub fn decode(recorded: &Recorded) -> Result<Self, DecodeError> {
        match recorded.aggregate_type.as_str() {
            AccountEvent::AGGREGATE => AccountEvent::decode(recorded).map(Self::Account),
            SessionEvent::AGGREGATE => SessionEvent::decode(recorded).map(Self::Session),
            _ => Err(DecodeError::unknown(recorded)),
        }
    }
}

/// How an account came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// By itself, with address and password.
    Registered,
    /// As a guest.
    Guest,
    /// Through a provider.
    Oauth,
    /// From the monolith.
    Backfill,
}

/// What an account may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The default.
    User,
    /// Everything.
    Admin,
    /// One day, by invitation.
    Guest,
}

impl Role {
    /// As it stands in tokens and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
            Self::Guest => "guest",
        }
    }
}

/// A public key of a user's device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PublicKey {
    /// Names it among the user's keys.
    pub key_id: String,
    /// `SECP256R1`
    pub algorithm: String,
    /// base64, as the client sent it.
    pub key_data: String,
    /// When it was added.
    pub created_at: Timestamp,
}

/// `account.registered`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRegistered {
    /// The new account.
    pub user_id: UserId,
    /// As typed, trimmed; absent for guests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Personal>,
    /// As typed.
    pub username: Personal,
    /// As typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<Personal>,
    /// What it may do.
    pub role: Role,
    /// The last one is active.
    pub public_keys: Vec<PublicKey>,
    /// How it came to be.
    pub origin: Origin,
}

impl Payload for AccountRegistered {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        if let Some(email) = &mut self.email {
            visit("email", email);
        }
        visit("username", &mut self.username);
        if let Some(full_name) = &mut self.full_name {
            visit("full_name", full_name);
        }
    }
}

/// What a payload without personal data says about its account.
macro_rules! of_account {
    ($($payload:ident),+ $(,)?) => {$(
        impl Payload for $payload {
            fn partition_key(&self) -> String {
                self.user_id.to_string()
            }
            fn names(&self) -> Vec<UserId> {
                vec![self.user_id]
            }
        }
    )+};
}

of_account!(AccountPublicKeyAdded, AccountPasswordChanged, AccountRoleChanged, AccountLocked, SessionRefreshed, SessionRevoked);

/// `account.username_changed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountUsernameChanged {
    /// Whose account.
    pub user_id: UserId,
    /// As typed, trimmed.
    pub username: Personal,
}

impl Payload for AccountUsernameChanged {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        visit("username", &mut self.username);
    }
}

/// `account.public_key_added`: earlier keys become inactive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountPublicKeyAdded {
    /// Whose account.
    pub user_id: UserId,
    /// The active key from now on; it may have been active before.
    pub key: PublicKey,
}

/// Why there is another password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PasswordReason {
    /// Its user chose another.
    Changed,
    /// It was set anew, by an operator or after it was forgotten.
    Reset,
    /// The same password under a hash of today.
    Rehashed,
}

/// `account.password_changed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountPasswordChanged {
    /// Whose account.
    pub user_id: UserId,
    /// Why.
    pub reason: PasswordReason,
}

/// `account.role_changed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountRoleChanged {
    /// Whose account.
    pub user_id: UserId,
    /// What it may do from now on; tokens that exist say the old one until they end.
    pub role: Role,
}

/// `account.locked`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AccountLocked {
    /// Whose account.
    pub user_id: UserId,
    /// When it unlocks by itself.
    pub until: Timestamp,
}

/// `session.started`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionStarted {
    /// The session.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// What the client calls itself (its `User-Agent`, shortened).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Personal>,
    /// The client's network: /24 of IPv4, /48 of IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_prefix: Option<Personal>,
    /// When it ends by itself.
    pub expires_at: Timestamp,
}

impl Payload for SessionStarted {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        if let Some(device) = &mut self.device {
            visit("device", device);
        }
        if let Some(prefix) = &mut self.address_prefix {
            visit("address_prefix", prefix);
        }
    }
}

/// `session.refreshed`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRefreshed {
    /// The session.
    pub session_id: SessionId,
    /// Whose it is.
    pub user_id: UserId,
    /// When it ends by itself, unless it is refreshed again.
    pub expires_at: Timestamp,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// Its user logged out.
    Logout,
    /// Its user ended it from elsewhere.
    Revoked,
    /// A dead refresh token came back.
    RefreshReuse,
    /// The password changed.
    PasswordChanged,
    /// The account was deactivated.
    Deactivated,
    /// The account was erased.
    Erased,
}

/// `session.revoked`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SessionRevoked {
    /// The session.
    pub session_id: SessionId,
    /// Whose it was.
    pub user_id: UserId,
    /// Why.
    pub reason: RevocationReason,
}
