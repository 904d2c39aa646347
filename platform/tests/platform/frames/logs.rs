use std::time::{Duration, Instant};

use platform::frames::{Block, Cursor, Heard, Kept, Stepped};
use platform::log::SCAN;
use schemas::Topic::{Messages, Users};
use testkit::wait_until;
use uuid::Uuid;

use super::support::*;
use crate::own_redis::OwnRedis;

#[tokio::test]
async fn what_was_appended_is_read_after_any_place_in_its_order() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob) = (user(), user());
    projection.append(vec![entry(ann, 3, 9), entry(bob, 3, 9), entry(ann, 5, 10)]).await;
    projection.append(vec![entry(ann, 3, 100), entry(ann, 5, 101)]).await;

    assert_eq!(texts(&log, ann, &places(&[])).await, (vec!["3/9".into(), "5/10".into(), "3/100".into(), "5/101".into()], true));
    assert_eq!(texts(&log, ann, &places(&[(Messages, 3, 9)])).await.0, ["5/10", "3/100", "5/101"]);
    assert_eq!(texts(&log, ann, &places(&[(Messages, 3, 9), (Messages, 5, 10)])).await.0, ["3/100", "5/101"]);
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 99)])).await.0, ["3/100", "5/101"]);
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 10), (Messages, 5, 500)])).await.0, ["3/100"]);
    assert_eq!(texts(&log, user(), &places(&[])).await, (vec![], true));
    let head = log.after(ann, &places(&[])).await.unwrap().head;
    assert_eq!(texts(&log, ann, &head).await, (vec![], true));
    assert_eq!(head.at(Messages, 7), 101);
    let numbers: Vec<u64> = log.after(ann, &places(&[])).await.unwrap().entries.iter().map(|entry| entry.seq).collect();
    assert!(numbers.windows(2).all(|two| two[1] == two[0] + 1), "{numbers:?}");
}

#[tokio::test]
async fn a_step_that_is_taken_again_changes_nothing_and_one_from_elsewhere_is_refused() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let mut late = Projection::of(&log, Messages).await;
    let ann = user();
    let step = projection.step(vec![entry(ann, 3, 9)]);
    assert_eq!(projection.take(step.clone()).await, Stepped::Taken);
    assert_eq!(projection.take(step.clone()).await, Stepped::Taken, "taken again tells");
    projection.append(vec![entry(ann, 3, 11)]).await;
    assert_eq!(projection.take(step).await, Stepped::Moved);
    let other = late.step(vec![entry(ann, 3, 10)]);
    assert_eq!(late.take(other).await, Stepped::Moved);
    assert_eq!(texts(&log, ann, &places(&[])).await.0, ["3/9", "3/11"]);
    // Two that read different partitions of Kafka.
    let mut both = [Projection::of(&log, Messages).await, Projection::of(&log, Messages).await];
    for (who, partition, position) in [(0, 1, 20), (1, 2, 21), (0, 1, 22), (1, 2, 23)] {
        let projection = &mut both[who];
        let mut step = projection.step(vec![entry(ann, partition, position)]);
        step.to.remove(&(Messages, SCAN));
        assert_eq!(projection.take(step).await, Stepped::Taken);
    }
    assert_eq!(texts(&log, ann, &places(&[(Messages, 3, 11)])).await.0, ["1/20", "2/21", "1/22", "2/23"]);
}

#[tokio::test]
async fn logs_that_begin_at_an_older_place_repeat_and_reorder_nothing() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let ann = user();
    for position in [5, 6, 7, 100] {
        projection.append(vec![entry(ann, 3, position)]).await;
    }
    let mut direct = server.directly().await;
    ::redis::cmd("DEL").arg("frames:at:messages").exec_async(&mut direct).await.unwrap();
    assert_eq!(log.stands(Messages).await.unwrap(), None);
    log.begin(Messages, &at(Messages, &[(3, 6)], 6)).await.unwrap();
    let mut again = Projection::of(&log, Messages).await;
    again.append(vec![entry(ann, 3, 7), entry(ann, 3, 100), entry(ann, 3, 101)]).await;
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 6)])).await, (vec!["3/7".into(), "3/100".into(), "3/101".into()], true));
    assert!(!texts(&log, ann, &places(&[(Messages, SCAN, 5)])).await.1, "nothing is known of what was before the beginning");
}

#[tokio::test]
async fn a_log_that_was_cut_says_from_which_places_on_it_is_whole() {
    let server = OwnRedis::started().await;
    let log = begun(&server, Kept { entries: 3, ..kept() }).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob) = (user(), user());
    for (partition, position) in [(1, 10), (2, 11), (1, 12), (2, 13), (1, 14)] {
        projection.append(vec![entry(ann, partition, position), entry(bob, 9, position)]).await;
    }
    assert_eq!(texts(&log, ann, &places(&[])).await, (vec!["1/12".into(), "2/13".into(), "1/14".into()], false));
    assert!(!texts(&log, ann, &places(&[(Messages, 1, 10)])).await.1, "of partition 2 something is missing");
    assert_eq!(
        texts(&log, ann, &places(&[(Messages, 1, 10), (Messages, 2, 11)])).await,
        (vec!["1/12".into(), "2/13".into(), "1/14".into()], true)
    );
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 13)])).await, (vec!["1/14".into()], true));
}

