//! The aggregate `account`: that somebody is here, and who they are.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemas::auth::{
    AccountEvent, AccountLocked, AccountPasswordChanged, AccountPublicKeyAdded, AccountRegistered, AccountRoleChanged,
    AccountUsernameChanged, Origin, PasswordReason, PublicKey, Role,
};
use schemas::{Personal, Timestamp, UserId};
use serde::{Deserialize, Serialize};

/// An account. That its address and name are nobody else's is the reservations' to see.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Account {
    registered: bool,
    username: Option<String>,
    active_key: Option<String>,
    role: Option<Role>,
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
    /// Its user wants another name.
    ChangeUsername {
        /// Whose.
        user_id: UserId,
        /// What the reservation that is given back was made for.
        from: String,
        /// As typed, trimmed.
        to: String,
    },
    /// A device shows its key. Of the one that is active already, nothing is said.
    AddPublicKey {
        /// Whose.
        user_id: UserId,
        /// The key.
        key: PublicKey,
    },
    /// There is another password, or another hash of it.
    ChangePassword {
        /// Whose.
        user_id: UserId,
        /// Why.
        reason: PasswordReason,
    },
    /// It shall be something else. Of what it is already, nothing is said.
    ChangeRole {
        /// Whose.
        user_id: UserId,
        /// What.
        role: Role,
    },
    /// Too many wrong passwords in a row.
    Lock {
        /// Whose.
        user_id: UserId,
        /// When it unlocks by itself.
        until: Timestamp,
    },
}

/// Why an account refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccountRefused {
    /// This id is somebody already.
    #[error("this account exists already")]
    Exists,
    /// There is none.
    #[error("there is no such account")]
    Unknown,
    /// It has been given another name in between.
    #[error("the account is called otherwise by now")]
    Renamed,
}

impl Aggregate for Account {
    const TYPE: &'static str = "account";
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountRefused;
    type Services = ();

    async fn handle(&mut self, command: AccountCommand, _services: &(), sink: &EventSink<Self>) -> Result<(), AccountRefused> {
        let registering = matches!(command, AccountCommand::Register { .. });
        match self.registered {
            true if registering => return Err(AccountRefused::Exists),
            false if !registering => return Err(AccountRefused::Unknown),
            _ => {}
        }
        let event = match command {
            AccountCommand::Register { user_id, email, username, full_name, public_key } => AccountEvent::Registered(AccountRegistered {
                user_id,
                email: Some(Personal::of(user_id, email)),
                username: Personal::of(user_id, username),
                full_name: full_name.map(|name| Personal::of(user_id, name)),
                // Nobody names his own role.
                role: Role::User,
                public_keys: public_key.into_iter().collect(),
                origin: Origin::Registered,
            }),
            AccountCommand::ChangeUsername { from, .. } if self.username.as_ref() != Some(&from) => return Err(AccountRefused::Renamed),
            AccountCommand::ChangeUsername { from, to, .. } if from == to => return Ok(()),
            AccountCommand::ChangeUsername { user_id, to, .. } => {
                AccountEvent::UsernameChanged(AccountUsernameChanged { user_id, username: Personal::of(user_id, to) })
            }
            AccountCommand::AddPublicKey { key, .. } if self.active_key.as_ref() == Some(&key.key_data) => return Ok(()),
            AccountCommand::AddPublicKey { user_id, key } => AccountEvent::PublicKeyAdded(AccountPublicKeyAdded { user_id, key }),
            AccountCommand::ChangePassword { user_id, reason } => AccountEvent::PasswordChanged(AccountPasswordChanged { user_id, reason }),
            AccountCommand::ChangeRole { role, .. } if self.role == Some(role) => return Ok(()),
            AccountCommand::ChangeRole { user_id, role } => AccountEvent::RoleChanged(AccountRoleChanged { user_id, role }),
            AccountCommand::Lock { user_id, until } => AccountEvent::Locked(AccountLocked { user_id, until }),
        };
        sink.write(event, self).await;
        Ok(())
    }

