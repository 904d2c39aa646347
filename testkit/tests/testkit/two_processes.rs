//! Two processes on the same servers: one system.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use testkit::servers::Pair;
use testkit::system::{System, SystemConfig};
use testkit::wait_until;
use uuid::Uuid;

/// The servers, and two systems with nothing else in common. The servers are last: fields are dropped in order.
pub struct Two {
    pub one: System,
    pub two: System,
    _servers: Pair,
}

impl Two {
    pub async fn start() -> Self {
        let servers = Pair::start().await;
        let config = SystemConfig::default().env("DATABASE_URL", servers.postgres.url()).env("REDIS_URL", servers.redis.url());
        // At the same time: whoever comes second finds the other one migrating.
        let (one, two) = tokio::join!(System::start(config.clone()), System::start(config));
        Self { one, two, _servers: servers }
    }
}

async fn me(who: &Person) -> u16 {
    who.ask(Method::GET, "/api/v1/auth/me", None).await.expect("an answer").status.as_u16()
}

#[tokio::test]
async fn two_processes_on_one_database_are_one_system() {
    let both = Two::start().await;
    let (ann, bob) = (Person::register(&both.one, "ann").await, Person::register(&both.two, "bob").await);
    let (ann_there, bob_there) = (ann.at(&both.two), bob.at(&both.one));

    // Tokens of one are good at the other, which signs with a key of its own.
    for who in [&ann, &ann_there, &bob, &bob_there] {
        assert_eq!(me(who).await, 200);
    }
    let keys = async |system: &System| -> Vec<Value> {
        let answer = Answer::to(testkit::person::http().get(system.url("/.well-known/jwks.json"))).await.expect("an answer");
        let mut keys = answer.json()["keys"].as_array().expect("keys").clone();
        keys.sort_by_key(|key| key["kid"].to_string());
        keys
    };
    let (of_one, of_two) = (keys(&both.one).await, keys(&both.two).await);
    assert_eq!(of_one, of_two);
    assert_eq!(of_one.len(), 2);

    // Written here, read there, at once; whichever of them projects.
    let mut sent = Vec::new();
    for round in 0..100 {
        let id = Uuid::now_v7();
        let (from, reader) = if round % 2 == 0 { (&ann, &bob) } else { (&ann_there, &bob_there) };
        let answer = from.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        sent.push(id);
        assert_eq!(reader.conversation(ann.id).await, sent, "round {round}");
        assert_eq!(bob.pending().await.len(), round + 1, "round {round}");
        assert_eq!(bob_there.pending().await.len(), round + 1, "round {round}");
    }

    // A repeat is one, wherever it is asked.
    let (id, key) = (Uuid::now_v7(), "k");
    let at = async |who: &Person| {
        let request = who.request(Method::POST, "/api/v1/messages/send").header("Idempotency-Key", key);
        let answer = Answer::to(request.json(&Person::message(bob.id, id, "once"))).await.expect("an answer");
        (answer.status.as_u16(), answer.json())
    };
    let (here, there) = tokio::join!(at(&ann), at(&ann_there));
    assert_eq!(here.0, 200);
    assert_eq!(here, there);
    assert_eq!(bob.pending().await.len(), 101);

    // A logout here ends it there.
    let again = ann.login().await;
    let again_there = again.at(&both.two);
    assert_eq!(me(&again_there).await, 200);
    assert_eq!(again.post("/api/v1/auth/logout", json!({})).await.status, 200);
    assert_eq!(me(&again).await, 401);
    wait_until("the logout is known there", Duration::from_secs(1), async || (me(&again_there).await == 401).then_some(())).await;
    assert_eq!((me(&ann).await, me(&ann_there).await), (200, 200));
}

#[tokio::test]
async fn one_address_is_one_account_over_both_processes() {
    let both = Two::start().await;
    for _ in 0..5 {
        let unique = Uuid::now_v7().simple().to_string();
        let register = async |system: &System, n: usize| {
            let body =
                json!({"email": format!("ann.{unique}@example.org"), "username": format!("ann-{n}-{unique}"), "password": "a password"});
            let answer =
                Answer::to(testkit::person::http().post(system.url("/api/v1/auth/register")).json(&body)).await.expect("an answer");
            (answer.status.as_u16(), answer.json()["detail"].clone())
        };
        let answers = futures::future::join_all((0..6).map(|n| register(if n % 2 == 0 { &both.one } else { &both.two }, n))).await;
        assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
        for (status, detail) in answers.iter().filter(|(status, _)| *status != 200) {
            assert_eq!((*status, detail.as_str()), (400, Some("User with this email or username already exists")));
        }
    }
}

#[tokio::test]
async fn when_one_process_is_killed_the_other_goes_on_and_takes_over_what_it_projected() {
    let mut both = Two::start().await;
    let (ann, bob) = (Person::register(&both.one, "ann").await, Person::register(&both.one, "bob").await);
    let mut sent = Vec::new();
    for round in 0..2 {
        let (survivor, victim) = if round == 0 { (&both.two, &mut both.one) } else { (&both.one, &mut both.two) };
        victim.kill();
        let (ann, bob) = (ann.at(survivor), bob.at(survivor));
        for _ in 0..20 {
            let id = Uuid::now_v7();
            let answer = ann.post("/api/v1/messages/send", Person::message(bob.id, id, "hello")).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            sent.push(id);
        }
        wait_until("the survivor projects", Duration::from_secs(20), async || (bob.pending().await == sent).then_some(())).await;
        assert_eq!(ann.conversation(bob.id).await, sent);
        victim.start_again();
        victim.ready().await;
        assert_eq!(bob.at(victim).pending().await, sent, "who comes back sees everything");
    }
}
