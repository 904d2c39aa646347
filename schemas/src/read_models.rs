//! The names that a projection (which writes a read model) and a query (which waits for it) share.

use crate::Topic;

/// A read model: what it is called and what it is made from.
pub trait ReadModel: Send + Sync + 'static {
    /// Schema, checkpoint and metric label.
    const NAME: &'static str;
    /// The service in whose database it stands.
    const SERVICE: &'static str;
    /// The topics it is folded from.
    const READS: &'static [Topic];
}

/// A read model of this release, for those who handle all of them alike.
#[derive(Debug, Clone, Copy)]
pub struct Described {
    /// See [`ReadModel::NAME`].
    pub name: &'static str,
    /// See [`ReadModel::SERVICE`].
    pub service: &'static str,
    /// See [`ReadModel::READS`].
    pub reads: &'static [Topic],
}

macro_rules! read_models {
    ($($(#[$doc:meta])* $type:ident = $name:literal in $service:literal from [$($topic:ident),+]),+ $(,)?) => {
    $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $type;
        impl ReadModel for $type {
            const NAME: &'static str = $name;
            const SERVICE: &'static str = $service;
            const READS: &'static [Topic] = &[$(Topic::$topic),+];
        }
    )+

    /// Every read model of this release.
    #[must_use]
    pub fn all() -> &'static [Described] {
        &[$(Described { name: $type::NAME, service: $type::SERVICE, reads: $type::READS }),+]
    }
    };
}

read_models! {
    /// History of direct messages: who said what to whom, in order, with its state.
    Conversations = "conversations" in "messages" from [Messages],
    /// What has not been acknowledged yet: the truth of the offline queue.
    Relay = "relay" in "messages" from [Messages],
    /// The messages service's own copy of who exists.
    People = "people" in "messages" from [Auth],
    /// The messages service's own copy of who has blocked whom.
    Blocks = "blocks" in "messages" from [Users],
    /// Who people are, for everybody who asks.
    Users = "users" in "users" from [Auth],
    /// How people present themselves, and what they want.
    Profiles = "profiles" in "users" from [Users],
    /// Who has whom in their list.
    Contacts = "contacts" in "users" from [Users],
    /// The auth service's own copy of how people present themselves.
    Portraits = "portraits" in "auth" from [Users],
}
