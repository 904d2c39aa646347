//! The aggregate `profile`: how somebody presents themselves, what they want, and what they left with us. Stream id = user id.

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use schemars::JsonSchema;
use schemas::users::{KeyBackupStored, LastSeen, ProfileEvent, ProfileUpdated, SettingsChange, SettingsChanged};
use schemas::{Event, Personal, UserId};
use serde::{Deserialize, Serialize};

/// A profile. Begins with the first thing that its user says; that there is such a user is the command's to see.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Profile {
    presented: Presented,
    settings: Settings,
    key_backup: Option<String>,
}

/// How somebody presents themselves: `None` was never said, `Some(None)` was cleared (or erased).
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presented {
    pub full_name: Option<Option<String>>,
    pub bio: Option<Option<String>>,
    pub avatar_url: Option<Option<String>>,
}

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "NewSettings")]
pub struct Settings {
    /// Whether authors are shown that their messages were read.
    pub read_receipts: bool,
    /// Who may see when they were last here, and whether they are.
    pub last_seen: LastSeen,
    /// Whether search finds them by more than their exact address.
    pub discoverable: bool,
    /// A BCP 47 tag, once one was chosen.
    pub language: Option<String>,
    /// A name of the IANA time zone database, once one was chosen.
    pub time_zone: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { read_receipts: true, last_seen: LastSeen::Everybody, discoverable: true, language: None, time_zone: None }
    }
}

/// What can be asked of a profile.
#[derive(Clone)]
pub enum ProfileCommand {
    /// Present oneself otherwise: `None` stays, `Some(None)` is cleared.
    Update { user_id: UserId, presented: Presented },
    /// Want something otherwise.
    Change { user_id: UserId, settings: SettingsChange },
    /// Leave a copy of the private key, encrypted.
    Keep { user_id: UserId, encrypted_private_key: String },
}

/// A profile refuses nothing: who may ask is decided before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileRefused {}

impl Presented {
    fn changed_by(&self, wanted: Self) -> Self {
        fn changed<T: PartialEq>(now: &Option<T>, wanted: Option<T>) -> Option<T> {
            wanted.filter(|wanted| now.as_ref() != Some(wanted))
        }
        Self {
            full_name: changed(&self.full_name, wanted.full_name),
            bio: changed(&self.bio, wanted.bio),
            avatar_url: changed(&self.avatar_url, wanted.avatar_url),
        }
    }

    /// Lets an opened event count.
    pub fn apply(&mut self, updated: ProfileUpdated) {
        let ProfileUpdated { user_id: _, full_name, bio, avatar_url } = updated;
        for (place, field) in [(&mut self.full_name, full_name), (&mut self.bio, bio), (&mut self.avatar_url, avatar_url)] {
            if let Some(field) = field {
                *place = Some(field.as_ref().and_then(revealed));
            }
        }
    }
}

impl Settings {
    fn changed_by(&self, wanted: SettingsChange) -> SettingsChange {
        SettingsChange {
            read_receipts: wanted.read_receipts.filter(|wanted| *wanted != self.read_receipts),
            last_seen: wanted.last_seen.filter(|wanted| *wanted != self.last_seen),
            discoverable: wanted.discoverable.filter(|wanted| *wanted != self.discoverable),
            language: wanted.language.filter(|wanted| self.language.as_ref() != Some(wanted)),
            time_zone: wanted.time_zone.filter(|wanted| self.time_zone.as_ref() != Some(wanted)),
        }
    }

    /// Lets a change count.
    pub fn apply(&mut self, change: SettingsChange) {
        let SettingsChange { read_receipts, last_seen, discoverable, language, time_zone } = change;
        self.read_receipts = read_receipts.unwrap_or(self.read_receipts);
        self.last_seen = last_seen.unwrap_or(self.last_seen);
        self.discoverable = discoverable.unwrap_or(self.discoverable);
        self.language = language.or_else(|| self.language.take());
        self.time_zone = time_zone.or_else(|| self.time_zone.take());
    }
}

fn revealed(field: &Personal) -> Option<String> {
    field.reveal().ok().flatten().map(str::to_owned)
}

impl Aggregate for Profile {
    const TYPE: &'static str = ProfileEvent::AGGREGATE;
    type Command = ProfileCommand;
    type Event = ProfileEvent;
    type Error = ProfileRefused;
    type Services = ();

