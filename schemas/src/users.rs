//! `users.events`: how people present themselves, whom they know, and whom they keep away.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::event::events;
use crate::{BlockId, ContactRowId, DecodeError, Event, Payload, Personal, Recorded, Topic, UserId};

events! {
    /// What happens to a profile. Stream id = user id.
    ProfileEvent of "profile" in Topic::Users => {
        /// Its user, or an admin, changed what others see.
        Updated(ProfileUpdated) = "profile.updated" "1",
        /// Its user left a copy of the private key.
        KeyBackupStored(KeyBackupStored) = "profile.key_backup_stored" "1",
        /// Its user wants something otherwise.
        SettingsChanged(SettingsChanged) = "profile.settings_changed" "1",
    }
}

events! {
    /// What happens to a contact: one row of one owner's list. Stream id = the row's id.
    ContactEvent of "contact" in Topic::Users => {
        /// Somebody is in its owner's list.
        Added(ContactAdded) = "contact.added" "1",
        /// No longer.
        Removed(ContactRemoved) = "contact.removed" "1",
    }
}

events! {
    /// What happens between a blocker and whom they block. Stream id = [`crate::block_id`].
    BlockEvent of "block" in Topic::Users => {
        /// Nothing is sent between the two from now on.
        Placed(BlockPlaced) = "block.placed" "1",
        /// The blocker thought better of it.
        Lifted(BlockLifted) = "block.lifted" "1",
    }
}

/// Any event of the topic.
#[derive(Debug, Clone, PartialEq)]
pub enum UsersEvent {
    /// Of a profile.
    Profile(ProfileEvent),
    /// Of a contact.
    Contact(ContactEvent),
    /// Of a block.
    Block(BlockEvent),
}

impl UsersEvent {
    /// Reads any event of the topic.
    ///
    /// # Errors
    /// [`DecodeError`], also for an aggregate type that this release does not know.
    pub fn decode(recorded: &Recorded) -> Result<Self, DecodeError> {
        match recorded.aggregate_type.as_str() {
            ProfileEvent::AGGREGATE => ProfileEvent::decode(recorded).map(Self::Profile),
            ContactEvent::AGGREGATE => ContactEvent::decode(recorded).map(Self::Contact),
            BlockEvent::AGGREGATE => BlockEvent::decode(recorded).map(Self::Block),
            _ => Err(DecodeError::unknown(recorded)),
        }
    }
}

/// Of a field that may be absent (unchanged) or `null` (cleared): what is there is `Some`, whatever it is.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Personal>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// `profile.updated`: only what changed. `null` clears.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProfileUpdated {
    /// Whose profile.
    pub user_id: UserId,
    /// As they want to be called.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub full_name: Option<Option<Personal>>,
    /// What they say of themselves.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub bio: Option<Option<Personal>>,
    /// Where their picture is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub avatar_url: Option<Option<Personal>>,
}

impl Payload for ProfileUpdated {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        for (name, field) in [("full_name", &mut self.full_name), ("bio", &mut self.bio), ("avatar_url", &mut self.avatar_url)] {
            if let Some(Some(field)) = field {
                visit(name, field);
            }
        }
    }
}

/// `profile.key_backup_stored`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyBackupStored {
    /// Whose key.
    pub user_id: UserId,
    /// Opaque text, encrypted by the client before it came.
    pub encrypted_private_key: Personal,
}

impl Payload for KeyBackupStored {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        visit("encrypted_private_key", &mut self.encrypted_private_key);
    }
}

/// Who may see when somebody was last here, and whether they are now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LastSeen {
    /// Everybody.
    #[default]
    Everybody,
    /// Those whom they have among their contacts.
    Contacts,
    /// Nobody.
    Nobody,
}

impl LastSeen {
    /// As it stands in answers and read models.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Everybody => "everybody",
            Self::Contacts => "contacts",
            Self::Nobody => "nobody",
        }
    }

    /// Reads what [`LastSeen::as_str`] has written; `None` for what only another release knows.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        [Self::Everybody, Self::Contacts, Self::Nobody].into_iter().find(|known| known.as_str() == text)
    }
}

/// Some of a user's settings: what is absent is not spoken of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsChange {
    /// Whether authors are shown that their messages were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_receipts: Option<bool>,
    /// Who may see when they were last here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<LastSeen>,
    /// Whether search finds them by more than their exact address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discoverable: Option<bool>,
    /// A BCP 47 tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// A name of the IANA time zone database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// `profile.settings_changed`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettingsChanged {
    /// Whose settings.
    pub user_id: UserId,
    /// Only what changed.
    pub settings: SettingsChange,
}

impl Payload for SettingsChanged {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id]
    }
}

/// How somebody came to be in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContactOrigin {
    /// The owner added them.
    Added,
    /// Through an invitation.
    Invitation,
    /// An admin did it.
    Admin,
    /// From the monolith.
    Backfill,
}

/// `contact.added`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ContactAdded {
    /// The row.
    pub contact_row_id: ContactRowId,
    /// Whose list.
    pub user_id: UserId,
    /// Who is in it.
    pub contact_id: UserId,
    /// What the owner calls them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nickname: Option<Personal>,
    /// How they came there.
    pub origin: ContactOrigin,
}

impl Payload for ContactAdded {
    fn partition_key(&self) -> String {
        self.user_id.to_string()
    }
    fn names(&self) -> Vec<UserId> {
        vec![self.user_id, self.contact_id]
    }
    fn personal(&mut self, visit: &mut dyn FnMut(&'static str, &mut Personal)) {
        if let Some(nickname) = &mut self.nickname {
            visit("nickname", nickname);
        }
    }
}

macro_rules! between_two {
    ($(#[$doc:meta])* $name:ident { $(#[$id_doc:meta])* $id:ident: $id_type:ty, $(#[$user_doc:meta])* $user:ident, $(#[$other_doc:meta])* $other:ident }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub struct $name {
            $(#[$id_doc])*
            pub $id: $id_type,
            $(#[$user_doc])*
            pub $user: UserId,
            $(#[$other_doc])*
            pub $other: UserId,
        }

        impl Payload for $name {
            fn partition_key(&self) -> String {
                self.$user.to_string()
            }
            fn names(&self) -> Vec<UserId> {
                vec![self.$user, self.$other]
            }
        }
    };
}

between_two! {
    /// `contact.removed`
    ContactRemoved {
        /// The row.
        contact_row_id: ContactRowId,
        /// Whose list.
        user_id,
        /// Who is no longer in it.
        contact_id
    }
}

between_two! {
    /// `block.placed`
    BlockPlaced {
        /// Of the two.
        block_id: BlockId,
        /// Who blocks.
        user_id,
        /// Whom.
        blocked_id
    }
}

between_two! {
    /// `block.lifted`
    BlockLifted {
        /// Of the two.
        block_id: BlockId,
        /// Who blocked.
        user_id,
        /// Whom.
        blocked_id
    }
}

#[cfg(test)]
mod tests {
    use super::ProfileUpdated;

    #[test]
    fn absent_is_unchanged_and_null_is_cleared_and_both_survive_the_round_trip() {
        let text = r#"{"user_id":"00000000-0000-0000-0000-000000000001","bio":null}"#;
        let updated: ProfileUpdated = serde_json::from_str(text).expect("it reads");
        assert_eq!((&updated.full_name, &updated.bio, &updated.avatar_url), (&None, &Some(None), &None));
        assert_eq!(serde_json::to_string(&updated).expect("it writes"), text);
    }
}
