//! Talk over commands that note what they were asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use platform::auth::Caller;
use platform::frames::{FrameLog, Heard, Kept};
use platform::fresh::{Freshness, Reached};
use platform::http::{Problem, RequestContext};
use platform::limits::{Class, Limits, Networks, Rate, Rates, Subject};
use platform::marks::{Heads, Marks};
use platform::redis::Redis;
use platform::shutdown::Shutdown;
use schemas::frames::{Entry, Frame};
use schemas::{MessageId, SessionId, Timestamp, UserId};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use testkit::wait_until;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{Answer, Commands, Reply, Speaker, Talk};
use crate::socket::{Said, SentBefore};

const BOUND: Duration = Duration::from_secs(10);
/// A message that was sent before.
const BEFORE: MessageId = MessageId(Uuid::from_u128(99));

#[derive(Debug)]
struct Asked {
    log: Mutex<Vec<String>>,
    /// Commands wait for one of these.
    may_end: Semaphore,
    refuses: Mutex<Option<&'static str>>,
    blocked: UserId,
}

impl Asked {
    async fn note(&self, what: String) -> Result<(), Problem> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(what);
        self.may_end.acquire().await.expect("it is not closed").forget();
        let refuses = *self.refuses.lock().unwrap_or_else(PoisonError::into_inner);
        refuses.map_or(Ok(()), |code| Err(Problem::forbidden(code, "It is refused")))
    }

    fn so_far(&self) -> Vec<String> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn at() -> Timestamp {
    "2026-01-31T10:30:00Z".parse().expect("a time")
}

#[async_trait]
impl Commands for Asked {
    async fn message(&self, _: &Caller, _: RequestContext, payload: &RawValue) -> Result<Option<SentBefore>, Problem> {
        self.note(format!("message {}", payload.get())).await?;
        let before = SentBefore { id: BEFORE, recipient: self.blocked, client_id: Some("mine".into()), at: at() };
        Ok(payload.get().contains("again").then_some(before))
    }
    async fn read(&self, _: &Caller, _: RequestContext, message: MessageId) -> Result<bool, Problem> {
        self.note(format!("read {}", message.0.as_u128())).await?;
        Ok(message.0.as_u128() < 1_000)
    }
    async fn delivered(&self, _: &Caller, _: RequestContext, message: MessageId) -> Result<bool, Problem> {
        self.note(format!("delivered {}", message.0.as_u128())).await?;
        Ok(message.0.as_u128() < 1_000)
    }
    async fn may_reach(&self, _: &Caller, to: UserId) -> Result<bool, Problem> {
        Ok(to != self.blocked)
    }
}

struct Desk {
    talk: Talk,
    asked: Arc<Asked>,
    caller: Caller,
    limits: Limits,
    log: FrameLog,
    shutdown: Shutdown,
}

impl Desk {
    async fn new(rate: Rate) -> Self {
        let shutdown = Shutdown::new();
        let redis = Redis::connect(&testkit::servers::redis_url().await, shutdown.clone()).expect("a URL");
        wait_until("redis is up", BOUND, async || redis.is_up().then_some(())).await;
        let freshness = Freshness {
            marks: Marks::new(redis.clone(), &shutdown),
            heads: Heads::new(BTreeMap::new()),
            reached: Reached::new(redis.clone(), BTreeMap::new(), shutdown.clone()),
            pools: Arc::default(),
        };
        let blocked = UserId(Uuid::now_v7());
        let asked = Arc::new(Asked { log: Mutex::default(), may_end: Semaphore::new(0), refuses: Mutex::default(), blocked });
        let log = FrameLog::new(redis, Kept::default());
        let limits = Limits::alone(Rates::all(rate), Networks::default());
        let talk = Talk::new(asked.clone(), limits.clone(), Rate::per_second(200, 1_000), freshness, log.clone(), shutdown.clone());
        let caller = Caller { user: UserId(Uuid::now_v7()), session: SessionId(Uuid::now_v7()), role: "user".into(), token_ends: 0 };
        Self { talk, asked, caller, limits, log, shutdown }
    }

    async fn quick() -> Self {
        let desk = Self::new(Rate::per_second(10_000, 10_000)).await;
        desk.asked.may_end.add_permits(100_000);
        desk
    }

    fn speaker(&self) -> Speaker {
        Speaker::new(self.caller.clone())
    }