    async fn handle(&mut self, command: ProfileCommand, (): &(), sink: &EventSink<Self>) -> Result<(), ProfileRefused> {
        match command {
            ProfileCommand::Update { user_id, presented } => {
                let changed = self.presented.changed_by(presented);
                if changed != Presented::default() {
                    let own = |field: Option<Option<String>>| field.map(|text| text.map(|text| Personal::of(user_id, text)));
                    let updated = ProfileUpdated {
                        user_id,
                        full_name: own(changed.full_name),
                        bio: own(changed.bio),
                        avatar_url: own(changed.avatar_url),
                    };
                    sink.write(ProfileEvent::Updated(updated), self).await;
                }
            }
            ProfileCommand::Change { user_id, settings } => {
                let settings = self.settings.changed_by(settings);
                if settings != SettingsChange::default() {
                    sink.write(ProfileEvent::SettingsChanged(SettingsChanged { user_id, settings }), self).await;
                }
            }
            ProfileCommand::Keep { user_id, encrypted_private_key } => {
                if self.key_backup.as_ref() != Some(&encrypted_private_key) {
                    let encrypted_private_key = Personal::of(user_id, encrypted_private_key);
                    sink.write(ProfileEvent::KeyBackupStored(KeyBackupStored { user_id, encrypted_private_key }), self).await;
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, event: ProfileEvent) {
        match event {
            ProfileEvent::Updated(updated) => self.presented.apply(updated),
            ProfileEvent::SettingsChanged(changed) => self.settings.apply(changed.settings),
            ProfileEvent::KeyBackupStored(stored) => self.key_backup = revealed(&stored.encrypted_private_key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Presented, Profile, ProfileCommand};
    use cqrs_es::test::TestFramework;
    use schemas::users::{KeyBackupStored, ProfileEvent, ProfileUpdated, SettingsChange, SettingsChanged};
    use schemas::{Personal, UserId};
    use uuid::Uuid;

    const ANN: UserId = UserId(Uuid::from_u128(1));

    fn said(bio: Option<&str>) -> ProfileEvent {
        let bio = Some(bio.map(|bio| Personal::of(ANN, bio)));
        ProfileEvent::Updated(ProfileUpdated { user_id: ANN, full_name: None, bio, avatar_url: None })
    }

    fn say(bio: Option<&str>) -> ProfileCommand {
        ProfileCommand::Update { user_id: ANN, presented: Presented { bio: Some(bio.map(str::to_owned)), ..Presented::default() } }
    }

    #[test]
    fn only_what_changed_is_told() {
        let test = || TestFramework::<Profile>::with(());
        test().given_no_previous_events().when(say(Some("hello"))).then_expect_events(vec![said(Some("hello"))]);
        test().given(vec![said(Some("hello"))]).when(say(Some("hello"))).then_expect_events(vec![]);
        test().given(vec![said(Some("hello"))]).when(say(None)).then_expect_events(vec![said(None)]);
        test().given(vec![said(Some("hello")), said(None)]).when(say(None)).then_expect_events(vec![]);
    }

    #[test]
    fn a_setting_that_is_as_it_is_wanted_is_not_told() {
        let settings = |discoverable, read_receipts| SettingsChange { discoverable, read_receipts, ..SettingsChange::default() };
        let changed = |settings| ProfileEvent::SettingsChanged(SettingsChanged { user_id: ANN, settings });
        let want = |settings| ProfileCommand::Change { user_id: ANN, settings };
        TestFramework::<Profile>::with(())
            .given(vec![changed(settings(Some(false), None))])
            .when(want(settings(Some(false), Some(false))))
            .then_expect_events(vec![changed(settings(None, Some(false)))]);
        TestFramework::<Profile>::with(())
            .given_no_previous_events()
            .when(want(settings(Some(true), Some(true))))
            .then_expect_events(vec![]);
    }

    #[test]
    fn the_same_key_is_kept_once() {
        let kept =
            |key: &str| ProfileEvent::KeyBackupStored(KeyBackupStored { user_id: ANN, encrypted_private_key: Personal::of(ANN, key) });
        let keep = |key: &str| ProfileCommand::Keep { user_id: ANN, encrypted_private_key: key.into() };
        TestFramework::<Profile>::with(()).given(vec![kept("a")]).when(keep("a")).then_expect_events(vec![]);
        TestFramework::<Profile>::with(()).given(vec![kept("a")]).when(keep("b")).then_expect_events(vec![kept("b")]);
    }
}
