//! The aggregate `account`: that somebody is here, and who they are.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::auth::{AccountEvent, AccountRegistered, Origin, PublicKey, Role};
use schemas::{Personal, UserId};
use serde::{Deserialize, Serialize};

/// An account. That its address and name are nobody else's is the reservations' to see.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    registered: bool,
}

/// What can be asked of an account.
#[derive(Debug, Clone)]
pub enum AccountCommand {
    /// Somebody registers with address and password.
    Register {
        /// Newly minted.
        user_id: UserId,
        /// As typed, trimmed.
        email: String,
        /// As typed, trimmed.
        username: String,
        /// As typed, trimmed.
        full_name: Option<String>,
        /// Of the device that registers.
        public_key: Option<PublicKey>,
    },
}

/// Why an account refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefused {
    /// This id is somebody already.
    #[error("this account exists already")]
    Exists,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountRefused;
    type Services = ();

    async fn handle(&mut self, command: AccountCommand, _services: &(), sink: &EventSink<Self>) -> Result<(), AccountRefused> {
        match command {
            AccountCommand::Register { user_id, email, username, full_name, public_key } => {
                if self.registered {
                    return Err(AccountRefused::Exists);
                }
                let registered = AccountRegistered {
                    user_id,
                    email: Some(Personal::of(user_id, email)),
                    username: Personal::of(user_id, username),
                    full_name: full_name.map(|name| Personal::of(user_id, name)),
                    // Nobody names his own role.
                    role: Role::User,
                    public_keys: public_key.into_iter().collect(),
                    origin: Origin::Registered,
                };
                sink.write(AccountEvent::Registered(registered), self).await;
                Ok(())
            }
        }
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Registered(_) => self.registered = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use schemas::auth::{AccountEvent, AccountRegistered, Origin, Role};
    use schemas::{Personal, UserId};
    use uuid::Uuid;

    use super::{Account, AccountCommand, AccountRefused};

    const ANN: UserId = UserId(Uuid::from_u128(1));

    fn register() -> AccountCommand {
        AccountCommand::Register {
            user_id: ANN,
            email: "ann@example.org".into(),
            username: "ann".into(),
            full_name: None,
            public_key: None,
        }
    }

    fn registered() -> AccountEvent {
        AccountEvent::Registered(AccountRegistered {
            user_id: ANN,
            email: Some(Personal::of(ANN, "ann@example.org")),
            username: Personal::of(ANN, "ann"),
            full_name: None,
            role: Role::User,
            public_keys: vec![],
            origin: Origin::Registered,
        })
    }

    #[test]
    fn whoever_registers_is_a_user_and_nothing_more() {
        TestFramework::<Account>::with(()).given_no_previous_events().when(register()).then_expect_events(vec![registered()]);
    }

    #[test]
    fn an_account_is_registered_once() {
        TestFramework::<Account>::with(()).given(vec![registered()]).when(register()).then_expect_error(AccountRefused::Exists);
    }
}