    /// What a frame is answered with, when everything is done.
    async fn answer(&self, speaker: &mut Speaker, frame: &Value) -> Option<Answer> {
        match self.talk.hear(speaker, &frame.to_string()) {
            Reply::Nothing => None,
            Reply::Frame(frame) => Some(Answer::Frame(frame)),
            Reply::Later(later) => tokio::time::timeout(BOUND, later).await.expect("it is done in time"),
            Reply::Resume(cursor) => panic!("nobody wanted to resume after {cursor}"),
        }
    }

    async fn error(&self, speaker: &mut Speaker, frame: &Value) -> Value {
        match self.answer(speaker, frame).await {
            Some(Answer::Frame(frame)) => serde_json::from_str(&frame).expect("JSON"),
            other => panic!("{other:?} is no error"),
        }
    }
}

fn receipt(kind: &str, message: u128) -> Value {
    json!({"type": kind, "payload": {"message_id": Uuid::from_u128(message)}})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "payload": {"message_id": text}})
}

#[tokio::test]
async fn what_is_asked_is_carried_out_and_what_is_refused_says_so_with_the_clients_id() {
    let desk = Desk::quick().await;
    let mut speaker = desk.speaker();
    assert_eq!(desk.answer(&mut speaker, &message("m-1")).await, None);
    assert_eq!(desk.answer(&mut speaker, &receipt("ack", 7)).await, None);
    assert_eq!(desk.answer(&mut speaker, &receipt("read_confirmation", 7)).await, None);
    assert_eq!(desk.asked.so_far(), [r#"message {"message_id":"m-1"}"#, "delivered 7", "read 7"]);
    let pong = desk.answer(&mut speaker, &json!({"type": "ping"})).await;
    assert_eq!(pong, Some(Answer::Frame(r#"{"type":"pong"}"#.into())));
    assert!(
        matches!(desk.talk.hear(&mut speaker, r#"{"type":"resume","payload":{"cursor":"c"}}"#), Reply::Resume(cursor) if cursor == "c")
    );

    *desk.asked.refuses.lock().expect("no test panicked") = Some("blocked");
    let error = json!({"type": "error", "code": "blocked", "detail": "It is refused", "client_id": "m-2"});
    assert_eq!(desk.error(&mut speaker, &message("m-2")).await, error);
    let refused = desk.error(&mut speaker, &receipt("read", 8)).await;
    assert_eq!((&refused["code"], &refused["client_id"]), (&json!("blocked"), &json!(Uuid::from_u128(8))));
}

#[tokio::test]
async fn a_message_that_was_sent_before_is_said_to_be_sent() {
    let desk = Desk::quick().await;
    let answer = desk.answer(&mut desk.speaker(), &message("again")).await;
    let frame = Frame::Sent { id: BEFORE, to: desk.asked.blocked, client: Some("mine".into()) };
    assert_eq!(answer, Some(Answer::Again(Entry { at: at(), frames: vec![frame] })));
}

#[tokio::test]
async fn repeats_of_a_receipt_are_nothing_on_any_socket_and_other_kinds_are_other_receipts() {
    let desk = Desk::quick().await;
    let (mut one, mut two) = (desk.speaker(), desk.speaker());
    for _ in 0..50 {
        for speaker in [&mut one, &mut two] {
            assert_eq!(desk.answer(speaker, &receipt("read", 7)).await, None);
            assert_eq!(desk.answer(speaker, &receipt("delivery_confirmation", 7)).await, None);
        }
    }
    assert_eq!(desk.asked.so_far(), ["read 7", "delivered 7"]);
    // What does not exist may do so later.
    for _ in 0..2 {
        assert_eq!(desk.answer(&mut one, &receipt("read", 5_000)).await, None);
    }
    assert_eq!(desk.asked.so_far().len(), 4);
    // One that failed was not given.
    *desk.asked.refuses.lock().expect("no test panicked") = Some("outcome_unknown");
    assert_eq!(desk.error(&mut one, &receipt("ack", 8)).await["code"], "outcome_unknown");
    *desk.asked.refuses.lock().expect("no test panicked") = None;
    assert_eq!(desk.answer(&mut one, &receipt("ack", 8)).await, None);
    assert_eq!(desk.asked.so_far()[4..], ["delivered 8", "delivered 8"]);
}

#[tokio::test]
async fn messages_of_a_socket_keep_their_order_and_receipts_go_beside_them() {
    let desk = Desk::new(Rate::per_second(10_000, 10_000)).await;
    let mut speaker = desk.speaker();
    let frames = [message("1"), message("2"), receipt("read", 7), receipt("ack", 8), message("3")];
    let later: Vec<_> = frames.iter().map(|frame| desk.talk.hear(&mut speaker, &frame.to_string())).collect();
    let begun = wait_until("three have begun", BOUND, async || Some(desk.asked.so_far()).filter(|asked| asked.len() == 3)).await;
    assert!(begun.contains(&r#"message {"message_id":"1"}"#.to_owned()) && begun.contains(&"read 7".to_owned()), "{begun:?}");
    desk.asked.may_end.add_permits(100);
    for later in later {
        let Reply::Later(later) = later else { panic!("{later:?}") };
        assert_eq!(tokio::time::timeout(BOUND, later).await.expect("it is done in time"), None);
    }
    let messages: Vec<_> = desk.asked.so_far().into_iter().filter(|asked| asked.starts_with("message")).collect();
    let expected: Vec<_> = ["1", "2", "3"].iter().map(|n| format!(r#"message {{"message_id":"{n}"}}"#)).collect();
    assert_eq!(messages, expected);
}

#[tokio::test]
async fn what_was_said_is_done_though_the_socket_has_closed_and_the_stop_waits_for_it() {
    let desk = Desk::new(Rate::per_second(10_000, 10_000)).await;
    for text in ["1", "2"] {
        let _ = desk.talk.hear(&mut desk.speaker(), &message(text).to_string());
    }
    let mut speaker = desk.speaker();
    for text in ["3", "4"] {
        drop(desk.talk.hear(&mut speaker, &message(text).to_string()));
    }
    drop(speaker);
    desk.shutdown.drain();
    assert!(tokio::time::timeout(Duration::from_millis(50), desk.shutdown.finished()).await.is_err());
    desk.asked.may_end.add_permits(100);
    tokio::time::timeout(BOUND, desk.shutdown.finished()).await.expect("it ends");
    assert_eq!(desk.asked.so_far().len(), 4);
}

#[tokio::test]
async fn a_user_who_sends_too_much_hears_so_on_every_socket_and_receipts_are_only_slowed_down() {
    let desk = Desk::new(Rate::per_second(20, 5)).await;
    desk.asked.may_end.add_permits(1_000);
    let (mut one, mut two) = (desk.speaker(), desk.speaker());
    let mut codes = Vec::new();
    for n in 0..12 {
        let speaker = if n % 2 == 0 { &mut one } else { &mut two };
        codes.extend(desk.answer(speaker, &message(&n.to_string())).await);
    }
    assert!(codes.len() >= 5, "of twelve messages at once five go through: {codes:?}");
    let Answer::Frame(last) = codes.last().expect("one was refused") else { panic!("{codes:?}") };
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!((&last["code"], &last["client_id"]), (&json!("rate_limited"), &json!("11")));
    for n in 0..15 {
        assert_eq!(desk.answer(&mut one, &receipt("ack", n)).await, None);
    }
    assert_eq!(desk.asked.so_far().iter().filter(|asked| asked.starts_with("delivered")).count(), 15);
}

#[tokio::test]
async fn a_socket_that_says_too_much_hears_so_but_may_still_say_what_it_has_read() {
    let desk = Desk::quick().await;
    let mut speaker = desk.speaker();
    let mut refused = 0;
    for n in 0..3_000 {
        let frame = if n % 2 == 0 { json!({"type": "ping"}) } else { json!({"type": "nonsense"}) };
        let Reply::Frame(answer) = desk.talk.hear(&mut speaker, &frame.to_string()) else { panic!("it is answered at once") };
        refused += usize::from(answer.contains("rate_limited"));
    }
    assert!((1_500..2_000).contains(&refused), "{refused}");
    assert_eq!(desk.answer(&mut speaker, &receipt("read", 7)).await, None);
    assert_eq!(desk.asked.so_far(), ["read 7"]);
    let mut other = desk.speaker();
    assert!(matches!(desk.talk.hear(&mut other, r#"{"type":"ping"}"#), Reply::Frame(pong) if pong.contains("pong")));
}

fn typing(peer: UserId, on: bool) -> Value {
    json!({"type": "typing", "payload": {"recipient_id": peer, "is_typing": on}})
}

/// Somebody who listens.
struct Peer {
    user: UserId,
    heard: tokio::sync::mpsc::Receiver<Heard>,
    _pusher: platform::frames::Pusher,
}

impl Peer {
    async fn of(desk: &Desk) -> Self {
        let (pusher, mut heard) = desk.log.pusher();
        let user = UserId(Uuid::now_v7());
        wait_until("they are held, and heard of", BOUND, async || {
            // Where no log has begun it is an error, but held they are.
            let _ = pusher.hold(user).await;
            desk.log.note(&[user], "are you there").await.ok()?;
            matches!(heard.try_recv(), Ok(Heard::Note(_, text)) if &*text == "are you there").then_some(())
        })
        .await;
        Self { user, heard, _pusher: pusher }
    }

    /// The next so many frames that they are shown.
    async fn shown(&mut self, count: usize) -> Vec<Value> {
        let mut shown = Vec::new();
        while shown.len() < count {
            let next = tokio::time::timeout(BOUND, self.heard.recv()).await.expect("it comes").expect("it is heard");
            let Heard::Note(users, text) = next else { continue };
            if let Some(said) = Said::read(&text) {
                assert_eq!(users, [self.user]);
                shown.push(serde_json::from_str::<Value>(&said.frame).expect("JSON"));
            }
        }
        shown
    }

    /// Whether the next so many frames say that somebody types.
    async fn shown_typing(&mut self, count: usize) -> Vec<bool> {
        self.shown(count).await.iter().map(|frame| frame["is_typing"] == true).collect()
    }
}

#[tokio::test]
async fn typing_is_told_to_whom_it_may_reach_and_answered_with_nothing() {
    let desk = Desk::quick().await;
    let mut bob = Peer::of(&desk).await;
    let mut speaker = desk.speaker();
    let bobs = bob.user;
    for (peer, on) in [(desk.asked.blocked, true), (desk.caller.user, true), (bobs, true), (bobs, true), (bobs, false), (bobs, false)] {
        assert_eq!(desk.answer(&mut speaker, &typing(peer, on)).await, None);
    }
    let told = bob.shown(3).await;
    assert!(told.iter().all(|frame| frame["type"] == "typing" && frame["sender_id"] == json!(desk.caller.user)));
    assert_eq!(told.iter().map(|frame| frame["is_typing"].as_bool()).collect::<Vec<_>>(), [Some(true), Some(false), Some(false)]);
}

#[tokio::test]
async fn that_somebody_has_stopped_typing_is_told_however_much_they_say() {
    // So many commands, and so many frames of a socket, are too much.
    let desk = Desk::new(Rate::per_second(20, 5)).await;
    let mut bob = Peer::of(&desk).await;
    let mut speaker = desk.speaker();
    while !matches!(desk.talk.hear(&mut speaker, r#"{"type":"ping"}"#), Reply::Frame(answer) if answer.contains("rate_limited")) {}
    for _ in 0..3 {
        assert_eq!(desk.answer(&mut speaker, &typing(bob.user, false)).await, None);
    }
    assert_eq!(bob.shown_typing(3).await, [false; 3], "the socket's limit is no reason");
    let mut other = desk.speaker();
    while desk.limits.take(Class::Commands, Subject::User(desk.caller.user)).await.allowed {}
    for _ in 0..2 {
        assert_eq!(desk.answer(&mut other, &typing(bob.user, false)).await, None);
    }
    assert_eq!(bob.shown_typing(2).await, [false; 2], "nor is the user's");
}

#[tokio::test]
async fn a_user_with_many_sockets_is_shown_to_type_as_often_as_one_with_one() {
    let desk = Desk::quick().await;
    let (mut bob, mut carl) = (Peer::of(&desk).await, Peer::of(&desk).await);
    let mut sockets: Vec<Speaker> = (0..20).map(|_| desk.speaker()).collect();
    let began = Instant::now();
    for socket in &mut sockets {
        assert_eq!(desk.answer(socket, &typing(bob.user, true)).await, None);
    }
    for on in [true, false] {
        assert_eq!(desk.answer(&mut sockets[0], &typing(carl.user, on)).await, None);
    }
    assert_eq!(desk.answer(&mut sockets[0], &typing(bob.user, false)).await, None);
    assert_eq!(carl.shown_typing(2).await, [true, false], "each peer is counted apart");
    let mut shown = Vec::new();
    while shown.last() != Some(&false) {
        shown.extend(bob.shown_typing(1).await);
    }
    let most = 1 + usize::try_from(began.elapsed().as_secs()).expect("seconds");
    assert!((1..=most).contains(&(shown.len() - 1)), "{shown:?}");
}
