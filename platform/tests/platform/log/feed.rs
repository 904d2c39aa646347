use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::ledger::{Append, Feed, Ledger, LedgerConfig, Look, NewEvent};
use platform::shutdown::Shutdown;
use schemas::{Metadata, Recorded, Topic};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::support::TestLedger;

/// Everything that stands after a position.
async fn all_after(feed: &Feed, mut position: i64) -> Vec<Arc<Recorded>> {
    let mut all = Vec::new();
    loop {
        let page = feed.after(position).await.unwrap();
        if page.events.is_empty() {
            return all;
        }
        position = page.scanned;
        all.extend(page.events);
    }
}

fn founding(n: usize) -> NewEvent {
    let id = Uuid::now_v7();
    NewEvent {
        aggregate_type: "message",
        aggregate_id: id.to_string(),
        sequence: 1,
        event_id: id,
        event_type: "message.sent".to_owned(),
        event_version: "1".to_owned(),
        payload: RawValue::from_string(format!(r#"{{ "n":{n}, "text":"\u00e4 ä" }}"#)).unwrap(),
        metadata: Metadata { actor: "system".to_owned(), correlation_id: "c".to_owned(), ..Metadata::default() },
        partition_key: format!("key-{}", n % 3),
        at: None,
    }
}

#[tokio::test]
async fn what_this_process_writes_is_handed_on_as_it_stands_in_the_ledger_whoever_else_writes_between() {
    let other = TestLedger::new().await;
    let (url, pool, deadline) = (other.url.clone(), other.pool.clone(), Duration::from_secs(5));
    let own = Ledger::bare(LedgerConfig { url, topic: Topic::Messages, pool, redis: None, deadline }, Shutdown::new()).await.unwrap();
    let mut handed = all_after(own.feed(), 0).await;
    for n in 0..60 {
        match n % 7 {
            0 => drop(other.fill(n, 2, 3).await),
            // A batch that is refused leaves a hole.
            3 => {
                let twice = founding(n);
                own.append(Append { events: vec![twice.clone()], ..Append::default() }).await.unwrap();
                own.append(Append { events: vec![NewEvent { event_id: Uuid::now_v7(), ..twice }], ..Append::default() }).await.unwrap_err();
            }
            _ => drop(own.append(Append { events: vec![founding(n), founding(n)], ..Append::default() }).await.unwrap()),
        }
        if n % 5 != 0 {
            let position = handed.last().map_or(0, |event| event.position);
            handed.extend(all_after(own.feed(), position).await);
        }
    }
    let position = handed.last().map_or(0, |event| event.position);
    handed.extend(all_after(own.feed(), position).await);
    let stands = Look::open(other.pool.clone(), Topic::Messages).await.unwrap().unwrap().after(None, 0).await.unwrap().events;
    assert_eq!(format!("{handed:#?}"), format!("{stands:#?}"));
    assert!(stands.len() > 100);
}

#[tokio::test]
async fn followers_at_the_tail_share_the_very_same_events() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    let positions = ledger.fill(0, 10, 3).await;
    let (a, b) = (feed.after(0).await.unwrap(), feed.after(positions[4]).await.unwrap());
    assert_eq!(a.events.len(), 10);
    assert_eq!(b.events.len(), 5);
    assert!(Arc::ptr_eq(&a.events[9], &b.events[4]));
}

#[tokio::test]
async fn a_follower_behind_the_ring_reads_pages_of_its_own_until_it_is_at_the_tail() {
    let ledger = TestLedger::new().await;
    let positions = ledger.fill(0, 4500, 7).await;
    let feed = ledger.feed().await;
    let mut seen = Vec::new();
    let mut at = 0;
    loop {
        let page = feed.after(at).await.unwrap();
        assert!(page.events.len() <= 2000);
        if page.events.is_empty() {
            break;
        }
        seen.extend(page.events.iter().map(|e| e.position));
        at = page.scanned;
    }
    assert_eq!(seen, positions);
}

#[tokio::test]
async fn a_page_of_large_events_is_cut_by_bytes() {
    let ledger = TestLedger::new().await;
    let big = format!(r#""{}""#, "x".repeat(900 << 10));
    for _ in 0..12 {
        ledger.append(&[("k".into(), big.clone())]).await;
    }
    let feed = ledger.feed().await;
    let page = feed.after(0).await.unwrap();
    let bytes: usize = page.events.iter().map(|e| e.payload.get().len()).sum();
    assert!(bytes <= 8 << 20 && page.events.len() >= 7, "{} events, {bytes} bytes", page.events.len());
    assert_eq!(page.scanned, page.events.last().unwrap().position);
    assert_eq!(page.events.len() + feed.after(page.scanned).await.unwrap().events.len(), 12);
}

#[tokio::test]
async fn whoever_waits_is_woken_at_once_by_a_writer_of_this_process() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    // Idle for long: without a wake-up it would look only once a second.
    let positions = ledger.fill(0, 1, 1).await;
    assert_eq!(feed.after(0).await.unwrap().scanned, positions[0]);
    let waiting = tokio::spawn({
        let feed = feed.clone();
        async move {
            loop {
                feed.changed(positions[0]).await;
                if let Some(event) = feed.after(positions[0]).await.unwrap().events.first() {
                    return event.position;
                }
            }
        }
    });
    let next = ledger.fill(1, 1, 1).await;
    feed.wake(next[0]);
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap(), next[0]);
}

#[tokio::test]
async fn a_wake_up_between_looking_and_waiting_is_not_lost() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    assert!(feed.after(0).await.unwrap().events.is_empty());
    feed.wake(1);
    let begin = Instant::now();
    feed.changed(0).await;
    assert!(begin.elapsed() < Duration::from_millis(4), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn events_of_another_process_are_found_by_looking() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    let follower = tokio::spawn(async move {
        loop {
            let page = feed.after(0).await.unwrap();
            if !page.events.is_empty() {
                return page.events.len();
            }
            feed.changed(0).await;
        }
    });
    ledger.fill(0, 3, 1).await;
    assert_eq!(tokio::time::timeout(Duration::from_secs(5), follower).await.unwrap().unwrap(), 3);
}

#[tokio::test]
async fn a_word_of_what_nobody_committed_is_followed_once() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    feed.wake(i64::MAX);
    let (begin, mut looks) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_millis(500) {
        feed.changed(0).await;
        assert!(feed.after(0).await.unwrap().events.is_empty());
        looks += 1;
    }
    // Every 50 ms at the most, and not as fast as it goes.
    assert!(looks <= 12, "{looks} looks");
}

#[tokio::test]
async fn what_one_finds_by_looking_wakes_the_others() {
    let ledger = TestLedger::new().await;
    let feed = ledger.feed().await;
    // A writer has woken us lately, so that whoever waits does so for long.
    feed.wake(0);
    let waiting = tokio::spawn({
        let feed = feed.clone();
        async move { feed.changed(0).await }
    });
    let positions = ledger.fill(0, 1, 1).await;
    assert_eq!(feed.after(0).await.unwrap().scanned, positions[0]);
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
}
