use std::time::{Duration, Instant};

use futures::future::join_all;
use platform::presence::{Presence, Seen};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::UserId;
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
