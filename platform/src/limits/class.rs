//! What is counted together, and how much of it there may be.

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Of a user: messages sent.
    Sends,
    /// Of a user: every other command.
    Commands,
    /// Of a user: queries.
    Reads,
    /// Of a user: what a client must never be kept from (`/auth/me`, acknowledgements, receipts).
    Vital,
    /// Of an address: whatever needs no token.
    Public,
    /// Of an address: sign-ins.
    Logins,
    /// Of an address: new accounts.
    Registrations,
    /// Of an address: forgotten passwords.
    Forgotten,
    /// Of an address: invitations.
    Invitations,
}

impl Class {
    /// In metrics, and in names of keys.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sends => "sends",
            Self::Commands => "commands",
            Self::Reads => "reads",
            Self::Vital => "vital",
            Self::Public => "public",
            Self::Logins => "logins",
            Self::Registrations => "registrations",
            Self::Forgotten => "forgotten",
            Self::Invitations => "invitations",
        }
    }
}

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Tokens that come back in a second.
    pub per_second: f64,
    /// Tokens that it holds at most.
    pub burst: u32,
}

impl Rate {
    /// So many a second, and so many at once.
    #[must_use]
    pub fn per_second(count: u32, burst: u32) -> Self {
        Self { per_second: f64::from(count), burst }
    }
    /// So many a minute, all of which may come at once.
    #[must_use]
    pub fn per_minute(count: u32) -> Self {
        Self { per_second: f64::from(count) / 60.0, burst: count }
    }
    /// So many an hour, all of which may come at once.
    #[must_use]
    pub fn per_hour(count: u32) -> Self {
        Self { per_second: f64::from(count) / 3600.0, burst: count }
    }
}

/// The rate of each class.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "see `Class`")]
pub struct Rates {
    pub sends: Rate,
    pub commands: Rate,
    pub reads: Rate,
    pub vital: Rate,
    pub public: Rate,
    pub logins: Rate,
    pub registrations: Rate,
    pub forgotten: Rate,
    pub invitations: Rate,
}

impl Rates {
    /// Of a class.
    #[must_use]
    pub const fn of(&self, class: Class) -> Rate {
        match class {
            Class::Sends => self.sends,
            Class::Commands => self.commands,
            Class::Reads => self.reads,
            Class::Vital => self.vital,
            Class::Public => self.public,
            Class::Logins => self.logins,
            Class::Registrations => self.registrations,
            Class::Forgotten => self.forgotten,
            Class::Invitations => self.invitations,
        }
    }

    /// The same for every class: for tests, and for those who want none.
    #[must_use]
    pub const fn all(rate: Rate) -> Self {
        Self {
            sends: rate,
            commands: rate,
            reads: rate,
            vital: rate,
            public: rate,
            logins: rate,
            registrations: rate,
            forgotten: rate,
            invitations: rate,
        }
    }
}
