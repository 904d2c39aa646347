//! Who is here.

use std::time::{Duration, Instant};

use reqwest::Method;
use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::own_redis::OwnRedis;
use testkit::person::Person;
use testkit::servers::Pair;
use testkit::socket::Socket;
use testkit::system::{System, SystemConfig, signal};
use testkit::wait_until;
use uuid::Uuid;

use super::{done, fields, listed, people};
use crate::two_processes::Two;

const BOUND: Duration = Duration::from_secs(10);

async fn holds(owner: &Person, contact: Uuid) {
    assert_eq!(owner.post("/api/v1/contacts", json!({"contact_id": contact})).await.status, 200);
}

async fn shows_to(who: &Person, whom: &str) {
    done(who, Method::PUT, "/api/v1/users/me/settings", Some(json!({"last_seen": whom}))).await;
}

/// The next word of somebody's presence.
async fn presence_of(socket: &mut Socket, who: &Person) -> Value {
    let of = |frame: &Value| (frame["type"] == "user_online" || frame["type"] == "user_offline") && frame["user_id"] == json!(who.id);
    socket.until(of).await.pop().expect("the one that was found")
}

fn is_online_in(list: &Value, who: &Person) -> bool {
    list.as_array().expect("a list").iter().any(|row| row["contact_id"] == json!(who.id) && row["is_online"] == true)
}

#[tokio::test]
async fn those_who_have_somebody_in_their_list_see_them_come_and_go() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    holds(&bob, ann.id).await;
    let mut bobs = Socket::open(&bob).await;
    assert_eq!(bobs.established()["online_users"], json!([]));

    let phone = Socket::open(&ann).await;
    let came = presence_of(&mut bobs, &ann).await;
    assert_eq!((fields(&came), &came["type"]), (listed("type,user_id,timestamp"), &json!("user_online")));
    assert!(is_online_in(&bob.get("/api/v1/contacts").await, &ann));
    assert_eq!(Socket::open(&bob).await.established()["online_users"], json!([ann.id]));

    // A second device, and a reconnect: nothing is said of either.
    let desk = Socket::open(&ann).await;
    desk.close().await;
    phone.close().await;
    let phone = Socket::open(&ann).await;
    let left = Instant::now();
    phone.close().await;
    let gone = presence_of(&mut bobs, &ann).await;
    assert_eq!((fields(&gone), &gone["type"]), (listed("type,user_id,timestamp"), &json!("user_offline")));
    assert!(left.elapsed() >= Duration::from_secs(4), "a reconnect within five seconds would have been no change");
    let row = bob.get("/api/v1/contacts").await;
    assert!(!is_online_in(&row, &ann) && row[0]["last_seen"].is_string(), "{row}");
}

#[tokio::test]
async fn who_does_not_let_it_be_seen_comes_and_goes_unseen() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (carl, dora) = (Person::register(system, "carl").await, Person::register(system, "dora").await);
    for hidden in [&ann, &carl] {
        holds(&bob, hidden.id).await;
        holds(&dora, hidden.id).await;
    }
    holds(&bob, dora.id).await;
    holds(&carl, dora.id).await;
    shows_to(&ann, "nobody").await;
    shows_to(&carl, "contacts").await;
    let (mut bobs, _anns, mut carls) = (Socket::open(&bob).await, Socket::open(&ann).await, Socket::open(&carl).await);
    let doras = Socket::open(&dora).await;
    assert_eq!(doras.established()["online_users"], json!([carl.id]), "carl has her in his list");
    assert_eq!(presence_of(&mut carls, &dora).await["type"], "user_online");
    let frames = bobs.until(|frame| frame["user_id"] == json!(dora.id)).await;
    assert!(!frames.iter().any(|frame| frame["user_id"] == json!(ann.id) || frame["user_id"] == json!(carl.id)), "{frames:?}");
    assert_eq!(Socket::open(&bob).await.established()["online_users"], json!([dora.id]));
}

