use std::sync::Arc;

use platform::frames::{Block, BlockNote, Heard, LEASE};
use schemas::Topic::{Messages, Users};
use uuid::Uuid;

use super::support::*;
use crate::own_redis::OwnRedis;

#[tokio::test]
async fn exactly_the_pushers_that_hold_somebody_are_told_with_the_body() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob, eve) = (user(), user(), user());
    let ((one, mut at_one), (two, mut at_two)) = (log.pusher(), log.pusher());
    assert_eq!(
        (heard(&mut at_one).await, heard(&mut at_two).await),
        (Heard::Lost, Heard::Lost),
        "before they began, anything may have been said"
    );
    one.hold(ann).await.unwrap();
    two.hold(ann).await.unwrap();
    two.hold(bob).await.unwrap();
    let body = Uuid::now_v7();
    let mut step = projection.step(vec![entry(ann, 3, 9), entry(bob, 3, 9), entry(eve, 3, 10), entry(bob, 3, 11)]);
    step.appends[0].body = Some(body);
    step.bodies = vec![(body, "the bödy\n".into())];
    projection.take(step).await;
    for channel in [&mut at_one, &mut at_two] {
        let Heard::Entry(to, logged, content) = heard(channel).await else { panic!("an entry") };
        assert_eq!((to, logged.position, content), (ann, 9, Some(Arc::from("the bödy\n"))));
        assert_eq!(log.after(ann, &places(&[])).await.unwrap().entries, [logged]);
    }
    // Of somebody whose log was empty, or not: nothing else is heard.
    assert_eq!(next_entry(&mut at_two).await, (bob, 9));
    assert_eq!(next_entry(&mut at_two).await, (bob, 11));
    one.release(ann).await;
    projection.append(vec![entry(ann, 3, 12), entry(eve, 3, 12)]).await;
    assert_eq!(next_entry(&mut at_two).await, (ann, 12));
    one.hold(ann).await.unwrap();
    projection.append(vec![entry(ann, 3, 13)]).await;
    assert_eq!(next_entry(&mut at_one).await, (ann, 13), "and nothing of what was said while nobody was held");
}

#[tokio::test]
async fn notes_reach_those_who_hold_and_are_kept_nowhere() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let (ann, bob, eve) = (user(), user(), user());
    let (pusher, mut channel) = log.pusher();
    assert_eq!(heard(&mut channel).await, Heard::Lost);
    log.note(&[ann], "before").await.unwrap();
    pusher.hold(ann).await.unwrap();
    pusher.hold(bob).await.unwrap();
    log.note(&[eve], "nobody").await.unwrap();
    log.note(&[ann, eve, bob], "all\nof you").await.unwrap();
    assert_eq!(heard(&mut channel).await, Heard::Note(vec![ann, bob], "all\nof you".into()));
    let block = Block { by: bob, towards: eve, stands: true, partition: 1, position: 9 };
    log.blocked(&block).await.unwrap();
    log.blocked(&block).await.unwrap();
    Projection::of(&log, Users).await.blocks(vec![block, Block { stands: false, position: 10, ..block }]).await;
    for stands in [true, false] {
        let Heard::Note(to, text) = heard(&mut channel).await else { panic!("a note") };
        assert_eq!((to, BlockNote::read(&text)), (vec![bob], Some(BlockNote { by: bob, towards: eve, stands })));
    }
    assert_eq!(BlockNote::read("all of you"), None);
}

#[tokio::test]
async fn the_answer_of_a_hold_is_where_the_logs_end_and_what_comes_after_it_is_heard() {
    let server = OwnRedis::started().await;
    let log = logs(&server, kept()).await;
    let ann = user();
    let (pusher, mut channel) = log.pusher();
    assert!(pusher.hold(ann).await.is_err(), "no logs yet");
    assert_eq!(log.epoch(), None);
    log.begin(Messages, &at(Messages, &[(1, 8)], 9)).await.unwrap();
    log.begin(Users, &at(Users, &[], 4)).await.unwrap();
    let head = pusher.hold(ann).await.unwrap();
    assert_eq!((head.at(Messages, 1), head.at(Messages, 2), head.at(Users, 0)), (9, 9, 4));
    assert!(log.epoch().is_some());
    let mut projection = Projection::of(&log, Messages).await;
    projection.append(vec![entry(ann, 1, 10)]).await;
    let entry = loop {
        match heard(&mut channel).await {
            Heard::Lost => {}
            Heard::Entry(_, logged, _) => break logged.position,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(entry, 10);
    assert!(LEASE > SHORT);
}
