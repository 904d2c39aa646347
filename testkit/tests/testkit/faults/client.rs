//! A device that acts as its plan says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use testkit::person::{Answer, Person};
use uuid::Uuid;

use super::dice::Dice;
use super::history::{Call, CallId, Event, Frame, Outcome, Person as Number, Seen};
use super::line::{Ear, Line, Shared, lock};
use super::plan::{Act, From, Leave, Way};

/// How long an answer may take until a client gives up.
const PATIENCE: Duration = Duration::from_secs(6);

/// What the devices of a person know together.
#[derive(Debug, Default)]
pub struct Known {
    /// What came to them, on whichever socket or list.
    pub received: Vec<(Number, Uuid)>,
    /// What they have sent, and know of it.
    pub sent: Vec<Uuid>,
}

/// A device, and whom it may write to.
#[derive(Debug)]
pub struct Client {
    pub ear: Ear,
    pub dice: Dice,
    /// Its person, at each process.
    pub at: Vec<Person>,
    /// Everybody, by number.
    pub everybody: Arc<[Uuid]>,
    pub known: Shared<Known>,
    pub line: Option<Line>,
    /// Sends of which it does not know what became of them.
    pub doubtful: Vec<(Number, Uuid)>,
}

impl Client {
    /// Acts until it is told to stop.
    pub async fn act(mut self, stop: Arc<AtomicBool>) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let act = Act::next(&mut self.dice);
            let pause = Act::pause(&mut self.dice);
            let process = self.dice.index(self.at.len());
            self.does(act, process).await;
            tokio::time::sleep(pause).await;
        }
        self
    }

    async fn does(&mut self, act: Act, here: usize) {
        self.learn();
        match act {
            Act::Send { to, many, by } => {
                for _ in 0..many {
                    let me = self.ear.device.person;
                    let others = self.everybody.len() as u64 - 1;
                    let to = (me + 1 + usize::try_from(to % others).expect("small")) % self.everybody.len();
                    self.send(here, to, Uuid::now_v7(), by).await;
                }
            }
            Act::Repeat => {
                if let Some((to, id)) = self.doubtful.pop() {
                    self.send(here, to, id, Way::Http).await;
                }
            }
            Act::Acknowledge { which, by } => {
                if let Some((_, id)) = self.received(which) {
                    self.acknowledge(here, id, by).await;
                }
            }
            Act::Read { which, by } => {
                if let Some((_, id)) = self.received(which) {
                    let call = self.calls(Call::Read(id));
                    if by == Way::Socket && self.line.is_some() {
                        self.said(call, "read", json!({"message_id": id})).await;
                    } else {
                        self.asks(here, call, Method::PUT, &format!("/api/v1/messages/{id}/read"), None).await;
                    }
                }
            }
            Act::ReadUpTo { which } => {
                if let Some((with, id)) = self.received(which) {
                    let call = self.calls(Call::ReadUpTo { with, id });
                    let path = format!("/api/v1/messages/conversation/{}/read", self.everybody[with]);
                    self.asks(here, call, Method::PUT, &path, Some(json!({"up_to": id}))).await;
                }
            }
            Act::Delete { which } => {
                let chosen = pick(&lock(&self.known).sent, which);
                if let Some(id) = chosen {
                    let call = self.calls(Call::Delete(id));
                    self.asks(here, call, Method::DELETE, &format!("/api/v1/messages/{id}"), None).await;
                }
            }
            Act::Look => {
                let answer = self.ask(here, Method::GET, "/api/v1/relay/pending", None).await;
                let messages = answer.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()["messages"].clone());
                for message in messages.iter().flat_map(Value::as_array).flatten() {
                    if let Some(id) = message["id"].as_str().and_then(|id| id.parse().ok()) {
                        self.knows(message["sender_id"].as_str().unwrap_or_default(), id);
                    }
                }
            }
            Act::Connect { process, from, before } => {
                let after = match from {
                    From::Nothing => None,
                    From::Cursor { back } => self.cursor(back),
                };
                self.leave(before).await;
                self.open(self.process(process), after).await;
            }
            Act::Resume { process, back, before } => {
                let after = self.cursor(back);
                self.leave(before).await;
                self.open(self.process(process), None).await;
                if let (Some(line), Some(after)) = (&mut self.line, after)
                    && !line.resume(&after).await
                {
                    self.leave(Leave::Abruptly).await;
                }
            }
            Act::Leave(how) => self.leave(how).await,
            Act::Idle(time) => tokio::time::sleep(time).await,
        }
    }

    fn process(&self, which: u64) -> usize {
        usize::try_from(which % self.at.len() as u64).expect("small")
    }

    pub async fn open(&mut self, process: usize, after: Option<(Seen, String)>) {
        let person = &self.at[process];
        let url = format!("{}?token={}", person.socket_url(), person.token);
        self.line = Line::open(&self.ear, process, &url, after.as_ref()).await;
    }

    async fn leave(&mut self, how: Leave) {
        if let Some(line) = self.line.take() {
            line.leave(how).await;
        }
    }

    /// The cursor so many frames back.
    pub fn cursor(&self, back: u64) -> Option<(Seen, String)> {
        let heard = lock(&self.ear.heard);
        let back = usize::try_from(back).expect("small").min(heard.cursors.len().checked_sub(1)?);
        heard.cursors.get(heard.cursors.len() - 1 - back).cloned()
    }

    /// What its socket brought is known to its person, and who has no socket any more knows that.
    fn learn(&mut self) {
        let received = std::mem::take(&mut lock(&self.ear.heard).received);
        let new: Vec<_> = received.into_iter().map(|(from, id)| (from.to_string(), id)).collect();
        for (from, id) in new {
            self.knows(&from, id);
        }
        if self.line.as_ref().is_some_and(Line::ended) {
            self.line = None;
        }
    }

    fn knows(&self, from: &str, id: Uuid) {
        let from = from.parse::<Uuid>().ok().and_then(|from| self.everybody.iter().position(|known| *known == from));
        let mut known = lock(&self.known);
        if let Some(from) = from.filter(|_| !known.received.iter().any(|(_, seen)| *seen == id)) {
            known.received.push((from, id));
        }
    }

    /// One of the newest that it has received.
    fn received(&self, which: u64) -> Option<(Number, Uuid)> {
        pick(&lock(&self.known).received, which)
    }

    fn calls(&self, call: Call) -> CallId {
        self.ear.history.calls(self.ear.device, call)
    }

    fn returns(&self, call: CallId, outcome: Outcome) {
        self.ear.history.add(Event::Returns(call, outcome));
    }

    /// Sends and waits for what becomes of it.
    pub async fn send(&mut self, here: usize, to: Number, id: Uuid, by: Way) -> bool {
        let content = format!("text {id}");
        let body = Person::message(self.everybody[to], id, &content);
        let call = self.calls(Call::Send { id, to, content });
        let outcome = match (by, &mut self.line) {
            (Way::Socket, Some(line)) => {
                let outcome = if line.say("message", body).await { answered(line, id).await } else { None };
                let outcome = outcome.unwrap_or_else(|| Outcome::Unknown("nothing came back".into()));
                self.returns(call, outcome.clone());
                outcome
            }
            (Way::Relay, _) => self.asks(here, call, Method::POST, "/api/v1/relay/send", Some(body)).await,
            _ => self.asks(here, call, Method::POST, "/api/v1/messages/send", Some(body)).await,
        };
        match outcome {
            Outcome::Ok => lock(&self.known).sent.push(id),
            Outcome::Unknown(_) => self.doubtful.push((to, id)),
            Outcome::Failed(_) => {}
        }
        outcome == Outcome::Ok
    }

    async fn acknowledge(&mut self, here: usize, id: Uuid, by: Way) {
        let call = self.calls(Call::Acknowledge(id));
        match by {
            Way::Socket if self.line.is_some() => {
                let kind = if self.dice.once_in(2) { "ack" } else { "delivery_confirmation" };
                self.said(call, kind, json!({"message_id": id})).await;
            }
            Way::Relay => drop(self.asks(here, call, Method::DELETE, &format!("/api/v1/relay/{id}"), None).await),
            _ => drop(self.asks(here, call, Method::POST, "/api/v1/relay/acknowledge", Some(json!({"message_id": id}))).await),
        }
    }

    /// A frame to which nothing answers.
    async fn said(&mut self, call: CallId, kind: &str, payload: Value) {
        if let Some(line) = &mut self.line {
            line.say(kind, payload).await;
        }
        self.returns(call, Outcome::Unknown("said".into()));
    }

    async fn ask(&self, here: usize, method: Method, path: &str, body: Option<Value>) -> Result<Answer, String> {
        match tokio::time::timeout(PATIENCE, self.at[here].ask(method, path, body)).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer".into()),
        }
    }

    async fn asks(&self, here: usize, call: CallId, method: Method, path: &str, body: Option<Value>) -> Outcome {
        let outcome = match self.ask(here, method.clone(), path, body).await {
            Err(error) => Outcome::Unknown(error),
            Ok(answer) if answer.status.is_success() && answer.json()["status"] == "not_found" => {
                self.ear.history.add(Event::Wrong(format!("c{call} {method} {path}: {}", answer.text)));
                Outcome::Failed("not_found".into())
            }
            Ok(answer) if answer.status.is_success() => Outcome::Ok,
            Ok(answer) if answer.status == 503 && answer.text.contains("outcome_unknown") => Outcome::Unknown("503 outcome_unknown".into()),
            Ok(answer) => {
                let gone = answer.status == 404 && path.contains("/messages/");
                if ![429, 503].contains(&answer.status.as_u16()) && !gone {
                    self.ear.history.add(Event::Wrong(format!("c{call} {method} {path}: {} {}", answer.status, answer.text)));
                }
                Outcome::Failed(answer.status.to_string())
            }
        };
        self.returns(call, outcome.clone());
        outcome
    }
}

/// What a socket says of a send.
async fn answered(line: &mut Line, id: Uuid) -> Option<Outcome> {
    let name = id.to_string();
    let answer = line
        .find(|frame| match frame {
            Frame::Sent(sent) => *sent == id,
            Frame::Refused { client_id, .. } => client_id.as_ref() == Some(&name),
            _ => false,
        })
        .await?;
    Some(match answer {
        Frame::Refused { code, .. } if code == "outcome_unknown" => Outcome::Unknown(code),
        Frame::Refused { code, .. } => Outcome::Failed(code),
        _ => Outcome::Ok,
    })
}

/// One of the newest.
fn pick<T: Copy>(from: &[T], which: u64) -> Option<T> {
    let newest = from.len().min(30);
    let back = usize::try_from(which % newest.max(1) as u64).expect("small");
    from.len().checked_sub(1 + back).map(|at| from[at])
}