#[tokio::test]
async fn nothing_of_whom_one_has_blocked_is_seen_by_either() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let carl = Person::register(system, "carl").await;
    for (owner, contact) in [(&ann, &bob), (&bob, &ann), (&ann, &carl), (&bob, &carl)] {
        holds(owner, contact.id).await;
    }
    let mut bobs = Socket::open(&bob).await;
    done(&bob, Method::POST, &format!("/api/v1/contacts/{}/block", ann.id), Some(json!({}))).await;
    let mut anns = Socket::open(&ann).await;
    assert_eq!(anns.established()["online_users"], json!([]));
    let _carls = Socket::open(&carl).await;
    for socket in [&mut bobs, &mut anns] {
        let frames = socket.until(|frame| frame["user_id"] == json!(carl.id) && frame["type"] == "user_online").await;
        assert!(!frames.iter().any(|frame| frame["user_id"] == json!(ann.id) || frame["user_id"] == json!(bob.id)), "{frames:?}");
    }
}

#[tokio::test]
async fn who_is_added_is_seen_to_be_here() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    let (_anns, mut bobs) = (Socket::open(&ann).await, Socket::open(&bob).await);
    wait_until("ann is here", BOUND, async || (ann.get(&format!("/api/v1/users/{}", ann.id)).await["is_online"] == true).then_some(()))
        .await;
    holds(&ann, bob.id).await;
    let added = bobs.find("contact_added").await;
    assert_eq!((&added["contact_id"], &added["is_online"]), (&json!(ann.id), &json!(true)));
    assert_eq!(bobs.expect("user_online").await["user_id"], json!(ann.id));
}

#[tokio::test]
async fn over_two_processes_people_are_seen_once_and_a_change_of_process_is_no_change() {
    let both = Two::start().await;
    let (ann, bob) = (Person::register(&both.one, "ann").await, Person::register(&both.two, "bob").await);
    holds(&bob, ann.id).await;
    let mut bobs = Socket::open(&bob).await;
    let here = Socket::open(&ann).await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    here.close().await;
    let there = Socket::open(&ann.at(&both.two)).await;
    assert_eq!(Socket::open(&bob.at(&both.one)).await.established()["online_users"], json!([ann.id]));
    there.close().await;
    let frames = bobs.until(|frame| frame["type"] == "user_offline").await;
    assert_eq!(frames.iter().filter(|frame| frame["user_id"] == json!(ann.id)).count(), 1, "{frames:?}");
}

#[tokio::test]
async fn a_restart_within_seconds_is_no_change() {
    let mut both = Two::start().await;
    let (ann, bob) = (Person::register(&both.one, "ann").await, Person::register(&both.two, "bob").await);
    holds(&bob, ann.id).await;
    let (mut bobs, mut anns) = (Socket::open(&bob).await, Socket::open(&ann).await);
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    both.one.stop().await;
    assert_eq!(anns.ended_within(BOUND).await.code, 1012);
    let there = Socket::open(&ann.at(&both.two)).await;
    there.close().await;
    // The lease of the process that has stopped is the last to end.
    let told = |frame: &Value| frame["user_id"] == json!(ann.id);
    let mut frames = Vec::new();
    while !frames.iter().any(told) {
        frames.extend(bobs.next_within(BOUND * 3).await.expect("the socket is open"));
    }
    assert_eq!(frames.iter().filter(|frame| told(frame)).map(|frame| &frame["type"]).collect::<Vec<_>>(), ["user_offline"], "{frames:?}");
}

