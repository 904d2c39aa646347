use std::time::{Duration, Instant};

use futures::future::join_all;
use platform::presence::{Presence, Seen};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::UserId;
use schemas::users::LastSeen;
use testkit::wait_until;
use uuid::Uuid;

use crate::own_redis::OwnRedis;

const LONG: Duration = Duration::from_secs(10);

fn user() -> UserId {
    UserId(Uuid::now_v7())
}

async fn process(server: &OwnRedis, lease: Duration) -> (Presence, Redis) {
    let redis = Redis::connect(&server.url(), Shutdown::new()).unwrap();
    wait_until("redis is up", LONG, async || redis.is_up().then_some(())).await;
    (Presence::leased_for(lease, redis.clone()), redis)
}

#[tokio::test]
async fn somebody_is_online_in_every_process_while_anything_holds_a_lease_for_them() {
    let server = OwnRedis::started().await;
    let ((one, _), (two, _)) = (process(&server, LONG).await, process(&server, LONG).await);
    let (ann, bob) = (user(), user());
    assert_eq!(two.of(&[ann, bob]).await, [Seen::default(); 2]);

    one.online(ann, "phone").await;
    two.online(ann, "desk").await;
    one.online(ann, "phone").await;
    let seen = two.of(&[bob, ann]).await;
    assert_eq!((seen[0], seen[1].is_online), (Seen::default(), true));
    assert!(one.is_online(ann).await && !one.is_online(bob).await);
    assert_eq!(one.count().await, 1);

    one.offline(ann, "phone").await;
    assert!(two.is_online(ann).await, "the desk still holds one");
    one.offline(ann, "nothing that ever held").await;
    assert!(two.is_online(ann).await);
    two.offline(ann, "desk").await;
    wait_until("the last lease ends", LONG, async || (!one.is_online(ann).await).then_some(())).await;
    let left = one.of(&[ann]).await[0];
    assert!(!left.is_online && left.last_seen >= seen[1].last_seen && left.last_seen.is_some());
    assert_eq!(one.count().await, 0);
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_ends_by_itself_and_the_last_visit_stays_known() {
    let server = OwnRedis::started().await;
    let (presence, _) = process(&server, Duration::from_millis(400)).await;
    let (ann, begin) = (user(), Instant::now());
    presence.online(ann, "phone").await;
    wait_until("it ends", LONG, async || (!presence.is_online(ann).await).then_some(())).await;
    assert!(begin.elapsed() >= Duration::from_millis(400));
    assert!(presence.of(&[ann]).await[0].last_seen.is_some());
    assert_eq!(presence.count().await, 0);
}

#[tokio::test]
async fn a_longer_lease_outlives_a_shorter_one_that_is_taken_after_it() {
    let server = OwnRedis::started().await;
    let ((long, _), (short, _)) = (process(&server, LONG).await, process(&server, Duration::from_millis(1)).await);
    let ann = user();
    long.online(ann, "phone").await;
    short.online(ann, "desk").await;
    short.offline(ann, "desk").await;
    assert!(long.is_online(ann).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_lone_questions_at_once_get_each_their_own_answer() {
    let server = OwnRedis::started().await;
    let (presence, _) = process(&server, LONG).await;
    let users: Vec<UserId> = (0..1_000).map(|_| user()).collect();
    join_all(users.iter().step_by(3).map(|user| presence.online(*user, "phone"))).await;
    let answers = join_all(users.iter().map(|user| presence.is_online(*user))).await;
    let expected: Vec<bool> = (0..users.len()).map(|n| n % 3 == 0).collect();
    assert_eq!(answers, expected);
    assert_eq!(presence.of(&users).await.iter().map(|seen| seen.is_online).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn without_redis_nobody_is_known_to_be_online_and_nothing_fails_or_waits() {
    let mut server = OwnRedis::started().await;
    let (presence, redis) = process(&server, LONG).await;
    let ann = user();
    presence.online(ann, "phone").await;
    server.kill();
    wait_until("it is noticed", LONG, async || (!redis.is_up()).then_some(())).await;
    let begin = Instant::now();
    presence.online(ann, "phone").await;
    presence.offline(ann, "phone").await;
    assert_eq!((presence.of(&[ann]).await, presence.is_online(ann).await, presence.count().await), (vec![Seen::default()], false, 0));
    assert!(begin.elapsed() < Duration::from_secs(1));
}

/// Everything that is new, as several processes that ask in turn are told.
async fn news(presence: &Presence) -> Vec<UserId> {
    presence.changed(100).await.unwrap().into_iter().map(|news| news.user).collect()
}

#[tokio::test]
async fn who_comes_first_and_who_leaves_last_is_news_for_one_asker() {
    let server = OwnRedis::started().await;
    let ((one, _), (two, _)) = (process(&server, LONG).await, process(&server, LONG).await);
    let (ann, bob) = (user(), user());
    assert_eq!(one.come(&[ann, bob], "one", false).await.unwrap(), 2);
    assert_eq!(two.come(&[ann], "two", false).await.unwrap(), 0, "she is here already");
    assert_eq!((news(&two).await.len(), news(&one).await.len()), (2, 0));

    assert_eq!(one.go(&[ann, bob], "one", Duration::ZERO).await.unwrap(), 1);
    assert_eq!((news(&one).await, news(&two).await), (vec![bob], vec![]), "ann is still there at the other process");
    assert_eq!(two.go(&[ann], "two", Duration::ZERO).await.unwrap(), 1);
    assert_eq!(two.go(&[ann], "two", Duration::ZERO).await.unwrap(), 0);
    assert_eq!(news(&one).await, [ann]);
    one.online(bob, "session").await;
    assert_eq!(news(&two).await, [bob], "however the lease was taken");
}

#[tokio::test]
async fn who_comes_back_before_the_end_has_not_been_away() {
    let server = OwnRedis::started().await;
    let ((one, _), (two, _)) = (process(&server, LONG).await, process(&server, LONG).await);
    let ann = user();
    one.come(&[ann], "one", false).await.unwrap();
    assert_eq!(news(&one).await, [ann]);
    one.go(&[ann], "one", Duration::from_secs(5)).await.unwrap();
    assert!(two.is_online(ann).await, "still");
    assert_eq!(two.come(&[ann], "two", false).await.unwrap(), 0);
    assert_eq!(news(&one).await, []);
}

#[tokio::test]
async fn who_says_that_they_have_left_and_comes_back_within_the_grace_has_not_been_away() {
    let server = OwnRedis::started().await;
    // Of which the grace is 10 s.
    let (presence, _) = process(&server, Duration::from_secs(120)).await;
    let ann = user();
    presence.online(ann, "session").await;
    assert_eq!(news(&presence).await, [ann]);
    for _ in 0..5 {
        presence.offline(ann, "session").await;
        assert!(presence.is_online(ann).await, "still");
        presence.online(ann, "session").await;
    }
    assert_eq!(news(&presence).await, []);
}

#[tokio::test]
async fn who_is_shown_to_others_than_before_is_news_beside_their_coming() {
    let server = OwnRedis::started().await;
    let (presence, _) = process(&server, LONG).await;
    let ann = user();
    presence.online(ann, "phone").await;
    for was in [LastSeen::Everybody, LastSeen::Nobody, LastSeen::Everybody] {
        presence.shown_otherwise(ann, was).await;
    }
    let told: Vec<_> = presence.changed(100).await.unwrap().into_iter().map(|news| (news.user, news.was_shown_to)).collect();
    assert_eq!(told, [(ann, None), (ann, Some(LastSeen::Everybody)), (ann, Some(LastSeen::Nobody))]);
    presence.shown_otherwise(user(), LastSeen::Everybody).await;
    assert_eq!(news(&presence).await, []);
}

#[tokio::test]
async fn a_lease_that_ends_by_itself_is_news_once_whoever_held_it() {
    let server = OwnRedis::started().await;
    let ((dead, _), (alive, _), (third, _)) =
        (process(&server, Duration::from_millis(300)).await, process(&server, LONG).await, process(&server, LONG).await);
    let (ann, bob, carl) = (user(), user(), user());
    dead.come(&[ann, bob], "dead", false).await.unwrap();
    alive.come(&[bob, carl], "alive", false).await.unwrap();
    news(&alive).await;
    alive.go(&[carl], "alive", Duration::from_millis(300)).await.unwrap();
    let mut told = Vec::new();
    wait_until("both have ended", LONG, async || {
        told.extend(news(&alive).await);
        told.extend(news(&third).await);
        (told.len() >= 2).then_some(())
    })
    .await;
    told.sort_unstable();
    assert_eq!((told, news(&alive).await), (vec![ann, carl], vec![]));
    assert_eq!(alive.of(&[ann, bob, carl]).await.iter().map(|seen| seen.is_online).collect::<Vec<_>>(), [false, true, false]);
    // Its process was only asleep.
    assert_eq!(dead.come(&[ann, bob], "dead", true).await.unwrap(), 1);
    assert_eq!(news(&third).await, [ann]);
}

#[tokio::test]
async fn renewing_after_redis_has_lost_everything_is_no_news() {
    let server = OwnRedis::started().await;
    let (presence, redis) = process(&server, LONG).await;
    let (ann, bob) = (user(), user());
    presence.come(&[ann], "one", false).await.unwrap();
    assert_eq!(news(&presence).await, [ann]);
    let mut flush = redis::pipe();
    flush.cmd("FLUSHALL").ignore();
    redis.query::<()>(&flush).await.unwrap();
    assert_eq!(presence.come(&[ann], "one", true).await.unwrap(), 0);
    assert!(presence.is_online(ann).await);
    assert_eq!(presence.come(&[bob], "one", false).await.unwrap(), 1);
    assert_eq!(news(&presence).await, [bob]);
}

#[tokio::test]
async fn many_come_and_go_in_few_calls_and_none_is_forgotten() {
    let server = OwnRedis::started().await;
    let (presence, _) = process(&server, LONG).await;
    let users: Vec<UserId> = (0..1_000).map(|_| user()).collect();
    assert_eq!(presence.come(&users, "one", false).await.unwrap(), 1_000);
    let mut told = Vec::new();
    while told.len() < 1_000 {
        let some = presence.changed(300).await.unwrap();
        assert!((1..=300).contains(&some.len()));
        told.extend(some.iter().map(|news| news.user));
    }
    told.sort_unstable();
    assert_eq!(told, users);
    assert_eq!(presence.go(&users, "one", Duration::ZERO).await.unwrap(), 1_000);
    assert_eq!(presence.count().await, 0);
}
