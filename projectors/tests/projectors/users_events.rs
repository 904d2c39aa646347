//! What is folded from `users.events`: random histories in random batches give the rows that were meant, whoever falls back and reads again.

use std::collections::BTreeMap;
use std::sync::Arc;

use platform::log::Projection;
use platform::vault::Vault;
use projectors::{Blocks, Contacts, Portraits, Profiles};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use schemas::users::{
    BlockEvent, BlockLifted, BlockPlaced, ContactAdded, ContactEvent, ContactOrigin, ContactRemoved, KeyBackupStored, LastSeen,
    ProfileEvent, ProfileUpdated, SettingsChange, SettingsChanged,
};
use schemas::{ContactRowId, Event, Personal, Recorded, UserId, block_id};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::history::{recorded, user};
use crate::tables::Tables;

/// Sealed as a ledger holds it.
async fn sealed<E: Event + Send>(vault: &Vault, mut event: E, id: impl ToString, position: i64) -> Arc<Recorded> {
    let event_id = Uuid::now_v7();
    vault.seal(event_id, &mut event).await.expect("it seals");
    let mut recorded = recorded(&event, id, position);
    Arc::get_mut(&mut recorded).expect("nobody else has it").event_id = event_id;
    recorded
}

#[derive(Debug, Clone)]
enum Step {
    Block(u8, u8, bool),
    /// Adds when there is no row, else removes.
    Contact(u8, u8, Option<u8>),
    Say(u8, Option<Option<u8>>, Option<Option<u8>>, Option<Option<u8>>),
    Want(u8, SettingsChange),
    Keep(u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let text = || prop::option::of(prop::option::of(0u8..5));
    prop_oneof![
        (0u8..3, 0u8..3, any::<bool>()).prop_map(|(a, b, place)| Step::Block(a, b, place)),
        (0u8..3, 0u8..3, prop::option::of(0u8..3)).prop_map(|(a, b, name)| Step::Contact(a, b, name)),
        (0u8..3, text(), text(), text()).prop_map(|(a, name, bio, url)| Step::Say(a, name, bio, url)),
        (0u8..3, prop::option::of(any::<bool>()), prop::option::of(0u8..3), prop::option::of(0u8..3)).prop_map(|(a, found, seen, zone)| {
            let last_seen = seen.map(|n| [LastSeen::Everybody, LastSeen::Contacts, LastSeen::Nobody][usize::from(n)]);
            let time_zone = zone.map(|n| format!("Zone/{n}"));
            Step::Want(a, SettingsChange { discoverable: found, last_seen, time_zone, ..SettingsChange::default() })
        }),
        (0u8..3, 0u8..3).prop_map(|(a, key)| Step::Keep(a, key)),
    ]
}

/// What is meant, folded one by one.
#[derive(Default)]
struct Meant {
    blocks: BTreeMap<(u8, u8), ()>,
    contacts: BTreeMap<(u8, u8), (ContactRowId, Option<String>)>,
    profiles: BTreeMap<u8, Meaning>,
}

#[derive(Default, Clone)]
struct Meaning {
    name: Option<Option<String>>,
    bio: Option<String>,
    url: Option<String>,
    settings: SettingsChange,
    key: Option<String>,
}

async fn played(vault: &Vault, steps: &[Step]) -> (Vec<Arc<Recorded>>, Meant) {
    let (mut events, mut meant) = (Vec::new(), Meant::default());
    for (step, position) in steps.iter().zip(1i64..) {
        events.push(match step.clone() {
            Step::Block(a, b, place) => {
                let (block_id, user_id, blocked_id) = (block_id(user(a), user(b)), user(a), user(b));
                let event = if place {
                    meant.blocks.insert((a, b), ());
                    BlockEvent::Placed(BlockPlaced { block_id, user_id, blocked_id })
                } else {
                    meant.blocks.remove(&(a, b));
                    BlockEvent::Lifted(BlockLifted { block_id, user_id, blocked_id })
                };
                recorded(&event, block_id, position)
            }
            Step::Contact(a, b, name) => match meant.contacts.remove(&(a, b)) {
                Some((row, _)) => {
                    let event = ContactRemoved { contact_row_id: row, user_id: user(a), contact_id: user(b) };
                    recorded(&ContactEvent::Removed(event), row, position)
                }
                None => {
                    let (row, name) = (ContactRowId(Uuid::now_v7()), name.map(|n| format!("name {n}")));
                    meant.contacts.insert((a, b), (row, name.clone()));
                    let nickname = name.map(|name| Personal::of(user(a), name));
                    let origin = ContactOrigin::Added;
                    let event = ContactAdded { contact_row_id: row, user_id: user(a), contact_id: user(b), nickname, origin };
                    sealed(vault, ContactEvent::Added(event), row, position).await
                }
            },
            Step::Say(a, name, bio, url) => {
                let text = |n: Option<Option<u8>>| n.map(|n| n.map(|n| format!("Text {n}")));
                let own = |text: Option<Option<String>>| text.map(|text| text.map(|text| Personal::of(user(a), text)));
                let (name, bio, url) = (text(name), text(bio), text(url));
                let profile = meant.profiles.entry(a).or_default();
                profile.name = name.clone().or_else(|| profile.name.take());
                profile.bio = bio.clone().unwrap_or_else(|| profile.bio.take());
                profile.url = url.clone().unwrap_or_else(|| profile.url.take());
                let event = ProfileUpdated { user_id: user(a), full_name: own(name), bio: own(bio), avatar_url: own(url) };
                sealed(vault, ProfileEvent::Updated(event), user(a), position).await
            }
            Step::Want(a, settings) => {
                let wanted = &mut meant.profiles.entry(a).or_default().settings;
                wanted.discoverable = settings.discoverable.or(wanted.discoverable);
                wanted.last_seen = settings.last_seen.or(wanted.last_seen);
                wanted.time_zone = settings.time_zone.clone().or_else(|| wanted.time_zone.take());
                recorded(&ProfileEvent::SettingsChanged(SettingsChanged { user_id: user(a), settings }), user(a), position)
            }
            Step::Keep(a, key) => {
                let key = format!("key {key}");
                meant.profiles.entry(a).or_default().key = Some(key.clone());
                let event = KeyBackupStored { user_id: user(a), encrypted_private_key: Personal::of(user(a), key) };
                sealed(vault, ProfileEvent::KeyBackupStored(event), user(a), position).await
            }
        });
    }
    (events, meant)
}

async fn deliver<P: Projection>(tables: &Tables, projection: &P, events: &[Arc<Recorded>], cuts: &[(usize, usize)]) {
    tables.empty::<P>().await;
    let mut place = 0;
    for (size, fall_back) in cuts.iter().copied().chain([(events.len(), 0)]) {
        let end = (place + size).min(events.len());
        tables.apply(projection, &events[place..end]).await;
        place = end - fall_back.min(end);
    }
    // Whoever fell back at last reads on to the end.
    tables.apply(projection, &events[place..]).await;
}

fn shown(rows: &[Value], columns: &[&str]) -> Vec<Value> {
    let mut shown: Vec<Value> = rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect()).collect();
    shown.sort_by_key(ToString::to_string);
    shown
}

