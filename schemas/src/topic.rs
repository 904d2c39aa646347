//! Topics: where events of which service go.

use std::fmt;
use std::str::FromStr;

/// A topic of the log, and at the same time the service whose ledger feeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// `auth.events`: accounts and sessions, keyed by user id.
    Auth,
    /// `users.events`: profiles, contacts and blocks, keyed by their owner's user id.
    Users,
    /// `messages.events`: direct messages and receipts, keyed by conversation id.
    Messages,
}

impl Topic {
    /// Every topic of this release.
    pub const ALL: &'static [Self] = &[Self::Auth, Self::Users, Self::Messages];

    /// Partitions of the topic's first generation. A generation's count never changes.
    pub const PARTITIONS: i32 = 12;

    /// The owning service: `messages`. Names the ledger's schema (`messages_ledger`), metric labels and marks.
    #[must_use]
    pub const fn service(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Users => "users",
            Self::Messages => "messages",
        }
    }

    /// The topic's name in a generation: `messages.events`, then `messages.events.2`, …
    #[must_use]
    pub fn name(self, generation: i32) -> String {
        if generation <= 1 { format!("{}.events", self.service()) } else { format!("{}.events.{generation}", self.service()) }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.service())
    }
}

impl FromStr for Topic {
    type Err = String;
    /// Reads `messages` or `messages.events`.
    fn from_str(text: &str) -> Result<Self, String> {
        let service = text.split('.').next().unwrap_or_default();
        Self::ALL
            .iter()
            .copied()
            .find(|topic| topic.service() == service)
            .ok_or_else(|| format!("no topic `{text}`; there are {}", Self::ALL.iter().map(|t| t.name(1)).collect::<Vec<_>>().join(", ")))
    }
}
