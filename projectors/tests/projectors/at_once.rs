//! Batches that are written and accounted for in one statement.

use std::sync::Arc;
use std::time::Duration;

use platform::log::{Moved, Projection};
use projectors::{Conversations, Relay};
use schemas::read_models::ReadModel;
use schemas::{MessageId, Recorded};
use sqlx::{AssertSqlSafe, Connection, Executor};
use testkit::wait_until;
use uuid::Uuid;

use crate::history::{delivered, sent};
use crate::tables::{Tables, step};

const BOUND: Duration = Duration::from_secs(10);

fn a_message() -> Arc<Recorded> {
    sent(MessageId(Uuid::now_v7()), 1, 2, 10, Some(60), false)
}

/// What is written only where the checkpoint stands as it is believed to: in which tables.
async fn nothing_is_written_unless_the_checkpoint_is_moved<P: Projection>(projection: P, written: &[&str]) {
    let tables = Tables::of::<P>().await;
    let folded = projection.fold(&[a_message()]).await.expect("it folds");
    let name = P::Model::NAME;
    let count = async || {
        let mut rows = 0;
        for table in written {
            rows += tables.rows(&format!("{name}.{table}")).await.len();
        }
        rows
    };
    for (change, back) in [
        ("UPDATE checkpoints SET state = 'retired'", "UPDATE checkpoints SET state = 'live'"),
        ("UPDATE checkpoints SET build = build + 1", "UPDATE checkpoints SET build = build - 1"),
        ("UPDATE checkpoints SET last_position = 7", "UPDATE checkpoints SET last_position = 0"),
        ("UPDATE checkpoints SET next_offset = 7", "UPDATE checkpoints SET next_offset = 0"),
        ("UPDATE checkpoints SET source = 'another'", "UPDATE checkpoints SET source = ''"),
        ("INSERT INTO parked (topic, partition_key, position, event) VALUES ('t', 'k', 1, '{}')", "DELETE FROM parked"),
    ] {
        let run = async |sql: &str| {
            let mut tx = tables.pool.begin().await.expect("the server answers");
            tx.execute(AssertSqlSafe(format!("SET LOCAL search_path = {name}; {sql}"))).await.expect("it is done");
            tx.commit().await.expect("it commits");
        };
        run(change).await;
        let moved = tables.at_once(&projection, &step::<P>(0, 1), &folded).await;
        let anything_parked = change.contains("parked");
        assert_eq!((moved, count().await), (Some(Moved { rows: 0, anything_parked }), 0), "{change}");
        run(back).await;
    }

    // Somebody else moves it while this one waits.
    let mut other = tables.pool.acquire().await.expect("the server answers");
    let mut other = other.begin().await.expect("a transaction");
    other.execute(AssertSqlSafe(format!("UPDATE {name}.checkpoints SET last_position = 1"))).await.expect("it is moved");
    let late = async {
        let moved = tables.at_once(&projection, &step::<P>(0, 1), &folded).await;
        assert_eq!((moved, count().await), (Some(Moved { rows: 0, anything_parked: false }), 0));
    };
    let overtaken = async {
        wait_until("it waits", BOUND, async || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let waits: i64 = sqlx::query_scalar(waits).fetch_one(&tables.pool).await.expect("a number");
            (waits > 0).then_some(())
        })
        .await;
        other.commit().await.expect("it commits");
    };
    tokio::join!(late, overtaken);

    let moved = tables.at_once(&projection, &step::<P>(1, 2), &folded).await;
    assert_eq!((moved, count().await), (Some(Moved { rows: 1, anything_parked: false }), written.len()));
    let more = projection.fold(&[delivered(MessageId(Uuid::now_v7()), 1, 2, 20)]).await.expect("it folds");
    assert_eq!(tables.at_once(&projection, &step::<P>(2, 3), &more).await, None, "receipts take a transaction");
}

#[tokio::test]
async fn no_message_is_written_to_history_unless_the_checkpoint_is_moved_with_it() {
    nothing_is_written_unless_the_checkpoint_is_moved(Conversations, &["messages", "inbox"]).await;
}

#[tokio::test]
async fn no_message_begins_to_wait_unless_the_checkpoint_is_moved_with_it() {
    nothing_is_written_unless_the_checkpoint_is_moved(Relay, &["relay_pending"]).await;
}
