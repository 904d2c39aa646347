use projectors::People;
use schemas::auth::{AccountEvent, AccountRegistered, Origin, Role, SessionEvent, SessionStarted};
use schemas::{Personal, SessionId};
use uuid::Uuid;

use crate::history::{at, recorded, user};
use crate::tables::Tables;

fn registered(n: u8, position: i64) -> std::sync::Arc<schemas::Recorded> {
    let sealed = Personal::Sealed { subject: user(n).0, sealed: "bm8ga2V5IG9wZW5zIHRoaXM=".into() };
    let event = AccountEvent::Registered(AccountRegistered {
        user_id: user(n),
        email: Some(sealed.clone()),
        username: sealed,
        full_name: None,
        role: Role::User,
        public_keys: Vec::new(),
        origin: Origin::Registered,
    });
    recorded(&event, user(n), position)
}

#[tokio::test]
async fn whoever_registered_exists_without_a_seal_being_opened_and_sessions_change_nothing() {
    let tables = Tables::of::<People>().await;
    let session = SessionId(Uuid::now_v7());
    let started = SessionEvent::Started(SessionStarted {
        session_id: session,
        user_id: user(9),
        device: None,
        address_prefix: None,
        expires_at: at(99),
    });
    let events = [registered(1, 1), recorded(&started, session, 2), registered(2, 3), registered(1, 1)];
    for batch in [&events[..], &events[1..], &events[..]] {
        tables.apply(&People, batch).await;
    }
    let people: Vec<Uuid> = sqlx::query_scalar("SELECT user_id FROM people.people ORDER BY 1").fetch_all(&tables.pool).await.expect("rows");
    assert_eq!(people, [user(1).0, user(2).0]);
}
