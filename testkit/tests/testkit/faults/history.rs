//! What happened in a run, in the order in which it did: what clients asked, what they were answered, every frame, every blow.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

/// Somebody with an account, by number.
pub type Person = usize;
/// A call, by number.
pub type CallId = usize;
/// A connection, by number; none is ever given twice.
pub type SocketId = usize;

/// One of somebody's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Device {
    /// Whose.
    pub person: Person,
    /// Which of them.
    pub number: usize,
}

/// What is asked, over HTTP or a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// To send.
    Send { id: Uuid, to: Person, content: String },
    /// To take it from the queue.
    Acknowledge(Uuid),
    /// To mark it as read.
    Read(Uuid),
    /// To mark everything as read in the conversation with somebody, up to a message.
    ReadUpTo { with: Person, id: Uuid },
    /// To delete it for both.
    Delete(Uuid),
}

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Ok,
    /// It was not done, and never will be.
    Failed(String),
    /// It was done, or not, or will be.
    Unknown(String),
}

/// How far a client has seen: the cursor of a socket's frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Of which socket.
    pub socket: SocketId,
    /// After so many of its frames (as they were recorded, `Established` included).
    pub frames: usize,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// `connection_established`
    Established,
    /// `new_message`, `relay_message`
    Message { id: Uuid, from: Uuid, to: Uuid, content: String },
    /// `message_sent`
    Sent(Uuid),
    /// `message_delivered`
    Delivered { id: Uuid, by: Uuid },
    /// `message_read`
    Read { id: Uuid, by: Uuid, up_to: bool },
    /// `message_deleted`
    Deleted(Uuid),
    /// `resumed`
    Resumed,
    /// `resume_reset`
    Reset,
    /// `error`
    Refused { client_id: Option<String>, code: String },
    /// What no rule speaks of: presence, `pong`.
    Other(String),
}

/// What somebody is shown when everything is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Shown {
    /// What waits, oldest first.
    pub pending: Vec<Uuid>,
    /// With whom they wrote: everything there is, oldest first, and whether its recipient has read it.
    pub conversations: Vec<(Person, Vec<(Uuid, bool)>)>,
    /// What the inbox counts as unread.
    pub unread: Vec<(Person, i64)>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Somebody is known by this id from now on.
    Is(Person, Uuid),
    /// A call begins.
    Calls(CallId, Device, Call),
    /// A call ends.
    Returns(CallId, Outcome),
    /// A connection is asked for, with a cursor or without.
    Connects { socket: SocketId, device: Device, process: usize, after: Option<Seen> },
    /// A client says `resume` on an open socket.
    Resumes { socket: SocketId, after: Seen },
    /// A frame arrives.
    Says(SocketId, Frame),
    /// A connection ends: by the client, by the server, or it breaks.
    Ends(SocketId, String),
    /// Something is done to the servers. Whether Redis may have forgotten what it knew.
    Suffers { what: String, forgets: bool },
    /// Nothing is broken any more, and there was time: what is open has received everything by now.
    Settled,
    /// What somebody is shown in the end.
    Shows(Person, Shown),
    /// What no promise allows, seen by the client itself.
    Wrong(String),
}

/// What happened so far. Shared by all who take part.
#[derive(Debug)]
pub struct History {
    began: Instant,
    told: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    events: Vec<(Duration, Event)>,
    calls: CallId,
    sockets: SocketId,
    done: usize,
}

impl History {
    pub fn new() -> Self {
        Self { began: Instant::now(), told: Mutex::default() }
    }

    fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, event: Event) {
        let mut told = self.told();
        told.done += usize::from(matches!(event, Event::Returns(_, Outcome::Ok)));
        let at = self.began.elapsed();
        told.events.push((at, event));
    }

    /// A call begins: its number.
    pub fn calls(&self, device: Device, call: Call) -> CallId {
        let number = {
            let mut told = self.told();
            told.calls += 1;
            told.calls
        };
        self.add(Event::Calls(number, device, call));
        number
    }

    /// A connection is asked for: its number.
    pub fn connects(&self, device: Device, process: usize, after: Option<Seen>) -> SocketId {
        let socket = {
            let mut told = self.told();
            told.sockets += 1;
            told.sockets
        };
        self.add(Event::Connects { socket, device, process, after });
        socket
    }

    /// How many calls were done.
    pub fn done(&self) -> usize {
        self.told().done
    }

    /// Whether a socket that was opened with a cursor has been told what becomes of it; any other needs no answer.
    pub fn answered(&self, socket: SocketId) -> bool {
        let mut asked = false;
        for (_, event) in &self.told().events {
            match event {
                Event::Connects { socket: this, after: Some(_), .. } if *this == socket => asked = true,
                Event::Says(this, Frame::Resumed | Frame::Reset) if *this == socket => return true,
                _ => {}
            }
        }
        !asked
    }

    pub fn events(&self) -> Vec<Event> {
        self.told().events.iter().map(|(_, event)| event.clone()).collect()
    }

    /// Everything, a line each: number, seconds, what happened.
    pub fn text(&self) -> String {
        use fmt::Write as _;
        let told = self.told();
        let mut text = String::new();
        for (number, (at, event)) in (1..).zip(&told.events) {
            let _ = writeln!(text, "{number:6} {:9.3}  {event}", at.as_secs_f64());
        }
        text
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}", self.person, self.number)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{} after {} frames", self.socket, self.frames)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(person, id) => write!(f, "p{person} is {id}"),
            Self::Calls(call, device, what) => write!(f, "c{call} {device} asks {what:?}"),
            Self::Returns(call, outcome) => write!(f, "c{call} {outcome:?}"),
            Self::Connects { socket, device, process, after: None } => write!(f, "s{socket} {device} connects to {process}"),
            Self::Connects { socket, device, process, after: Some(seen) } => {
                write!(f, "s{socket} {device} connects to {process}, resuming {seen}")
            }
            Self::Resumes { socket, after } => write!(f, "s{socket} says resume {after}"),
            Self::Says(socket, frame) => write!(f, "s{socket} brings {frame:?}"),
            Self::Ends(socket, how) => write!(f, "s{socket} ends: {how}"),
            Self::Suffers { what, .. } => write!(f, "--- {what}"),
            Self::Settled => write!(f, "--- settled"),
            Self::Shows(person, shown) => write!(f, "p{person} is shown {shown:?}"),
            Self::Wrong(text) => write!(f, "WRONG {text}"),
        }
    }
}