#[tokio::test]
async fn nothing_is_appended_between_two_of_whom_one_blocks_the_other_whoever_tells_it_first() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let (mut messages, mut users) = (Projection::of(&log, Messages).await, Projection::of(&log, Users).await);
    let (ann, bob) = (user(), user());
    let mut position = 0;
    let mut sent = async |one, other| {
        position += 1;
        let mut append = entry(ann, 3, position);
        append.between = Some((one, other));
        messages.append(vec![append]).await;
        texts(&log, ann, &places(&[(Messages, 3, position - 1)])).await.0.len() == 1
    };
    let block = |stands, position| Block { by: ann, towards: bob, stands, partition: 4, position };
    assert!(sent(ann, bob).await);
    // The command tells first, the projection repeats it.
    log.blocked(&block(true, 50)).await.unwrap();
    assert!(!sent(ann, bob).await && !sent(bob, ann).await);
    users.blocks(vec![block(true, 50)]).await;
    assert!(!sent(ann, bob).await);
    // What is older says nothing, however late it comes.
    log.blocked(&block(false, 49)).await.unwrap();
    assert!(!sent(ann, bob).await);
    log.blocked(&block(false, 60)).await.unwrap();
    assert!(sent(bob, ann).await);
    log.blocked(&block(true, 55)).await.unwrap();
    assert!(sent(bob, ann).await);
    users.blocks(vec![block(true, 55), block(false, 60)]).await;
    assert!(sent(bob, ann).await);
    log.blocked(&block(true, 55)).await.unwrap();
    assert!(sent(bob, ann).await, "the projection has seen that it was lifted");
    // The projection alone: its command died.
    users.blocks(vec![block(true, 70)]).await;
    assert!(!sent(bob, ann).await);
    users.blocks(vec![block(false, 71), block(true, 72), block(false, 73)]).await;
    assert!(sent(bob, ann).await);
    assert!(sent(user(), ann).await);
    let mut direct = server.directly().await;
    let left: i64 = ::redis::cmd("HLEN").arg("frames:blocks").query_async(&mut direct).await.unwrap();
    assert_eq!(left, 0, "what is lifted leaves nothing behind");
}

#[tokio::test]
async fn no_body_rests_in_redis_whether_or_not_somebody_is_told() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob, body) = (user(), user(), Uuid::now_v7());
    let (pusher, mut channel) = log.pusher();
    pusher.hold(ann).await.unwrap();
    let mut step = projection.step(vec![entry(ann, 3, 9), entry(bob, 3, 9)]);
    step.appends.iter_mut().for_each(|append| append.body = Some(body));
    step.bodies = vec![(body, "the body".into())];
    assert_eq!(projection.take(step).await, Stepped::Taken);
    while !matches!(heard(&mut channel).await, Heard::Entry(_, _, Some(text)) if *text == *"the body") {}
    // One that came with an earlier step is not to be had any more.
    let mut step = projection.step(vec![entry(ann, 3, 10)]);
    step.appends[0].body = Some(body);
    assert_eq!(projection.take(step).await, Stepped::Taken);
    while !matches!(heard(&mut channel).await, Heard::Entry(_, logged, None) if logged.position == 10) {}

    let mut direct = server.directly().await;
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query_async(&mut direct).await.unwrap();
    assert!(keys.len() > 4, "{keys:?}");
    for key in keys {
        let kept: Vec<u8> = ::redis::cmd("DUMP").arg(&key).query_async(&mut direct).await.unwrap();
        assert!(!kept.windows(8).any(|bytes| bytes == b"the body"), "{key}");
    }
}

#[tokio::test]
async fn a_redis_that_came_back_with_an_older_state_is_brought_up_to_date_without_a_repeat() {
    let mut server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let ann = user();
    let mut projection = Projection::of(&log, Messages).await;
    projection.append(vec![entry(ann, 3, 1), entry(ann, 4, 2)]).await;
    ::redis::cmd("SAVE").exec_async(&mut server.directly().await).await.unwrap();
    projection.append(vec![entry(ann, 3, 3), entry(ann, 4, 4)]).await;
    let seen = log.after(ann, &places(&[])).await.unwrap().head;
    server.kill();
    server.start().await;
    wait_until("redis is back", LONG, async || log.stands(Messages).await.ok()).await;
    assert_eq!(texts(&log, ann, &places(&[])).await, (vec!["3/1".into(), "4/2".into()], true));
    assert_eq!(texts(&log, ann, &seen).await, (vec![], true), "who has seen more is told nothing again");
    let lost = projection.step(vec![entry(ann, 3, 5)]);
    assert_eq!(projection.take(lost).await, Stepped::Moved);
    // Whoever reads on from there appends the same, in whatever batches.
    let mut again = Projection::of(&log, Messages).await;
    again.append(vec![entry(ann, 3, 3), entry(ann, 4, 4), entry(ann, 3, 5)]).await;
    assert_eq!(texts(&log, ann, &seen).await, (vec!["3/5".into()], true));
    let all = ["3/1", "4/2", "3/3", "4/4", "3/5"].map(str::to_owned).to_vec();
    assert_eq!(texts(&log, ann, &places(&[])).await, (all, true));
}

