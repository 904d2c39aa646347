//! Who has a database of its own.

use std::fmt;

use crate::config::{self, ServerUrl};

/// May connect to every database and sees how far its ledger is, and which keys sign tokens; nothing else.
pub const READER: &str = "postrider_reader";

/// A service with a database and a role of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Accounts, sessions, tokens.
    Auth,
    /// Profiles, contacts, blocks.
    Users,
    /// Direct messages and the offline queue.
    Messages,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auth, Self::Users, Self::Messages];

    /// Of its database, where we make it.
    #[must_use]
    pub fn database(self) -> &'static str {
        match self {
            Self::Auth => "auth_db",
            Self::Users => "user_db",
            Self::Messages => "message_db",
        }
    }

    /// The role that owns everything in it, where we make it.
    #[must_use]
    pub fn role(self) -> &'static str {
        match self {
            Self::Auth => "postrider_auth",
            Self::Users => "postrider_users",
            Self::Messages => "postrider_messages",
        }
    }

    /// The environment variable that names another database for it.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Auth => "AUTH_DATABASE_URL",
            Self::Users => "USER_DATABASE_URL",
            Self::Messages => "MESSAGE_DATABASE_URL",
        }
    }

    /// The schema of its ledger.
    #[must_use]
    pub fn ledger(self) -> &'static str {
        match self {
            Self::Auth => "auth_ledger",
            Self::Users => "users_ledger",
            Self::Messages => "messages_ledger",
        }
    }

    /// Whose ledger feeds a topic.
    #[must_use]
    pub fn of(topic: schemas::Topic) -> Self {
        match topic {
            schemas::Topic::Auth => Self::Auth,
            schemas::Topic::Users => Self::Users,
            schemas::Topic::Messages => Self::Messages,
        }
    }

    /// What the configuration names for it, used as it is.
    pub(super) fn given(self, config: &config::Postgres) -> Option<&ServerUrl> {
        match self {
            Self::Auth => config.auth_url.set(),
            Self::Users => config.user_url.set(),
            Self::Messages => config.message_url.set(),
        }
    }

    /// How many connections its pool may have.
    pub(super) fn pool_size(self, config: &config::Postgres) -> u32 {
        match self {
            Self::Auth => config.auth_pool,
            Self::Users => config.user_pool,
            Self::Messages => config.message_pool,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auth => "auth",
            Self::Users => "users",
            Self::Messages => "messages",
        })
    }
}
