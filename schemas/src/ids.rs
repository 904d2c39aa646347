//! Identities. Each is a UUID that cannot be mistaken for another kind's.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The namespace of every UUIDv5 in the system. Never changes: ids derived with it are stored for ever.
pub const NAMESPACE: Uuid = Uuid::from_u128(0x7c0d_5f2e_3b64_5a8e_9d41_2f6a_c1e8_b703);

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0.as_hyphenated(), f) }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(self, f) }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> { text.parse().map(Self) }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self { Self(id) }
        }
        impl From<$name> for Uuid {
            fn from(id: $name) -> Self { id.0 }
        }
    )+};
}

ids! {
    /// A person's account; also the id of the `account` aggregate and of the `profile`.
    UserId,
    /// One sign-in of a user on a device (`sid` in the access token).
    SessionId,
    /// A direct message, minted by the client or by the server.
    MessageId,
    /// The pair of two users: [`conversation_id`].
    ConversationId,
    /// That a user received or read a message: [`receipt_id`].
    ReceiptId,
    /// Somebody in somebody's list of contacts.
    ContactRowId,
    /// That one user blocks another: [`block_id`].
    BlockId,
}

fn derived(name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The conversation of two users, whichever is named first.
#[must_use]
pub fn conversation_id(a: UserId, b: UserId) -> ConversationId {
    let (low, high) = if a <= b { (a, b) } else { (b, a) };
    ConversationId(derived(&format!("conversation:{low}:{high}")))
}

/// The message that a client has given a name which is no UUID. Names may come again: only together with what was sent (its `digest`) do they stand for one message.
#[must_use]
pub fn message_id_of_client(sender: UserId, digest: &str, name: &str) -> MessageId {
    MessageId(derived(&format!("message:{sender}:{digest}:{name}")))
}

/// The receipt of a kind (`delivered`, `read`) that a user can give for a message: there is one at most.
#[must_use]
pub fn receipt_id(message: MessageId, user: UserId, kind: &str) -> ReceiptId {
    ReceiptId(derived(&format!("receipt:{message}:{user}:{kind}")))
}

/// The block that one user can place on another.
#[must_use]
pub fn block_id(blocker: UserId, blocked: UserId) -> BlockId {
    BlockId(derived(&format!("block:{blocker}:{blocked}")))
}

/// The reaction that a user can leave on a message with one emoji.
#[must_use]
pub fn reaction_id(message: MessageId, user: UserId, emoji: &str) -> Uuid {
    derived(&format!("reaction:{message}:{user}:{emoji}"))
}

#[cfg(test)]
mod tests {
    use super::{UserId, conversation_id};
    use uuid::Uuid;

    #[test]
    fn a_conversation_has_the_same_id_from_both_sides_and_never_changes() {
        let (ann, bob) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        assert_eq!(conversation_id(ann, bob), conversation_id(bob, ann));
        assert_eq!(conversation_id(ann, bob).to_string(), "b297e779-fe7f-5ff0-90cb-2830093f4b99");
    }
}
