//! A run: people with their devices, blows, and what everybody was told in the end.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;
use testkit::person::Person;
use testkit::system::{System, SystemConfig};
use uuid::Uuid;

use super::checker::{Rule, Violation, violations};
use super::client::{Client, Known};
use super::dice::Dice;
use super::history::{Device, Event, Frame, History, Shown};
use super::line::{Ear, Heard, lock};
use super::plan::Way;
use super::rig::Rig;

/// What is run.
#[derive(Debug, Clone)]
pub struct Run {
    pub seed: u64,
    pub length: Duration,
    pub processes: usize,
    pub people: usize,
    /// Of each person.
    pub devices: usize,
    /// Whether anything is done to the servers.
    pub blows: bool,
    /// How long what was sent may take to reach sockets that are open, once nothing is broken any more.
    pub settling: Duration,
    pub config: SystemConfig,
}

impl Run {
    /// Runs, and returns every promise that was broken. The history is kept in a file when there is any.
    pub async fn found(&self) -> Vec<Violation> {
        let history = Arc::new(History::new());
        let rig = Rig::start(self.processes, self.config.clone()).await;
        let clients = self.clients(&rig, &history).await;
        let (stop, begin) = (Arc::<AtomicBool>::default(), Instant::now());
        let acting: Vec<_> = clients.into_iter().map(|client| tokio::spawn(client.act(Arc::clone(&stop)))).collect();
        let blows = AtomicBool::new(!self.blows);
        let over = async {
            tokio::time::sleep(self.length.saturating_sub(begin.elapsed())).await;
            blows.store(true, Ordering::Relaxed);
        };
        let (rig, ()) = tokio::join!(rig.suffer(&history, self.seed, &blows), over);
        stop.store(true, Ordering::Relaxed);
        let clients = join_all(acting).await.into_iter().map(|client| client.expect("a client does not panic")).collect();
        let clients = self.settle(clients, &history).await;
        self.look(&rig, &clients, &history).await;
        let mut found = violations(&history.events());
        found.extend(rig.processes.iter().filter_map(panicked));
        found.extend(counts_differ(&rig).await);
        self.report(&history, &found);
        found
    }

    async fn clients(&self, rig: &Rig, history: &Arc<History>) -> Vec<Client> {
        let people = join_all((0..self.people).map(|_| Person::register(&rig.processes[0], "someone"))).await;
        let everybody: Arc<[Uuid]> = people.iter().map(|person| person.id).collect();
        let mut clients = Vec::new();
        for (number, person) in people.iter().enumerate() {
            history.add(Event::Is(number, person.id));
            let known = Arc::new(Mutex::new(Known::default()));
            for device in 0..self.devices {
                let device = Device { person: number, number: device };
                clients.push(Client {
                    ear: Ear { device, history: Arc::clone(history), heard: Arc::new(Mutex::new(Heard::default())) },
                    dice: Dice::of(self.seed, clients.len() as u64),
                    at: rig.processes.iter().map(|process| person.at(process)).collect(),
                    everybody: Arc::clone(&everybody),
                    known: Arc::clone(&known),
                    line: None,
                    doubtful: Vec::new(),
                });
            }
        }
        clients
    }

