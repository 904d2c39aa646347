//! Whom a stored event names, whatever its type.

use crate::auth::AuthEvent;
use crate::messages::MessagesEvent;
use crate::users::UsersEvent;
use crate::{Event, Recorded, Topic, UserId};

impl Recorded {
    /// Whether commands of others are refused because of it, for as long as it stands: who reads a copy must not miss it, however late the copy is.
    #[must_use]
    pub fn binds_others(&self) -> bool {
        self.aggregate_type == crate::users::BlockEvent::AGGREGATE
    }

    /// See [`crate::Payload::names`]; nobody, when this release cannot read the event.
    #[must_use]
    pub fn names(&self) -> Vec<UserId> {
        match self.topic {
            Topic::Auth => match AuthEvent::decode(self) {
                Ok(AuthEvent::Account(event)) => event.names(),
                Ok(AuthEvent::Session(event)) => event.names(),
                Err(_) => Vec::new(),
            },
            Topic::Users => match UsersEvent::decode(self) {
                Ok(UsersEvent::Profile(event)) => event.names(),
                Ok(UsersEvent::Contact(event)) => event.names(),
                Ok(UsersEvent::Block(event)) => event.names(),
                Err(_) => Vec::new(),
            },
            Topic::Messages => match MessagesEvent::decode(self) {
                Ok(MessagesEvent::Message(event)) => event.names(),
                Ok(MessagesEvent::Receipt(event)) => event.names(),
                Err(_) => Vec::new(),
            },
        }
    }
}
