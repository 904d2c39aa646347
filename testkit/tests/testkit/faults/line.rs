//! An open socket of a device: a task reads it and tells the history of every frame.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use uuid::Uuid;

use super::history::{Device, Event, Frame, History, Seen, SocketId};
use super::plan::Leave;

/// How long an upgrade, an answer or a close may take until a client gives up.
pub const PATIENCE: Duration = Duration::from_secs(5);

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What a device knows by its sockets.
#[derive(Debug, Default)]
pub struct Heard {
    /// Messages to its person that it has not looked at yet, and who wrote them.
    pub received: Vec<(Uuid, Uuid)>,
    /// All of them, and all of its own that it was told of.
    pub ever: HashSet<Uuid>,
    /// Cursors, oldest first.
    pub cursors: Vec<(Seen, String)>,
}

/// What several tasks know together.
pub type Shared<T> = Arc<Mutex<T>>;

pub fn lock<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A socket.
#[derive(Debug)]
pub struct Line {
    pub socket: SocketId,
    writes: SplitSink<Stream, Message>,
    reader: JoinHandle<()>,
    frames: mpsc::UnboundedReceiver<Frame>,
    state: Arc<State>,
    history: Arc<History>,
}

#[derive(Debug, Default)]
struct State {
    /// `resume` was said and not answered: what comes now is no place to resume from.
    asking: AtomicBool,
    ended: AtomicBool,
}

/// Who opens sockets, and where what they bring is kept.
#[derive(Debug, Clone)]
pub struct Ear {
    pub device: Device,
    pub history: Arc<History>,
    pub heard: Shared<Heard>,
}

