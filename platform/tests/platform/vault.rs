use std::sync::Arc;
use std::time::Duration;

use platform::vault::{Vault, VaultError};
use proptest::prelude::*;
use schemas::auth::{AccountEvent, AccountRegistered, Origin, Role, SessionEvent, SessionStarted};
use schemas::{Event, Personal, SessionId, UserId};
use sqlx::{Executor, PgPool};
use testkit::servers::{TestDatabase, database};
use uuid::Uuid;

async fn key_store() -> TestDatabase {
    let database = database().await;
    let mut connection = database.pool.acquire().await.unwrap();
    connection.execute("CREATE SCHEMA keys; SET search_path = keys").await.unwrap();
    connection.execute(include_str!("../../../migrations/keys/0001_keys.sql")).await.unwrap();
    connection.execute("RESET search_path").await.unwrap();
    database
}

async fn vault(pool: &PgPool) -> Vault {
    Vault::open(pool.clone(), None).await.unwrap()
}

fn registered(user: UserId) -> AccountEvent {
    AccountEvent::Registered(AccountRegistered {
        user_id: user,
        email: Some(Personal::of(user, "ann@example.org")),
        username: Personal::of(user, "ann"),
        full_name: None,
        role: Role::User,
        public_keys: vec![],
        origin: Origin::Registered,
    })
}

fn fields(event: &AccountEvent) -> (Option<Personal>, Personal) {
    let AccountEvent::Registered(event) = event else { panic!("another event") };
    (event.email.clone(), event.username.clone())
}

fn user() -> UserId {
    UserId(Uuid::now_v7())
}

#[tokio::test]
async fn what_was_sealed_opens_in_another_process_and_nothing_stands_in_the_clear() {
    let store = key_store().await;
    let (ann, id) = (user(), Uuid::now_v7());
    let mut event = registered(ann);
    vault(&store.pool).await.seal(id, &mut event).await.unwrap();
    let written = event.payload().unwrap();
    assert!(!written.get().contains("ann"), "{written}");
    vault(&store.pool).await.unseal(id, &mut event).await.unwrap();
    assert_eq!(fields(&event), fields(&registered(ann)));
}

#[tokio::test]
async fn two_seals_of_one_value_differ() {
    let store = key_store().await;
    let vault = vault(&store.pool).await;
    let (ann, id) = (user(), Uuid::now_v7());
    let (mut one, mut two) = (registered(ann), registered(ann));
    vault.seal(id, &mut one).await.unwrap();
    vault.seal(id, &mut two).await.unwrap();
    assert_ne!(fields(&one), fields(&two));
}

#[tokio::test]
async fn many_vaults_that_make_a_subjects_key_at_once_make_one() {
    let store = key_store().await;
    let (ann, bob, id) = (user(), user(), Uuid::now_v7());
    let sealed = futures::future::join_all((0..16).map(|n| {
        let pool = store.pool.clone();
        async move {
            let vault = vault(&pool).await;
            let subject = |n: i32| if n % 2 == 0 { ann } else { bob };
            let mut event = registered(subject(n));
            // Both subjects, in either order.
            let AccountEvent::Registered(inner) = &mut event else { panic!("another event") };
            inner.full_name = Some(Personal::of(subject(n + 1), "the other"));
            vault.seal(id, &mut event).await.unwrap();
            event
        }
    }))
    .await;
    let reader = vault(&store.pool).await;
    for mut event in sealed {
        reader.unseal(id, &mut event).await.unwrap();
        assert_eq!(fields(&event).1.reveal().unwrap(), Some("ann"));
    }
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM keys.data_keys").fetch_one(&store.pool).await.unwrap();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn many_processes_that_open_a_new_store_at_once_agree_on_its_keys() {
    let store = key_store().await;
    let digests = futures::future::join_all((0..8).map(|_| async { vault(&store.pool).await.digest("email.v1", "ann@example.org") })).await;
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
}

#[tokio::test]
async fn a_seal_opens_in_its_own_field_of_its_own_event_only() {
    let store = key_store().await;
    let vault = vault(&store.pool).await;
    let (ann, bob, id) = (user(), user(), Uuid::now_v7());
    let mut sealed = registered(ann);
    vault.seal(id, &mut sealed).await.unwrap();
    vault.seal(id, &mut registered(bob)).await.unwrap();

    let broken = async |event_id: Uuid, change: &dyn Fn(&mut AccountRegistered)| {
        let mut event = sealed.clone();
        let AccountEvent::Registered(inner) = &mut event else { panic!("another event") };
        change(inner);
        let outcome = vault.unseal(event_id, &mut event).await;
        assert!(matches!(outcome, Err(VaultError::Broken { event, .. }) if event == event_id), "{outcome:?}");
    };
    broken(Uuid::now_v7(), &|_| {}).await;
    broken(id, &|event| event.username = event.email.clone().unwrap()).await;
    let with = |edit: fn(&str) -> String, subject: UserId| {
        move |event: &mut AccountRegistered| {
            let Personal::Sealed { sealed, .. } = &event.username else { panic!("it is sealed") };
            event.username = Personal::Sealed { subject: subject.0, sealed: edit(sealed) };
        }
    };
    broken(id, &with(str::to_owned, bob)).await;
    broken(id, &with(|_| String::new(), ann)).await;
    broken(id, &with(|_| "not base64!".to_owned(), ann)).await;
    broken(id, &with(|sealed| sealed[..sealed.len() - 4].to_owned(), ann)).await;
    broken(id, &with(|sealed| if sealed.starts_with('A') { sealed.replacen('A', "B", 1) } else { format!("A{}", &sealed[1..]) }, ann))
        .await;
}

