//! What only a topic can do to its reader.

use std::collections::BTreeSet;
use std::sync::Arc;

use platform::log::{Checkpoints, EventSource, LedgerSource, SourceError};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use schemas::{Topic, key_hash, partition};
use uuid::Uuid;

use super::conformance::{Reader, seek};
use super::support::FromKafka;

/// Writes a record as a publisher would, but with any chain.
async fn produce(world: &FromKafka, position: i64, prev: i64) {
    let producer: FutureProducer = world.kafka.client().create().unwrap();
    let incarnation = world.ledger.feed().await.incarnation().to_string();
    let id = Uuid::now_v7().to_string();
    let (position, prev) = (position.to_string(), prev.to_string());
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", "postrider.message.sent.v1"),
        ("ce_subject", &id),
        ("ce_time", "2026-01-01T00:00:00.000000Z"),
        ("ce_aggregatetype", "message"),
        ("ce_sequence", "1"),
        ("ce_position", &position),
        ("ce_prevposition", &prev),
        ("ce_incarnation", &incarnation),
        ("ce_correlationid", "c"),
        ("ce_causationid", "c"),
        ("ce_actor", "system"),
    ]
    .into_iter()
    .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
    let topic = world.kafka.topic(Topic::Messages, 1);
    let payload = format!(r#"{{"n":{position}}}"#);
    let record = FutureRecord::to(&topic).key("k").partition(partition(key_hash("k"), 12)).payload(&payload).headers(headers);
    producer.send(record, std::time::Duration::from_secs(10)).await.unwrap();
}

/// Reads until something goes wrong.
async fn failure(source: &mut dyn EventSource, reader: &mut Reader) -> SourceError {
    loop {
        match source.next_batch().await {
            Ok(batch) => reader.take(&batch),
            Err(SourceError::Reassigned) => seek(source, &reader.checkpoints).await,
            Err(other) => return other,
        }
    }
}

#[tokio::test]
async fn repeats_are_dropped_and_a_gap_stops_the_reader() {
    let world = FromKafka::unpublished().await;
    world.ledger.fill(0, 20, 1).await;
    for (position, prev) in [(1, 0), (2, 1), (1, 0), (2, 1), (4, 2), (4, 2), (9, 7)] {
        produce(&world, position, prev).await;
    }
    let (mut source, mut reader) = (world.reader("reader").await, Reader::default());
    seek(&mut source, &Checkpoints::new()).await;
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(30), failure(&mut source, &mut reader)).await.unwrap();
    assert!(matches!(stopped, SourceError::Gap { last: 4, found: 9, claimed: 7, .. }), "{stopped}");
    assert_eq!(reader.seen.iter().map(|(_, position, _)| *position).collect::<Vec<_>>(), [1, 2, 4]);
}

#[tokio::test]
async fn a_topic_ahead_of_its_ledger_is_refused_at_the_start() {
    let world = FromKafka::unpublished().await;
    world.ledger.fill(0, 5, 1).await;
    produce(&world, 6, 0).await;
    let mut source = world.reader("reader").await;
    let refused = loop {
        match source.seek(&Checkpoints::new()).await {
            Err(SourceError::Unavailable(..)) => {}
            other => break other,
        }
    };
    assert!(matches!(&refused, Err(SourceError::Ahead(text)) if text.contains("the ledger ends at 5")), "{refused:?}");
}

#[tokio::test]
async fn offsets_of_another_cluster_or_of_a_topic_that_was_made_again_are_found_by_position() {
    let world = FromKafka::new().await;
    world.ledger.fill(0, 4000, 25).await;
    let (mut source, mut whole) = (world.reader("first").await, Reader::default());
    seek(&mut source, &Checkpoints::new()).await;
    whole.read(&mut source, 2000).await;
    for (name, tamper) in [
        ("other cluster", (|c| c.source = "kafka:elsewhere/messages.events".into()) as fn(&mut platform::log::Checkpoint)),
        ("too far", |c| c.next_offset += 60),
        ("beyond the end", |c| c.next_offset = 1_000_000),
        ("too early", |c| c.next_offset = 3),
    ] {
        let mut reader = whole.clone();
        for checkpoint in reader.checkpoints.values_mut() {
            tamper(checkpoint);
        }
        let mut source = world.reader(name).await;
        seek(&mut source, &reader.checkpoints).await;
        reader.read(&mut source, 4000).await;
        reader.has_all(4000);
    }
}

#[tokio::test]
async fn two_readers_of_one_name_share_the_partitions_and_a_third_of_them_changes_hands() {
    let world = FromKafka::new().await;
    world.ledger.fill(0, 600, 60).await;
    let (mut a, mut b) = (world.reader("shared").await, world.reader("shared").await);
    // One set of rows, as in a projection's schema; each event is applied by whoever may move its row.
    let mut rows = Reader::default();
    let mut by = [BTreeSet::new(), BTreeSet::new()];
    seek(&mut a, &rows.checkpoints).await;
    seek(&mut b, &rows.checkpoints).await;
    let begin = std::time::Instant::now();
    let mut filled = 600;
    while rows.seen.len() < filled || by[0].is_empty() || by[1].is_empty() {
        assert!(begin.elapsed() < std::time::Duration::from_secs(60), "{} seen by {by:?}", rows.seen.len());
        if rows.seen.len() >= filled {
            filled += 120;
            world.ledger.fill(filled - 120, 120, 60).await;
        }
        for (reader, source) in [&mut a, &mut b].into_iter().enumerate() {
            match source.next_batch().await {
                Ok(batch) => {
                    let new = batch.events.iter().zip(&batch.places).all(|(event, (partition, _))| {
                        rows.checkpoints.get(&(Topic::Messages, *partition)).is_none_or(|row| row.last_position < event.position)
                    });
                    if new {
                        by[reader].extend(batch.places.iter().map(|(partition, _)| *partition));
                        rows.take(&batch);
                    } else {
                        seek(source, &rows.checkpoints).await;
                    }
                }
                Err(SourceError::Reassigned) => seek(source, &rows.checkpoints).await,
                Err(other) => panic!("{other}"),
            }
        }
    }
    rows.has_all(i64::try_from(filled).unwrap());
}

#[tokio::test]
async fn a_reader_changes_from_ledger_to_kafka_and_back_and_loses_and_doubles_nothing() {
    let world = FromKafka::new().await;
    let mut reader = Reader::default();
    let mut filled = 0;
    for round in 0..4 {
        let mut source: Box<dyn EventSource> =
            if round % 2 == 0 { Box::new(LedgerSource::new(world.ledger.feed().await)) } else { Box::new(world.reader("changing").await) };
        world.ledger.fill(filled, 500, 33).await;
        filled += 500;
        seek(&mut *source, &reader.checkpoints).await;
        reader.read(&mut *source, filled).await;
        reader.has_all(i64::try_from(filled).unwrap());
    }
}

#[tokio::test]
async fn a_projection_runs_on_kafka_in_two_processes_at_once() {
    let world = Arc::new(FromKafka::new().await);
    super::runner::shared(&world).await;
}
