//! Lists: limits, cursors, links, and conversations too long for one piece.

use futures::StreamExt;
use reqwest::Method;
use serde_json::Value;
use testkit::person::{Answer, Person};
use testkit::system::{MACHINE, System, SystemConfig};
use uuid::Uuid;

async fn page(who: &Person, path: &str) -> (Vec<Uuid>, Option<String>) {
    let answer = who.ask(Method::GET, path, None).await.expect("an answer");
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    let next = answer.header("link").map(|link| {
        let (address, rel) = link.split_once(">; ").expect("<address>; rel");
        assert_eq!(rel, "rel=\"next\"");
        address.trim_start_matches('<').to_owned()
    });
    (ids(&answer.json()), next)
}

fn ids(list: &Value) -> Vec<Uuid> {
    list.as_array().expect("a bare array").iter().map(|m| m["id"].as_str().expect("an id").parse().expect("a UUID")).collect()
}

/// Sends so many, `lanes` at a time; each lane in order.
async fn write(from: &Person, to: &Person, count: usize, lanes: usize, content: &str) {
    futures::stream::iter(0..count)
        .for_each_concurrent(lanes, async |_| {
            let sent = from.post("/api/v1/messages/send", Person::message(to.id, Uuid::now_v7(), content)).await;
            assert_eq!(sent.status, 200, "{}", sent.text);
        })
        .await;
}

#[tokio::test]
async fn pages_walked_by_their_links_meet_without_gap_or_overlap() {
    let system = System::shared().await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    write(&ann, &bob, 25, 4, "hello").await;
    let whole = bob.conversation(ann.id).await;
    assert_eq!(whole.len(), 25);
    let mut next = Some(format!("/api/v1/messages/conversation/{}?limit=10", ann.id));
    let mut walked: Vec<Uuid> = Vec::new();
    let mut sizes = Vec::new();
    while let Some(path) = next {
        let (older, link) = page(&bob, &path).await;
        sizes.push(older.len());
        walked.splice(0..0, older);
        next = link;
    }
    assert_eq!(sizes, [10, 10, 5], "the newest come first, oldest first within the page");
    assert_eq!(walked, whole);
    // A cursor without a limit is everything before it; upper case is the same id.
    let before = whole[3].to_string().to_uppercase();
    let (older, link) = page(&bob, &format!("/api/v1/messages/conversation/{}?before={before}", ann.id)).await;
    assert_eq!((older.as_slice(), link), (&whole[..3], None));
    let (first, link) = page(&bob, &format!("/api/v1/messages/conversation/{}?limit=5&before={}", ann.id, whole[0])).await;
    assert_eq!((first.len(), link), (0, None), "there is nothing before the first");
}

#[tokio::test]
async fn a_limit_or_cursor_that_is_none_is_refused() {
    let system = System::shared().await;
    let (ann, bob, eve) =
        (Person::register(system, "ann").await, Person::register(system, "bob").await, Person::register(system, "eve").await);
    let foreign = Uuid::now_v7();
    assert_eq!(ann.post("/api/v1/messages/send", Person::message(eve.id, foreign, "elsewhere")).await.status, 200);
    for query in
        ["limit=0", "limit=-1", "limit=1.5", "limit=ten", "before=x", &format!("before={}", Uuid::now_v7()), &format!("before={foreign}")]
    {
        let answer = ann.ask(Method::GET, &format!("/api/v1/messages/conversation/{}?{query}", bob.id), None).await.expect("an answer");
        assert_eq!(answer.status, 422, "{query}: {}", answer.text);
        let field = query.split('=').next().expect("a name");
        assert_eq!(answer.json()["errors"][0]["field"], field, "{query}");
    }
}

#[tokio::test]
async fn a_conversation_of_thousands_is_streamed_whole_and_paged_by_a_thousand_at_most() {
    let _alone = MACHINE.lock().await;
    let system = &System::start(SystemConfig::default().env("POSTRIDER_LIMITS__SENDS_BURST", 10_000)).await;
    let (ann, bob) = (Person::register(system, "ann").await, Person::register(system, "bob").await);
    write(&ann, &bob, 2_500, 32, &"x".repeat(2_000)).await;
    let path = format!("/api/v1/messages/conversation/{}", bob.id);
    let answer = Answer::to(ann.request(Method::GET, &path)).await.expect("an answer");
    assert_eq!(answer.header("content-length"), None, "it is not held whole before it is sent");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let whole = ids(&answer.json());
    assert_eq!(whole.len(), 2_500);
    let (newest, link) = page(&ann, &format!("{path}?limit=5000")).await;
    assert_eq!(newest, whole[1_500..], "a thousand at most");
    assert_eq!(link, Some(format!("{path}?limit=1000&before={}", whole[1_500])));
    assert_eq!(bob.pending().await, whole, "the queue is given whole, in the same order");
}