impl Line {
    /// Connects and waits for the first frame. `None`: it did not come to that.
    pub async fn open(ear: &Ear, process: usize, url: &str, after: Option<&(Seen, String)>) -> Option<Self> {
        let socket = ear.history.connects(ear.device, process, after.map(|(seen, _)| *seen));
        let url = after.map_or_else(|| url.to_owned(), |(_, cursor)| format!("{url}&cursor={cursor}"));
        let failed = match tokio::time::timeout(PATIENCE, connect_async(url)).await {
            Ok(Ok((stream, _))) => {
                let mut line = Self::begin(ear, socket, stream);
                if line.find(|frame| *frame == Frame::Established).await.is_some() {
                    return Some(line);
                }
                line.leave(Leave::Abruptly).await;
                return None;
            }
            Ok(Err(tungstenite::Error::Http(answer))) => {
                if ![429, 503].contains(&answer.status().as_u16()) {
                    ear.history.add(Event::Wrong(format!("s{socket}: the upgrade is answered {}", answer.status())));
                }
                answer.status().to_string()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer to the upgrade".to_owned(),
        };
        ear.history.add(Event::Ends(socket, failed));
        None
    }

    fn begin(ear: &Ear, socket: SocketId, stream: Stream) -> Self {
        let (writes, reads) = stream.split();
        let (tells, frames) = mpsc::unbounded_channel();
        let state = Arc::<State>::default();
        let reader = tokio::spawn(read(ear.clone(), socket, reads, tells, Arc::clone(&state)));
        Self { socket, writes, reader, frames, state, history: Arc::clone(&ear.history) }
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.state.ended.load(Ordering::Acquire)
    }

    /// Sends a frame; whether the connection took it.
    pub async fn say(&mut self, kind: &str, payload: Value) -> bool {
        let text = json!({"type": kind, "payload": payload}).to_string();
        matches!(tokio::time::timeout(PATIENCE, self.writes.send(Message::text(text))).await, Ok(Ok(())))
    }

    /// The next frame of that kind, if it comes soon.
    pub async fn find(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        let found = async {
            loop {
                let frame = self.frames.recv().await?;
                if wanted(&frame) {
                    return Some(frame);
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.ok().flatten()
    }

    /// Says `resume`; whether it was answered.
    pub async fn resume(&mut self, (seen, cursor): &(Seen, String)) -> bool {
        self.state.asking.store(true, Ordering::Release);
        self.history.add(Event::Resumes { socket: self.socket, after: *seen });
        self.say("resume", json!({"cursor": cursor})).await
            && self.find(|frame| matches!(frame, Frame::Resumed | Frame::Reset)).await.is_some()
    }

    /// Ends it.
    pub async fn leave(mut self, how: Leave) {
        if how == Leave::Politely {
            let _ = tokio::time::timeout(PATIENCE, self.writes.send(Message::Close(None))).await;
            let _ = tokio::time::timeout(Duration::from_millis(500), async { while self.frames.recv().await.is_some() {} }).await;
        }
        self.reader.abort();
        let _ = (&mut self.reader).await;
        if !self.ended() {
            self.history.add(Event::Ends(self.socket, format!("left {how:?}")));
        }
    }
}

/// Ends of which a client thinks nothing: it connects again.
const USUAL_ENDS: [u16; 4] = [1000, 1005, 1012, 4008];

/// Refusals that nothing a device says here deserves.
const OUR_FAULT: [&str; 5] = ["invalid", "unknown_type", "too_large", "forbidden", "internal"];

async fn read(ear: Ear, socket: SocketId, mut reads: SplitStream<Stream>, tells: mpsc::UnboundedSender<Frame>, state: Arc<State>) {
    let mut frames = 0;
    let end = loop {
        match reads.next().await {
            Some(Ok(Message::Text(text))) => {
                let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                let frame = frame(&value);
                frames += 1;
                ear.history.add(Event::Says(socket, frame.clone()));
                let mut heard = lock(&ear.heard);
                if let Frame::Message { id, from, .. } = &frame {
                    heard.received.push((*from, *id));
                    heard.ever.insert(*id);
                }
                if let Frame::Sent(id) = &frame {
                    heard.ever.insert(*id);
                }
                if let Frame::Refused { code, .. } = &frame
                    && OUR_FAULT.contains(&code.as_str())
                {
                    ear.history.add(Event::Wrong(format!("s{socket} refuses what is right: {text}")));
                }
                // `resume_reset` may have come unasked.
                if matches!(frame, Frame::Resumed) {
                    state.asking.store(false, Ordering::Release);
                }
                if let Some(cursor) = value["cursor"].as_str().filter(|_| !state.asking.load(Ordering::Acquire)) {
                    heard.cursors.push((Seen { socket, frames }, cursor.to_owned()));
                }
                drop(heard);
                let _ = tells.send(frame);
            }
            Some(Ok(Message::Close(close))) => {
                let code = close.as_ref().map_or(1005, |close| close.code.into());
                if !USUAL_ENDS.contains(&code) {
                    ear.history.add(Event::Wrong(format!("s{socket} is closed with {close:?}")));
                }
                break format!("closed with {code}");
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break error.to_string(),
            None => break "broken".to_owned(),
        }
    };
    state.ended.store(true, Ordering::Release);
    ear.history.add(Event::Ends(socket, end));
}

/// What a frame says.
fn frame(value: &Value) -> Frame {
    let id = |value: &Value, name: &str| value[name].as_str().and_then(|id| id.parse::<Uuid>().ok()).unwrap_or_default();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let message = |value: &Value, name: &str| Frame::Message {
        id: id(value, name),
        from: id(value, "sender_id"),
        to: id(value, "recipient_id"),
        content: text(value, "encrypted_content"),
    };
    match value["type"].as_str().unwrap_or_default() {
        "connection_established" => Frame::Established,
        "new_message" => message(value, "message_id"),
        "relay_message" => message(&value["data"], "id"),
        "message_sent" => Frame::Sent(id(value, "message_id")),
        "message_delivered" => Frame::Delivered { id: id(value, "message_id"), by: id(value, "user_id") },
        "message_read" => Frame::Read { id: id(value, "message_id"), by: id(value, "user_id"), up_to: value["up_to"] == true },
        "message_deleted" => Frame::Deleted(id(value, "message_id")),
        "resumed" => Frame::Resumed,
        "resume_reset" => Frame::Reset,
        "error" => Frame::Refused { client_id: value["client_id"].as_str().map(str::to_owned), code: text(value, "code") },
        other => Frame::Other(other.to_owned()),
    }
}
