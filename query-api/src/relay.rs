//! `GET /relay/stats`, `POST /relay/cleanup`: the queue as a whole.

use axum::Json;
use axum::extract::State;
use platform::auth::Caller;
use platform::clock;
use platform::fresh::Fresh;
use platform::http::api::{Api, get, post};
use platform::http::{Params, Problem};
use platform::presence::Presence;
use schemars::JsonSchema;
use schemas::read_models::Relay;
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;

use crate::Reads;
use crate::database::ask;

pub(crate) fn routes() -> Api<Reads> {
    Api::new()
        .route(get("/relay/stats", stats).says("relay.stats", "How full the queue is", "Numbers of the whole queue, everybody's."))
        .route(
            post("/relay/cleanup", cleanup)
                .says(
                    "relay.cleanup",
                    "Remove what has expired",
                    "Removes expired messages from the queue. No reader sees them as it is; this only frees their place. For admins.",
                )
                .refuses([admin_only()]),
        )
}

fn admin_only() -> Problem {
    Problem::forbidden("admin_only", "Only an admin can do this")
}

#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StatsAnswer")]
struct Answer {
    /// Always `true`.
    success: bool,
    /// The numbers.
    stats: Stats,
}

/// Numbers of the whole queue, everybody's.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
struct Stats {
    /// Messages in the queue, expired ones that were not removed yet included.
    total_messages: i64,
    /// Of these, those that still wait.
    deliverable_messages: i64,
    /// Of these, those that do not, since their time has passed.
    expired_messages: i64,
    /// Messages that were ever acknowledged.
    acknowledged_messages: i64,
    /// People who are online at this moment.
    online_users: u64,
    /// People for whom something waits.
    unique_recipients: i64,
}

/// How full the queue is.
async fn stats(caller: Caller, params: Params, State(presence): State<Presence>, fresh: Fresh<(Relay,)>) -> Result<Json<Answer>, Problem> {
    params.must_be(&caller)?;
    let stats = counted(fresh.pool(), clock::now().into_inner(), presence.count().await).await?;
    Ok(Json(Answer { success: true, stats }))
}

async fn counted(pool: &PgPool, now: OffsetDateTime, online_users: u64) -> Result<Stats, Problem> {
    let row = ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query!(
                r#"SELECT count(*) AS "total!", count(*) FILTER (WHERE expires_at > $1) AS "deliverable!",
                          count(DISTINCT recipient_id) FILTER (WHERE expires_at > $1) AS "recipients!",
                          (SELECT coalesce(sum(receipts), 0)::bigint FROM relay.relay_receipts) AS "acknowledged!"
                     FROM relay.relay_pending"#,
                now
            )
            .fetch_one(db)
            .await
        })
    })
    .await?;
    Ok(Stats {
        total_messages: row.total,
        deliverable_messages: row.deliverable,
        expired_messages: row.total - row.deliverable,
        acknowledged_messages: row.acknowledged,
        online_users,
        unique_recipients: row.recipients,
    })
}

#[derive(Debug, Serialize, JsonSchema)]
struct Cleaned {
    /// Always `true`.
    success: bool,
    /// How many expired messages were removed from the queue.
    deleted_count: u64,
}

/// Removes what has expired from the queue; no reader sees it any more as it is. For admins.
async fn cleanup(caller: Caller, params: Params, fresh: Fresh<(Relay,)>) -> Result<Json<Cleaned>, Problem> {
    params.must_be(&caller)?;
    if caller.role != "admin" {
        return Err(admin_only());
    }
    Ok(Json(Cleaned { success: true, deleted_count: remove_all_expired(fresh.pool()).await? }))
}

/// Removes what has expired from the queue, a little at a time; nobody depends on it, since no reader sees such rows. `pool`: of the messages service.
///
/// # Errors
/// When the database does not answer; what was removed stays so.
pub async fn remove_all_expired(pool: &PgPool) -> Result<u64, Problem> {
    let now = clock::now().into_inner();
    let mut removed = 0;
    loop {
        match remove_expired(pool, now).await? {
            0 => return Ok(removed),
            some => removed += some,
        }
    }
}

/// Some of it: few enough to hold nobody up.
async fn remove_expired(pool: &PgPool, now: OffsetDateTime) -> Result<u64, Problem> {
    ask(pool, move |db| {
        Box::pin(async move {
            sqlx::query!(
                "DELETE FROM relay.relay_pending
                  WHERE message_id IN (SELECT message_id FROM relay.relay_pending WHERE expires_at <= $1 LIMIT 2000 FOR UPDATE SKIP LOCKED)",
                now
            )
            .execute(db)
            .await
            .map(|done| done.rows_affected())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::{Stats, counted, remove_expired};
    use crate::testing::Tables;
    use time::macros::datetime;

    const SCHEMA: &str = include_str!("../../projectors/src/relay/schema.sql");

    #[tokio::test]
    async fn what_has_expired_is_counted_apart_and_is_all_that_a_cleanup_removes() {
        let tables = Tables::of("relay", SCHEMA).await;
        sqlx::raw_sql(
            "INSERT INTO relay.relay_pending (message_id, recipient_id, recorded_at, position, expires_at, sender_id, encrypted_content,
                                              encrypted_session_key, crypto_version, encryption_algorithm, kdf_algorithm)
             SELECT gen_random_uuid(), ('00000000-0000-0000-0000-00000000000' || i % 3)::uuid, timestamptz '2026-01-01 00:00Z', i,
                    CASE WHEN i % 3 = 0 THEN timestamptz '2026-01-02 00:00Z' ELSE timestamptz '2026-01-03 00:00Z' END, gen_random_uuid(), 'c', 'k', 'v', 'e', 'h'
               FROM generate_series(1, 9000) i;
             INSERT INTO relay.relay_receipts VALUES (3, 10, 4), (7, 20, 5)",
        )
        .execute(&tables.pool)
        .await
        .expect("rows");
        let expected = Stats {
            total_messages: 9_000,
            deliverable_messages: 6_000,
            expired_messages: 3_000,
            acknowledged_messages: 9,
            online_users: 7,
            unique_recipients: 2,
        };
        // A row that ends at this very moment has ended.
        let now = datetime!(2026-01-02 00:00 UTC);
        assert_eq!(counted(&tables.pool, now, 7).await.expect("numbers"), expected);
        let mut removed = Vec::new();
        while removed.last() != Some(&0) {
            removed.push(remove_expired(&tables.pool, now).await.expect("it removes"));
        }
        assert_eq!(removed, [2_000, 1_000, 0]);
        let left = Stats { total_messages: 6_000, expired_messages: 0, ..expected };
        assert_eq!(counted(&tables.pool, now, 7).await.expect("numbers"), left);
    }
}