#[tokio::test]
async fn logs_that_are_begun_anew_hold_nothing_of_before_and_say_so() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let ann = user();
    let (mut projection, mut users) = (Projection::of(&log, Messages).await, Projection::of(&log, Users).await);
    projection.append(vec![entry(ann, 3, 500)]).await;
    users.append(vec![entry(ann, 1, 7)]).await;
    log.begin(Messages, &at(Messages, &[], 10)).await.unwrap();
    assert_eq!(texts(&log, ann, &places(&[])).await.0.len(), 2, "logs of this life stand");
    let seen = log.after(ann, &places(&[])).await.unwrap().head;
    // A ledger in another life: its positions begin below.
    let mut other = at(Messages, &[], 10);
    other.values_mut().for_each(|row| row.generation = 2);
    let before = log.epoch();
    log.begin(Messages, &other).await.unwrap();
    assert_eq!(texts(&log, ann, &seen).await, (vec![], true));
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 500), (Users, SCAN, 6)])).await, (vec![], false));
    assert_ne!(log.epoch(), before, "cursors of before are worth nothing");
    let mut step = Projection::of(&log, Messages).await.step(vec![entry(ann, 3, 20)]);
    assert_eq!(log.step(&step).await.unwrap(), Stepped::Moved, "of the life before");
    step.to.values_mut().for_each(|row| row.generation = 2);
    assert_eq!(log.step(&step).await.unwrap(), Stepped::Taken);
    assert_eq!(texts(&log, ann, &places(&[(Messages, SCAN, 10), (Users, SCAN, 7)])).await, (vec!["3/20".into()], true));
}

#[tokio::test]
async fn what_is_older_than_the_retention_counts_as_gone_before_it_is() {
    let server = OwnRedis::started().await;
    let log = begun(&server, Kept { retention: Duration::from_millis(1_200), ..kept() }).await;
    let ann = user();
    let mut projection = Projection::of(&log, Messages).await;
    projection.append(vec![entry(ann, 3, 1)]).await;
    let (early, begin) = (places(&[(Messages, 4, 0)]), Instant::now());
    assert!(texts(&log, ann, &early).await.1);
    // Others go on, and so the time of the first entry passes among them.
    let mut position = 1;
    while texts(&log, ann, &early).await.1 {
        position += 1;
        projection.append(vec![entry(user(), 5, position)]).await;
        assert!(begin.elapsed() < LONG);
    }
    assert!(begin.elapsed() >= Duration::from_millis(1_200));
    let head = log.after(ann, &early).await.unwrap().head;
    assert_eq!(texts(&log, ann, &head).await, (vec![], true));
    projection.append(vec![entry(ann, 3, position + 1)]).await;
    assert_eq!(texts(&log, ann, &head).await, (vec![format!("3/{}", position + 1)], true));
    // Nothing happens any more: then everything is old.
    wait_until("all is old", LONG, async || (!texts(&log, ann, &head).await.1).then_some(())).await;
    wait_until("and goes", LONG, async || {
        let left: Vec<String> = ::redis::cmd("KEYS").arg("frames:*").query_async(&mut server.directly().await).await.unwrap();
        left.iter().all(|key| !key.starts_with("frames:of") && !key.starts_with("frames:log")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cursor_is_good_for_its_retention_and_its_epoch() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    log.after(user(), &places(&[])).await.unwrap();
    let now = platform::clock::now();
    let cursor = |epoch, given| Cursor { epoch, given, places: places(&[]) };
    let epoch = log.epoch().unwrap();
    assert!(log.may_resume(&cursor(epoch, now)));
    assert!(!log.may_resume(&cursor(epoch ^ 1, now)));
    let ago = |seconds| (time::OffsetDateTime::from(now) - Duration::from_secs(seconds)).into();
    assert!(log.may_resume(&cursor(epoch, ago(50))) && !log.may_resume(&cursor(epoch, ago(61))));
    // Another process, another Redis, the same ledgers.
    let other = OwnRedis::started().await;
    let there = begun(&other, kept()).await;
    assert_eq!(there.epoch(), None);
    there.after(user(), &places(&[])).await.unwrap();
    assert_eq!(there.epoch(), Some(epoch));
}