    /// A last message in each direction reaches every open socket, and behind it everything before: so does it on new sockets, with a cursor and without.
    async fn settle(&self, mut clients: Vec<Client>, history: &Arc<History>) -> Vec<Client> {
        let (mut last, mut sent) = (vec![HashSet::new(); self.people], vec![HashSet::new(); self.people]);
        for client in clients.iter_mut().filter(|client| client.ear.device.number == 0) {
            let person = client.ear.device.person;
            for to in (0..self.people).filter(|to| *to != person) {
                let (id, begin) = (Uuid::now_v7(), Instant::now());
                while !client.send(0, to, id, Way::Http).await {
                    if begin.elapsed() > Duration::from_secs(60) {
                        history.add(Event::Wrong("nothing can be sent though nothing is broken any more".into()));
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                last[to].insert(id);
                // Its sender's sockets are told of it as well, if they are open.
                sent[person].insert(id);
            }
        }
        for round in 0..3 {
            join_all(clients.iter_mut().map(|client| {
                let person = client.ear.device.person;
                let due = if round == 0 { &last[person] | &sent[person] } else { last[person].clone() };
                arrives(client, due, self.settling, history)
            }))
            .await;
            history.add(Event::Settled);
            if round == 2 {
                break;
            }
            for client in &mut clients {
                let after = if round == 0 { client.cursor(0) } else { None };
                if let Some(line) = client.line.take() {
                    line.leave(super::plan::Leave::Abruptly).await;
                }
                let process = client.ear.device.number % self.processes;
                if after.is_none() {
                    lock(&client.ear.heard).ever.clear();
                }
                client.open(process, after).await;
                if client.line.is_none() {
                    history.add(Event::Wrong(format!("{} cannot connect though nothing is broken any more", client.ear.device)));
                }
            }
        }
        clients
    }

    async fn look(&self, rig: &Rig, clients: &[Client], history: &History) {
        for client in clients.iter().filter(|client| client.ear.device.number == 0) {
            let person = client.at[0].at(&rig.processes[0]);
            let mut shown = Shown { pending: ids(&get(&person, "/api/v1/relay/pending").await["messages"]), ..Shown::default() };
            let inbox = get(&person, "/api/v1/messages/conversations").await;
            for (with, id) in client.everybody.iter().enumerate().filter(|(with, _)| *with != client.ear.device.person) {
                let messages = get(&person, &format!("/api/v1/messages/conversation/{id}")).await;
                let read = messages.as_array().into_iter().flatten().map(|message| message["is_read"] == true);
                shown.conversations.push((with, ids(&messages).into_iter().zip(read).collect()));
                let row = inbox.as_array().into_iter().flatten().find(|row| row["user_id"] == id.to_string());
                shown.unread.push((with, row.and_then(|row| row["unread_count"].as_i64()).unwrap_or(0)));
            }
            history.add(Event::Shows(client.ear.device.person, shown));
        }
    }

    fn report(&self, history: &History, found: &[Violation]) {
        let events = history.events();
        let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
        eprintln!(
            "seed {}: {} events, {} calls done, {} sockets, {} messages brought, {} resumed, {} reset, {} blows, {} broken promises",
            self.seed,
            events.len(),
            history.done(),
            count(|event| matches!(event, Event::Says(_, Frame::Established))),
            count(|event| matches!(event, Event::Says(_, Frame::Message { .. }))),
            count(|event| matches!(event, Event::Says(_, Frame::Resumed))),
            count(|event| matches!(event, Event::Says(_, Frame::Reset))),
            count(|event| matches!(event, Event::Suffers { .. })) / 2,
            found.len()
        );
        if !found.is_empty() {
            let path: PathBuf = std::env::temp_dir().join(format!("postrider-faults-{}.history", self.seed));
            let text: String = found.iter().map(|violation| format!("{violation}\n")).chain([history.text()]).collect();
            std::fs::write(&path, text).expect("the temporary folder can be written");
            eprintln!("its history is in {}", path.display());
        }
    }
}

/// Waits, not for ever, until an open socket has brought what is due, and the answer to its resume.
async fn arrives(client: &mut Client, due: HashSet<Uuid>, settling: Duration, history: &History) {
    let Some(line) = &client.line else { return };
    let (socket, begin) = (line.socket, Instant::now());
    while begin.elapsed() < settling && client.line.as_ref().is_some_and(|line| !line.ended()) {
        let brought: HashSet<Uuid> = lock(&client.ear.heard).ever.clone();
        if due.is_subset(&brought) && history.answered(socket) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A list that does not say of itself that it may lack something.
async fn get(person: &Person, path: &str) -> Value {
    testkit::wait_until(path, Duration::from_secs(60), async || {
        let answer = person.ask(Method::GET, path, None).await.ok()?;
        (answer.status == 200 && !answer.headers.contains_key("x-projection-behind")).then(|| answer.json())
    })
    .await
}

fn ids(list: &Value) -> Vec<Uuid> {
    list.as_array().into_iter().flatten().map(|m| m["id"].as_str().and_then(|id| id.parse().ok()).expect("an id")).collect()
}

fn panicked(process: &System) -> Option<Violation> {
    let log = process.log();
    let line = log.lines().find(|line| line.contains("panicked"))?;
    Some(Violation { rule: Rule::Answers, text: format!("a process panicked: {line}") })
}

/// `postrider verify unread`
async fn counts_differ(rig: &Rig) -> Option<Violation> {
    let said = crate::cli::beside(&rig.processes[0], &["verify", "unread"]).await;
    (said.code != Some(0)).then(|| Violation { rule: Rule::UnreadIsRight, text: format!("{}{}", said.out, said.err) })
}