#[tokio::test]
async fn a_destroyed_key_opens_as_erased_and_a_missing_one_is_an_error() {
    let store = key_store().await;
    let (ann, id) = (user(), Uuid::now_v7());
    let mut sealed = registered(ann);
    vault(&store.pool).await.seal(id, &mut sealed).await.unwrap();

    sqlx::query("UPDATE keys.data_keys SET wrapped = NULL, destroyed_at = now()").execute(&store.pool).await.unwrap();
    let later = vault(&store.pool).await;
    let mut event = sealed.clone();
    later.unseal(id, &mut event).await.unwrap();
    assert_eq!(fields(&event).1.reveal(), Ok(None));
    let outcome = later.seal(Uuid::now_v7(), &mut registered(ann)).await;
    assert!(matches!(outcome, Err(VaultError::Destroyed(subject)) if subject == ann.0), "{outcome:?}");

    sqlx::query("DELETE FROM keys.data_keys").execute(&store.pool).await.unwrap();
    let outcome = vault(&store.pool).await.unseal(id, &mut sealed).await;
    assert!(matches!(outcome, Err(VaultError::Missing(subject)) if subject == ann.0), "{outcome:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_unavailable_and_never_a_blank() {
    let store = key_store().await;
    let (ann, id) = (user(), Uuid::now_v7());
    let mut sealed = registered(ann);
    let vault = vault(&store.pool).await;
    vault.seal(id, &mut sealed).await.unwrap();
    let fresh = Vault::open(store.pool.clone(), None).await.unwrap();
    store.pool.close().await;
    let outcome = fresh.unseal(id, &mut sealed.clone()).await;
    assert!(matches!(outcome, Err(VaultError::Unavailable(_))), "{outcome:?}");
    let outcome = fresh.seal(id, &mut registered(user())).await;
    assert!(matches!(outcome, Err(VaultError::Unavailable(_))), "{outcome:?}");
    vault.unseal(id, &mut sealed).await.expect("it is in this one's cache");
}

#[tokio::test]
async fn a_key_store_that_hangs_is_unavailable_in_bounded_time() {
    let store = key_store().await;
    let vault = vault(&store.pool).await;
    let mut lock = store.pool.begin().await.unwrap();
    lock.execute("LOCK TABLE keys.data_keys IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(5), vault.prefetch(&[Uuid::now_v7()])).await;
    assert!(matches!(outcome, Ok(Err(VaultError::Unavailable(_)))), "{outcome:?}");
}

#[tokio::test]
async fn after_a_prefetch_nothing_is_asked_any_more() {
    let store = key_store().await;
    let (ann, id) = (user(), Uuid::now_v7());
    let mut sealed = registered(ann);
    vault(&store.pool).await.seal(id, &mut sealed).await.unwrap();
    let reader = vault(&store.pool).await;
    reader.prefetch(&[ann.0, Uuid::now_v7()]).await.unwrap();
    store.pool.close().await;
    reader.unseal(id, &mut sealed).await.unwrap();
}

#[tokio::test]
async fn a_store_is_opened_with_the_wrapping_key_it_was_made_with() {
    let sentence = async |pool: &PgPool, key: Option<[u8; 32]>| Vault::open(pool.clone(), key).await.unwrap_err().to_string();

    let store = key_store().await;
    let vault = Vault::open(store.pool.clone(), Some([7; 32])).await.unwrap();
    let kept: Option<Vec<u8>> = sqlx::query_scalar("SELECT wrapping_key FROM keys.key_store").fetch_one(&store.pool).await.unwrap();
    assert_eq!(kept, None, "a configured key is never written down");
    let again = Vault::open(store.pool.clone(), Some([7; 32])).await.unwrap();
    assert_eq!(vault.digest("a", "b"), again.digest("a", "b"));
    assert!(sentence(&store.pool, Some([8; 32])).await.contains("keys.wrapping_key"));
    assert!(sentence(&store.pool, None).await.contains("keys.wrapping_key"));

    let store = key_store().await;
    Vault::open(store.pool.clone(), None).await.unwrap();
    assert!(sentence(&store.pool, Some([7; 32])).await.contains("remove the setting"));
}

#[tokio::test]
async fn digests_are_separated_by_kind_and_by_store() {
    let (one, two) = (key_store().await, key_store().await);
    let (vault, other) = (vault(&one.pool).await, vault(&two.pool).await);
    let digest = vault.digest("email.v1", "ann@example.org");
    assert_eq!(digest.len(), 64);
    assert_eq!(digest, vault.digest("email.v1", "ann@example.org"));
    assert_ne!(digest, vault.digest("username.v1", "ann@example.org"));
    assert_ne!(vault.digest("ab", "c"), vault.digest("a", "bc"));
    assert_ne!(digest, other.digest("email.v1", "ann@example.org"));
}

#[test]
fn any_text_comes_back_as_it_was() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let vault = Arc::new(runtime.block_on(async { vault(&key_store().await.pool).await }));
    proptest!(ProptestConfig::with_cases(64), |(text: String)| {
        let (ann, id) = (user(), Uuid::now_v7());
        let started = |device: Personal| SessionEvent::Started(SessionStarted {
            session_id: SessionId(id), user_id: ann, device: Some(device), address_prefix: None,
            expires_at: "2026-01-31T09:30:00Z".parse().unwrap(),
        });
        let mut event = started(Personal::of(ann, text.clone()));
        runtime.block_on(async {
            vault.seal(id, &mut event).await.unwrap();
            vault.unseal(id, &mut event).await.unwrap();
        });
        prop_assert!(event == started(Personal::of(ann, text)));
    });
}