fn sorted(mut rows: Vec<Value>) -> Vec<Value> {
    rows.sort_by_key(ToString::to_string);
    rows
}

#[tokio::test]
async fn whatever_the_batches_the_rows_are_what_was_meant() {
    let (tables, vault) = Tables::with_vault::<Blocks>().await;
    let cuts = prop::collection::vec((1usize..12, prop_oneof![3 => Just(0usize), 1 => 0usize..20]), 1..15);
    let strategy = (prop::collection::vec(step(), 1..40), cuts);
    let mut runner = TestRunner::new(Config::default());
    for _ in 0..24 {
        let (steps, cuts) = strategy.new_tree(&mut runner).expect("a history").current();
        let (events, meant) = played(&vault, &steps).await;
        let id = |n: u8| -> UserId { user(n) };

        deliver(&tables, &Blocks, &events, &cuts).await;
        let blocks = meant.blocks.keys().map(|(a, b)| json!([id(*a), id(*b)])).collect();
        assert_eq!(shown(&tables.rows("blocks.blocks").await, &["blocker", "blocked"]), sorted(blocks), "{steps:?} in {cuts:?}");

        deliver(&tables, &Contacts::new(vault.clone()), &events, &cuts).await;
        let contacts = meant.contacts.iter().map(|((a, b), (row, name))| json!([id(*a), id(*b), row, name])).collect();
        let columns = ["user_id", "contact_id", "contact_row_id", "nickname"];
        assert_eq!(shown(&tables.rows("contacts.contacts").await, &columns), sorted(contacts), "{steps:?} in {cuts:?}");

        deliver(&tables, &Profiles::new(vault.clone()), &events, &cuts).await;
        let profile = |(n, m): (&u8, &Meaning)| {
            let last_seen = m.settings.last_seen.unwrap_or_default().as_str();
            let found = m.settings.discoverable.unwrap_or(true);
            json!([id(*n), m.name.is_some(), m.name.clone().flatten(), m.bio, m.url, last_seen, found, m.settings.time_zone])
        };
        let columns = ["user_id", "full_name_set", "full_name", "bio", "avatar_url", "last_seen", "discoverable", "time_zone"];
        assert_eq!(shown(&tables.rows("profiles.profiles").await, &columns), sorted(meant.profiles.iter().map(profile).collect()));
        let names = meant.profiles.iter().filter_map(|(n, m)| Some(json!([id(*n), m.name.clone()??.to_lowercase()]))).collect();
        assert_eq!(shown(&tables.rows("profiles.full_names").await, &["user_id", "term"]), sorted(names));
        let keys = meant.profiles.iter().filter_map(|(n, m)| Some(json!([id(*n), m.key.as_ref()?]))).collect();
        assert_eq!(shown(&tables.rows("profiles.key_backups").await, &["user_id", "encrypted_private_key"]), sorted(keys));

        deliver(&tables, &Portraits::new(vault.clone()), &events, &cuts).await;
        let spoke = |n: &u8| steps.iter().any(|step| matches!(step, Step::Say(a, ..) if a == n));
        let portraits = meant.profiles.iter().filter(|(n, _)| spoke(n));
        let portraits = portraits.map(|(n, m)| json!([id(*n), m.name.is_some(), m.name.clone().flatten(), m.bio, m.url])).collect();
        let columns = ["user_id", "full_name_set", "full_name", "bio", "avatar_url"];
        assert_eq!(shown(&tables.rows("portraits.portraits").await, &columns), sorted(portraits));
    }
}

