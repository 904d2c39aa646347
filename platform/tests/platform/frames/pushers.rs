use std::sync::Arc;
use std::time::{Duration, Instant};

use platform::frames::{Block, BlockNote, FrameLog, Heard};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::Topic::{Messages, Users};
use schemas::UserId;
use testkit::wait_until;
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
}

async fn holders(server: &OwnRedis, user: UserId) -> usize {
    let holders: Vec<String> =
        ::redis::cmd("SMEMBERS").arg(format!("frames:held:{user}")).query_async(&mut server.directly().await).await.unwrap();
    holders.len()
}

#[tokio::test]
async fn a_pusher_that_dies_is_told_things_until_its_lease_ends_and_is_then_forgotten() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, lease) = (user(), Duration::from_secs(1));
    // A process of its own, as far as tasks go: nobody gives its lease up.
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = server.url();
    let held = dying.spawn(async move {
        let redis = Redis::connect(&url, Shutdown::new()).unwrap();
        while !redis.is_up() {
            tokio::task::yield_now().await;
        }
        let (pusher, channel) = FrameLog::new(redis, kept()).pusher_leased_for(lease);
        pusher.hold(ann).await.unwrap();
        (pusher, channel)
    });
    std::mem::forget(held.await.unwrap());
    dying.shutdown_background();
    let begin = Instant::now();
    let mut position = 0;
    wait_until("it is forgotten", LONG, async || {
        position += 1;
        projection.append(vec![entry(ann, 3, position)]).await;
        (holders(&server, ann).await == 0).then_some(())
    })
    .await;
    assert!(begin.elapsed() >= lease / 2, "after {:?}", begin.elapsed());
}

#[tokio::test]
async fn a_pusher_that_leaves_is_forgotten_at_once() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let ann = user();
    let (pusher, channel) = log.pusher();
    pusher.hold(ann).await.unwrap();
    assert_eq!(holders(&server, ann).await, 1);
    drop(pusher);
    let mut position = 0;
    wait_until("it is forgotten", LONG, async || {
        position += 1;
        projection.append(vec![entry(ann, 3, position)]).await;
        (holders(&server, ann).await == 0).then_some(())
    })
    .await;
    drop(channel);
}

/// Whatever is heard until everything may have been missed.
async fn until_lost(channel: &mut tokio::sync::mpsc::Receiver<Heard>) {
    while heard(channel).await != Heard::Lost {}
}

#[tokio::test]
async fn a_pusher_that_slept_through_its_lease_is_told_that_it_missed_things_and_hears_on() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let ann = user();
    let (pusher, mut channel) = log.pusher_leased_for(Duration::from_millis(500));
    until_lost(&mut channel).await;
    let head = pusher.hold(ann).await.unwrap();
    // As if it had slept: the lease has ended, and somebody who appended has forgotten it.
    let mut direct = server.directly().await;
    let leases: Vec<String> = ::redis::cmd("KEYS").arg("frames:pusher:*").query_async(&mut direct).await.unwrap();
    let step = projection.step(vec![entry(ann, 3, 1)]);
    ::redis::cmd("DEL").arg(&leases).exec_async(&mut direct).await.unwrap();
    projection.take(step).await;
    let next = heard(&mut channel).await;
    // It may have renewed in between, and then has missed nothing.
    if next == Heard::Lost {
        assert_eq!(texts(&log, ann, &head).await.0, ["3/1"]);
    }
    projection.append(vec![entry(ann, 3, 2)]).await;
    loop {
        match heard(&mut channel).await {
            Heard::Lost => {}
            Heard::Entry(_, logged, _) if logged.position == 1 => {}
            Heard::Entry(_, logged, _) if logged.position == 2 => break,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_broken_channel_is_told_and_nothing_is_taken_for_complete_that_is_not() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob) = (user(), user());
    let (pusher, mut channel) = log.pusher();
    until_lost(&mut channel).await;
    pusher.hold(ann).await.unwrap();
    pusher.hold(bob).await.unwrap();
    projection.append(vec![entry(ann, 3, 1)]).await;
    assert_eq!(next_entry(&mut channel).await, (ann, 1));
    let mut direct = server.directly().await;
    ::redis::cmd("CLIENT").arg("KILL").arg("TYPE").arg("pubsub").exec_async(&mut direct).await.unwrap();
    projection.append(vec![entry(ann, 3, 2), entry(bob, 3, 2)]).await;
    assert_eq!(heard(&mut channel).await, Heard::Lost);
    projection.append(vec![entry(ann, 3, 3)]).await;
    assert_eq!(next_entry(&mut channel).await, (ann, 3));
    // The log of one of them has gone meanwhile: what comes next is not right after what was heard.
    ::redis::cmd("DEL").arg(format!("frames:of:{bob}")).exec_async(&mut direct).await.unwrap();
    projection.append(vec![entry(bob, 3, 4)]).await;
    assert_eq!(heard(&mut channel).await, Heard::Behind(bob));
    projection.append(vec![entry(bob, 3, 5)]).await;
    assert_eq!(next_entry(&mut channel).await, (bob, 5));
}