#[tokio::test]
async fn a_process_that_stood_still_longer_than_its_lease_makes_up_for_who_came_and_left() {
    let servers = Pair::start().await;
    let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
    let (one, two) = tokio::join!(System::start(config.clone()), System::start(config));
    let (ann, bob, carl, dora) = tokio::join!(
        Person::register(&two, "ann"),
        Person::register(&two, "bob"),
        Person::register(&two, "carl"),
        Person::register(&two, "dora")
    );
    for contact in [&bob, &carl, &dora] {
        holds(&ann, contact.id).await;
    }
    let bobs = Socket::open(&bob).await;
    wait_until("bob is here", BOUND, async || (sees(&ann, &bob).await == [true; 2]).then_some(())).await;
    let mut anns = Socket::open(&ann.at(&one)).await;
    assert_eq!(anns.established()["online_users"], json!([bob.id]));

    signal(one.pid().expect("it runs"), Signal::STOP);
    let mut redis =
        redis::Client::open(servers.redis.url()).expect("a URL").get_multiplexed_async_connection().await.expect("a connection");
    wait_until("it is forgotten", BOUND * 3, async || {
        let leases: Vec<String> = redis::cmd("KEYS").arg("frames:pusher:*").query_async(&mut redis).await.expect("keys");
        (leases.len() == 1).then_some(())
    })
    .await;
    bobs.close().await;
    let _carls = Socket::open(&carl).await;
    wait_until("bob has left, and carl has come", BOUND * 3, async || {
        (sees(&ann, &bob).await == [false; 2] && sees(&ann, &carl).await == [true; 2]).then_some(())
    })
    .await;
    signal(one.pid().expect("it runs"), Signal::CONT);

    let frames = [anns.find("user_online").await, anns.find("user_offline").await];
    assert_eq!(frames.each_ref().map(|frame| &frame["user_id"]), [&json!(carl.id), &json!(bob.id)]);
    // And it hears who comes from now on, without any message between.
    let _doras = Socket::open(&dora).await;
    assert_eq!(presence_of(&mut anns, &dora).await["type"], "user_online");
    let said = anns.before_pong().await;
    assert!(!said.iter().any(|frame| frame["user_id"] == json!(bob.id) || frame["user_id"] == json!(carl.id)), "{said:?}");
}

#[tokio::test]
async fn who_leaves_while_redis_says_nothing_has_left_when_it_answers_again() {
    let redis = OwnRedis::started().await;
    let system = System::start(SystemConfig::default().env("REDIS_URL", redis.url())).await;
    let (ann, bob) = people(&system).await;
    holds(&bob, ann.id).await;
    let (mut bobs, anns) = (Socket::open(&bob).await, Socket::open(&ann).await);
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    redis.hang();
    wait_until("Redis is known to be away", BOUND, async || {
        // Whoever asks something of it finds out.
        let _ = bob.ask(Method::GET, "/api/v1/contacts", None).await;
        (system.metric("redis_up").await == Some(0.0)).then_some(())
    })
    .await;
    let left = Instant::now();
    anns.close().await;
    wait_until("her socket has ended", BOUND, async || (system.metric("sockets_open").await == Some(1.0)).then_some(())).await;
    redis.go_on();
    let word = bobs.next_within(BOUND * 3).await.expect("the socket is open").expect("a word");
    assert_eq!((&word["type"], &word["user_id"]), (&json!("user_offline"), &json!(ann.id)));
    assert!(left.elapsed() < Duration::from_secs(40), "not only when her lease had ended: {:?}", left.elapsed());
    drop(system);
}

/// Whether somebody sees over HTTP that another is here, in a list and by themselves.
async fn sees(viewer: &Person, who: &Person) -> [bool; 2] {
    let listed = is_online_in(&viewer.get("/api/v1/contacts").await, who);
    [listed, viewer.get(&format!("/api/v1/users/{}", who.id)).await["is_online"] == true]
}

