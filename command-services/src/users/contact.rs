//! The aggregate `contact`: one row of one owner's list. That there is one row per owner and contact is a reservation's to see.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::users::{ContactAdded, ContactEvent, ContactOrigin, ContactRemoved};
use schemas::{ContactRowId, Event, Personal, UserId};
use serde::{Deserialize, Serialize};

/// Reservations: owner and contact, held by the row. Its form can never change.
pub const PAIR: &str = "contact.v1";

/// Under which key a pair is reserved.
pub fn pair(owner: UserId, contact: UserId) -> String {
    format!("{owner}:{contact}")
}

/// A row, while it is there: owner and contact.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Contact {
    between: Option<(UserId, UserId)>,
}

/// What can be asked of a row.
#[derive(Clone)]
pub enum ContactCommand {
    /// Somebody joins a list.
    Add {
        /// Newly minted.
        row: ContactRowId,
        /// Whose list.
        owner: UserId,
        /// Who joins it.
        contact: UserId,
        /// As typed, trimmed.
        nickname: Option<String>,
    },
    /// They leave it.
    Remove {
        /// The row.
        row: ContactRowId,
        /// Who wants it: only the owner can.
        by: UserId,
    },
}

/// Why a row refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContactRefused {
    /// There is no such row in the list of whoever asks.
    #[error("no such contact")]
    Unknown,
    /// This id is a row already.
    #[error("this contact was added already")]
    Exists,
}

impl Aggregate for Contact {
    const TYPE: &'static str = ContactEvent::AGGREGATE;
    type Command = ContactCommand;
    type Event = ContactEvent;
    type Error = ContactRefused;
    type Services = ();

    async fn handle(&mut self, command: ContactCommand, (): &(), sink: &EventSink<Self>) -> Result<(), ContactRefused> {
        match (command, self.between) {
            (ContactCommand::Add { row, owner, contact, nickname }, None) => {
                let added = ContactAdded {
                    contact_row_id: row,
                    user_id: owner,
                    contact_id: contact,
                    nickname: nickname.map(|name| Personal::of(owner, name)),
                    origin: ContactOrigin::Added,
                };
                sink.write(ContactEvent::Added(added), self).await;
                Ok(())
            }
            (ContactCommand::Add { .. }, Some(_)) => Err(ContactRefused::Exists),
            (ContactCommand::Remove { row, by }, Some((owner, contact))) if by == owner => {
                let removed = ContactRemoved { contact_row_id: row, user_id: owner, contact_id: contact };
                sink.write(ContactEvent::Removed(removed), self).await;
                Ok(())
            }
            (ContactCommand::Remove { .. }, _) => Err(ContactRefused::Unknown),
        }
    }

    fn apply(&mut self, event: ContactEvent) {
        match event {
            ContactEvent::Added(added) => self.between = Some((added.user_id, added.contact_id)),
            ContactEvent::Removed(_) => self.between = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Contact, ContactCommand, ContactRefused};
    use cqrs_es::test::TestFramework;
    use schemas::users::{ContactAdded, ContactEvent, ContactOrigin, ContactRemoved};
    use schemas::{ContactRowId, UserId};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));
    const ROW: ContactRowId = ContactRowId(Uuid::from_u128(3));

    fn added() -> ContactEvent {
        ContactEvent::Added(ContactAdded {
            contact_row_id: ROW,
            user_id: ANN,
            contact_id: BOB,
            nickname: None,
            origin: ContactOrigin::Added,
        })
    }

    fn removed() -> ContactEvent {
        ContactEvent::Removed(ContactRemoved { contact_row_id: ROW, user_id: ANN, contact_id: BOB })
    }

    #[test]
    fn its_owner_removes_a_row_once() {
        let remove = ContactCommand::Remove { row: ROW, by: ANN };
        TestFramework::<Contact>::with(()).given(vec![added()]).when(remove.clone()).then_expect_events(vec![removed()]);
        TestFramework::<Contact>::with(()).given(vec![added(), removed()]).when(remove).then_expect_error(ContactRefused::Unknown);
    }

    #[test]
    fn nobody_else_removes_it_not_even_who_is_in_it() {
        TestFramework::<Contact>::with(())
            .given(vec![added()])
            .when(ContactCommand::Remove { row: ROW, by: BOB })
            .then_expect_error(ContactRefused::Unknown);
    }
}