#[tokio::test]
async fn whoever_is_held_while_redis_is_away_or_empty_is_heard_of_as_soon_as_the_logs_begin_again() {
    let mut server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let mut projection = Projection::of(&log, Messages).await;
    let (ann, bob) = (user(), user());
    let (pusher, mut channel) = log.pusher();
    until_lost(&mut channel).await;
    pusher.hold(ann).await.unwrap();
    projection.append(vec![entry(ann, 3, 1)]).await;
    assert_eq!(next_entry(&mut channel).await, (ann, 1));
    server.kill();
    assert!(pusher.hold(bob).await.is_err());
    server.start().await;
    // Empty; the projection begins where it remembers to have been.
    wait_until("redis is back", LONG, async || log.stands(Messages).await.ok()).await;
    log.begin(Users, &at(Users, &[], 0)).await.unwrap();
    log.begin(Messages, &at(Messages, &[(3, 1)], 1)).await.unwrap();
    let mut heard_of = Vec::new();
    let mut position = 1;
    // Whatever is appended before the channel stands again is found in the logs.
    wait_until("both are heard of", LONG, async || {
        position += 1;
        projection.append(vec![entry(ann, 3, position), entry(bob, 3, position)]).await;
        while let Ok(Some(news)) = tokio::time::timeout(SHORT, channel.recv()).await {
            match news {
                Heard::Lost => heard_of.clear(),
                Heard::Entry(user, logged, _) => heard_of.push((user, logged.position)),
                other => panic!("{other:?}"),
            }
        }
        (heard_of.contains(&(ann, position)) && heard_of.contains(&(bob, position))).then_some(())
    })
    .await;
    // FLUSHALL breaks no connection: the word that logs have begun does.
    ::redis::cmd("FLUSHALL").exec_async(&mut server.directly().await).await.unwrap();
    log.begin(Messages, &at(Messages, &[(3, position)], position)).await.unwrap();
    log.begin(Users, &at(Users, &[], 0)).await.unwrap();
    until_lost(&mut channel).await;
    let mut projection = Projection::of(&log, Messages).await;
    wait_until("they are held again", LONG, async || (holders(&server, bob).await == 1).then_some(())).await;
    projection.append(vec![entry(bob, 3, position + 1)]).await;
    loop {
        match heard(&mut channel).await {
            Heard::Lost => {}
            Heard::Behind(user) => assert_eq!(user, bob),
            Heard::Entry(user, logged, _) => break assert_eq!((user, logged.position), (bob, position + 1)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn holding_and_releasing_at_once_ends_as_the_last_of_them_wants() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let (pusher, _channel) = log.pusher();
    let pusher = Arc::new(pusher);
    let users: Vec<UserId> = (0..40).map(|_| user()).collect();
    let tasks = users.iter().enumerate().map(|(n, user)| {
        let (pusher, user) = (pusher.clone(), *user);
        async move {
            // In the order in which they are asked, whatever overtakes whom on the way.
            let mut asked: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
            for turn in 0..=6 + n % 2 {
                let pusher = pusher.clone();
                asked.push(Box::pin(async move {
                    if turn % 2 == 0 {
                        pusher.hold(user).await.unwrap();
                    } else {
                        pusher.release(user).await;
                    }
                }));
            }
            futures::future::join_all(asked).await;
        }
    });
    futures::future::join_all(tasks).await;
    for (n, user) in users.iter().enumerate() {
        assert_eq!(holders(&server, *user).await, 1 - n % 2, "user {n}");
    }
}

#[tokio::test]
async fn who_asks_in_vain_hears_of_it_when_redis_answers_again_though_the_channel_never_broke() {
    let server = OwnRedis::started().await;
    let log = begun(&server, kept()).await;
    let (ann, bob) = (user(), user());
    let (pusher, mut channel) = log.pusher();
    until_lost(&mut channel).await;
    pusher.hold(ann).await.unwrap();
    for turn in 0..2 {
        server.hang();
        if turn == 0 {
            assert!(pusher.hold(bob).await.is_err());
        } else {
            assert!(log.after(bob, &places(&[])).await.is_err());
        }
        server.go_on();
        until_lost(&mut channel).await;
        assert_eq!(holders(&server, bob).await, 1);
    }
}