#[tokio::test]
async fn a_block_ends_what_the_two_see_of_each_other_and_its_end_shows_it_again() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    holds(&bob, ann.id).await;
    holds(&ann, bob.id).await;
    let mut bobs = Socket::open(&bob).await;
    let mut anns = Socket::open(&ann).await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    wait_until("bob is here", BOUND, async || (sees(&ann, &bob).await == [true; 2]).then_some(())).await;

    let block = |by: &Person, of: &Person| (by.clone(), format!("/api/v1/contacts/{}/block", of.id));
    let (bobs_block, anns_block) = (block(&bob, &ann), block(&ann, &bob));
    done(&bobs_block.0, Method::POST, &bobs_block.1, Some(json!({}))).await;
    for (socket, of) in [(&mut bobs, &ann), (&mut anns, &bob)] {
        let left = socket.find("user_offline").await;
        assert_eq!(left["user_id"], json!(of.id));
        assert_eq!((fields(&left), &left["type"]), (listed("type,user_id,timestamp"), &json!("user_offline")));
    }
    assert_eq!((sees(&ann, &bob).await, sees(&bob, &ann).await), ([false; 2], [false; 2]));
    assert_eq!(ann.get(&format!("/api/v1/users/{}", bob.id)).await["last_seen"], Value::Null);

    let row = ann.get("/api/v1/contacts").await[0]["id"].clone();
    let path = format!("/api/v1/contacts/{}", row.as_str().expect("an id"));
    done(&ann, Method::DELETE, &path, None).await;
    let row = ann.post("/api/v1/contacts", json!({"contact_id": bob.id})).await.json();
    assert_eq!((&row["is_online"], &row["last_seen"]), (&json!(false), &Value::Null));

    // As long as one of two stands, nothing is shown.
    done(&anns_block.0, Method::POST, &anns_block.1, Some(json!({}))).await;
    done(&bobs_block.0, Method::DELETE, &bobs_block.1, None).await;
    assert_eq!((sees(&ann, &bob).await, sees(&bob, &ann).await), ([false; 2], [false; 2]));
    for socket in [&mut bobs, &mut anns] {
        let frames = socket.before_pong().await;
        assert!(!frames.iter().any(|frame| frame["type"] == "user_online" || frame["type"] == "user_offline"), "{frames:?}");
    }
    done(&anns_block.0, Method::DELETE, &anns_block.1, None).await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    assert_eq!(presence_of(&mut anns, &bob).await["type"], "user_online");
    assert_eq!((sees(&ann, &bob).await, sees(&bob, &ann).await), ([true; 2], [true; 2]));
}

#[tokio::test]
async fn who_hides_is_gone_for_those_who_saw_them_and_is_here_when_they_may_see_again() {
    let both = Two::start().await;
    let (ann, bob) = (Person::register(&both.one, "ann").await, Person::register(&both.two, "bob").await);
    holds(&bob, ann.id).await;
    let mut bobs = Socket::open(&bob).await;
    let _anns = Socket::open(&ann).await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    for (whom, told) in [("nobody", "user_offline"), ("everybody", "user_online"), ("contacts", "user_offline")] {
        shows_to(&ann, whom).await;
        assert_eq!(presence_of(&mut bobs, &ann).await["type"], told);
        // What was so already is said to nobody.
        shows_to(&ann, whom).await;
    }
    holds(&ann, bob.id).await;
    let frames = bobs.until(|frame| frame["type"] == "user_online").await;
    assert!(!frames.iter().any(|frame| frame["type"] == "user_offline"), "{frames:?}");
}

#[tokio::test]
async fn who_signs_off_by_http_and_comes_back_at_once_has_not_been_away() {
    let system = System::shared().await;
    let (ann, bob) = people(system).await;
    holds(&bob, ann.id).await;
    let mut bobs = Socket::open(&bob).await;
    let say = async |what: &str| done(&ann, Method::POST, &format!("/api/v1/relay/user/{}/{what}", ann.id), Some(json!({}))).await;
    say("online").await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_online");
    for _ in 0..3 {
        say("offline").await;
        say("online").await;
    }
    let left = Instant::now();
    say("offline").await;
    assert_eq!(presence_of(&mut bobs, &ann).await["type"], "user_offline");
    assert!(left.elapsed() >= Duration::from_secs(4));
}