    fn apply(&mut self, event: AccountEvent) {
        match event {
            AccountEvent::Registered(registered) => {
                self.registered = true;
                self.username = opened(&registered.username);
                self.active_key = registered.public_keys.into_iter().next_back().map(|key| key.key_data);
                self.role = Some(registered.role);
            }
            AccountEvent::UsernameChanged(changed) => self.username = opened(&changed.username),
            AccountEvent::PublicKeyAdded(added) => self.active_key = Some(added.key.key_data),
            AccountEvent::RoleChanged(changed) => self.role = Some(changed.role),
            AccountEvent::PasswordChanged(_) | AccountEvent::Locked(_) => {}
        }
    }
}

fn opened(personal: &Personal) -> Option<String> {
    personal.reveal().ok().flatten().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use cqrs_es::test::TestFramework;
    use platform::clock;
    use schemas::auth::{
        AccountEvent, AccountPasswordChanged, AccountPublicKeyAdded, AccountRegistered, AccountRoleChanged, AccountUsernameChanged, Origin,
        PasswordReason, PublicKey, Role,
    };
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

    fn given(events: Vec<AccountEvent>) -> cqrs_es::test::AggregateTestExecutor<Account> {
        TestFramework::with(()).given(events)
    }

    fn rename(from: &str, to: &str) -> AccountCommand {
        AccountCommand::ChangeUsername { user_id: ANN, from: from.into(), to: to.into() }
    }

    fn renamed(to: &str) -> AccountEvent {
        AccountEvent::UsernameChanged(AccountUsernameChanged { user_id: ANN, username: Personal::of(ANN, to) })
    }

    #[test]
    fn a_name_is_changed_from_what_it_is_and_to_something_else() {
        given(vec![registered()]).when(rename("ann", "anna")).then_expect_events(vec![renamed("anna")]);
        given(vec![registered()]).when(rename("ann", "ann")).then_expect_events(vec![]);
        given(vec![registered(), renamed("anna")]).when(rename("ann", "anne")).then_expect_error(AccountRefused::Renamed);
        given(vec![registered(), renamed("anna")]).when(rename("anna", "ann")).then_expect_events(vec![renamed("ann")]);
    }

    #[test]
    fn a_key_is_added_unless_it_is_the_active_one() {
        let key =
            |data: &str| PublicKey { key_id: data.into(), algorithm: "SECP256R1".into(), key_data: data.into(), created_at: clock::now() };
        let (one, two) = (key("one"), key("two"));
        let add = |key: &PublicKey| AccountCommand::AddPublicKey { user_id: ANN, key: key.clone() };
        let added = |key: &PublicKey| AccountEvent::PublicKeyAdded(AccountPublicKeyAdded { user_id: ANN, key: key.clone() });
        given(vec![registered()]).when(add(&one)).then_expect_events(vec![added(&one)]);
        given(vec![registered(), added(&one)]).when(add(&one)).then_expect_events(vec![]);
        given(vec![registered(), added(&one), added(&two)]).when(add(&one)).then_expect_events(vec![added(&one)]);
    }

    #[test]
    fn a_role_is_given_once() {
        let grant = || AccountCommand::ChangeRole { user_id: ANN, role: Role::Admin };
        let granted = || AccountEvent::RoleChanged(AccountRoleChanged { user_id: ANN, role: Role::Admin });
        given(vec![registered()]).when(grant()).then_expect_events(vec![granted()]);
        given(vec![registered(), granted()]).when(grant()).then_expect_events(vec![]);
    }

    #[test]
    fn of_nobody_nothing_is_changed() {
        let password = || AccountCommand::ChangePassword { user_id: ANN, reason: PasswordReason::Changed };
        given(vec![]).when(password()).then_expect_error(AccountRefused::Unknown);
        given(vec![]).when(rename("ann", "anna")).then_expect_error(AccountRefused::Unknown);
        let changed = AccountEvent::PasswordChanged(AccountPasswordChanged { user_id: ANN, reason: PasswordReason::Changed });
        given(vec![registered()]).when(password()).then_expect_events(vec![changed]);
    }
}