#[tokio::test]
async fn what_was_erased_is_nowhere_when_the_rows_are_made_again() {
    let (tables, vault) = Tables::with_vault::<Profiles>().await;
    let steps = [Step::Say(1, Some(Some(1)), Some(Some(1)), None), Step::Keep(1, 1), Step::Contact(1, 2, Some(1))];
    let (events, _) = played(&vault, &steps).await;
    let erase = sqlx::query("UPDATE keys.data_keys SET wrapped = NULL, destroyed_at = now() WHERE subject = $1").bind(user(1).0);
    assert_eq!(erase.execute(&tables.pool).await.expect("it is destroyed").rows_affected(), 1);
    // A process that never held the key.
    let vault = Vault::open(tables.pool.clone(), None).await.expect("the key store opens");
    tables.apply(&Profiles::new(vault.clone()), &events).await;
    assert_eq!(shown(&tables.rows("profiles.profiles").await, &["full_name", "bio"]), [json!([null, null])]);
    assert_eq!(tables.rows("profiles.full_names").await.len() + tables.rows("profiles.key_backups").await.len(), 0);
    tables.empty::<Contacts>().await;
    tables.apply(&Contacts::new(vault), &events).await;
    assert_eq!(shown(&tables.rows("contacts.contacts").await, &["nickname"]), [json!([null])]);
}
