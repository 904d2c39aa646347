use std::sync::Arc;

use platform::log::{ApplyError, Projection};
use platform::vault::Vault;
use projectors::Users;
use schemas::auth::{
    AccountEvent, AccountPasswordChanged, AccountPublicKeyAdded, AccountRegistered, AccountRoleChanged, AccountUsernameChanged, Origin,
    PasswordReason, PublicKey, Role,
};
use schemas::{Personal, Recorded, UserId};
use serde_json::{Value, json};

use crate::history::{at, recorded, user};
use crate::tables::Tables;

async fn with_vault() -> (Tables, Vault) {
    Tables::with_vault::<Users>().await
}

/// Sealed as a ledger holds it.
async fn registered(vault: &Vault, id: UserId, position: i64) -> Arc<Recorded> {
    let key =
        |n: i32| PublicKey { key_id: n.to_string(), algorithm: "SECP256R1".into(), key_data: format!("key {n}"), created_at: at(position) };
    let mut event = AccountEvent::Registered(AccountRegistered {
        user_id: id,
        email: Some(Personal::of(id, format!("{position}@example.org"))),
        username: Personal::of(id, format!("user {position}")),
        full_name: None,
        role: Role::User,
        public_keys: vec![key(1), key(2)],
        origin: Origin::Registered,
    });
    let event_id = uuid::Uuid::now_v7();
    vault.seal(event_id, &mut event).await.expect("it seals");
    let mut recorded = recorded(&event, id, position);
    Arc::get_mut(&mut recorded).expect("nobody else has it").event_id = event_id;
    recorded
}

async fn erase(tables: &Tables, id: UserId) {
    let erase = sqlx::query("UPDATE keys.data_keys SET wrapped = NULL, destroyed_at = now() WHERE subject = $1");
    assert_eq!(erase.bind(id.0).execute(&tables.pool).await.expect("it is destroyed").rows_affected(), 1);
}

fn shown(rows: &[Value]) -> Vec<Value> {
    rows.iter()
        .map(|row| json!([row["email"], row["username"], row["full_name"], row["public_key"], row["role"], row["is_active"]]))
        .collect()
}

#[tokio::test]
async fn who_registered_is_shown_with_what_was_sealed_and_their_newest_key() {
    let (tables, vault) = with_vault().await;
    let events = [registered(&vault, user(1), 1).await, registered(&vault, user(2), 2).await];
    let users = Users::new(vault);
    for batch in [&events[..1], &events[..], &events[1..]] {
        tables.apply(&users, batch).await;
    }
    let expected = [1, 2].map(|n| json!([format!("{n}@example.org"), format!("user {n}"), null, "key 2", "user", true]));
    assert_eq!(shown(&tables.rows("users.users").await), expected);
}

#[tokio::test]
async fn what_was_erased_stays_empty_when_the_rows_are_made_again() {
    let (tables, vault) = with_vault().await;
    let events = [registered(&vault, user(1), 1).await, registered(&vault, user(2), 2).await];
    erase(&tables, user(1)).await;
    // A process that never held the key.
    let users = Users::new(Vault::open(tables.pool.clone(), None).await.expect("the key store opens"));
    tables.apply(&users, &events).await;
    let expected = [json!([null, null, null, "key 2", "user", true]), json!(["2@example.org", "user 2", null, "key 2", "user", true])];
    assert_eq!(shown(&tables.rows("users.users").await), expected);
}

#[tokio::test]
async fn a_seal_that_does_not_open_is_its_events_fault_and_a_missing_key_is_nobodys() {
    let (tables, vault) = with_vault().await;
    let whole = registered(&vault, user(1), 1).await;
    let mut moved = Recorded::clone(&whole);
    moved.event_id = uuid::Uuid::now_v7();
    let users = Users::new(vault);
    let error = users.fold(&[Arc::new(moved)]).await.err().expect("it was sealed for another event");
    assert!(matches!(error, ApplyError::Event { position: 1, .. }), "{error}");

    sqlx::query("DELETE FROM keys.data_keys").execute(&tables.pool).await.expect("the keys are gone");
    let users = Users::new(Vault::open(tables.pool.clone(), None).await.expect("the key store opens"));
    let error = users.fold(&[whole]).await.err().expect("a missing key is never a blank");
    assert!(matches!(error, ApplyError::Infrastructure(_)), "{error}");
}

/// A later event of an account, sealed as a ledger holds it.
async fn later(vault: &Vault, mut event: AccountEvent, id: UserId, position: i64) -> Arc<Recorded> {
    let event_id = uuid::Uuid::now_v7();
    vault.seal(event_id, &mut event).await.expect("it seals");
    let mut recorded = recorded(&event, id, position);
    Arc::get_mut(&mut recorded).expect("nobody else has it").event_id = event_id;
    recorded
}

#[tokio::test]
async fn what_became_of_an_account_is_shown_however_it_was_batched_and_applied_again() {
    let renamed =
        |name: &str| AccountEvent::UsernameChanged(AccountUsernameChanged { user_id: user(1), username: Personal::of(user(1), name) });
    let key = PublicKey { key_id: "3".into(), algorithm: "SECP256R1".into(), key_data: "key 3".into(), created_at: at(3) };
    for together in [1, 2, 3, 7] {
        let (tables, vault) = with_vault().await;
        let changes = [
            renamed("anna"),
            AccountEvent::PublicKeyAdded(AccountPublicKeyAdded { user_id: user(1), key: key.clone() }),
            AccountEvent::PasswordChanged(AccountPasswordChanged { user_id: user(1), reason: PasswordReason::Changed }),
            AccountEvent::RoleChanged(AccountRoleChanged { user_id: user(1), role: Role::Admin }),
            renamed("anne"),
        ];
        let mut events = vec![registered(&vault, user(1), 1).await, registered(&vault, user(2), 2).await];
        for (change, position) in changes.into_iter().zip(3..) {
            events.push(later(&vault, change, user(1), position).await);
        }
        let users = Users::new(vault);
        for _ in 0..2 {
            for batch in events.chunks(together) {
                tables.apply(&users, batch).await;
            }
        }
        let mut rows = shown(&tables.rows("users.users").await);
        rows.sort_by_key(|row| row[0].to_string());
        assert_eq!(rows[0], json!(["1@example.org", "anne", null, "key 3", "admin", true]), "in batches of {together}");
        assert_eq!(rows[1], json!(["2@example.org", "user 2", null, "key 2", "user", true]), "in batches of {together}");
    }
}
