//! What a client says over its socket: from a text frame to what is answered.
//!
//! Nothing that is said closes a socket: what cannot be read, is unknown or refused is answered with `error`.

mod frame;
mod speaker;
mod typing;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use metrics::counter;
use platform::auth::Caller;
use platform::frames::FrameLog;
use platform::fresh::Freshness;
use platform::http::{Problem, RequestContext};
use platform::limits::{Class, Limits, Rate, Subject, rate_limited};
use platform::shutdown::Shutdown;
use quick_cache::sync::Cache;
use schemas::frames::{Entry, Frame};
use schemas::read_models::Conversations;
use schemas::{MessageId, UserId};
use serde_json::value::RawValue;
use tracing::Instrument;

use super::commands::{Commands, SentBefore};
use super::note::Note;
use frame::{Asked, Refusal};
pub use speaker::Speaker;
use speaker::{Lane, Turn};
use typing::Typing;

/// How many [`Reply::Later`] of one socket may be under way; whoever reads the socket then reads no further until one is done.
pub const UNDER_WAY: usize = 32;

/// How many receipts are remembered: some megabytes.
const REMEMBERED: usize = 65_536;

/// What a resume takes of what a socket may say: a log is read for it.
const RESUME_COSTS: f64 = 20.0;

/// Hears clients. Clones share everything.
#[derive(Debug, Clone)]
pub struct Talk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    commands: Arc<dyn Commands>,
    limits: Limits,
    /// What one socket may say, receipts apart.
    of_socket: Rate,
    freshness: Freshness,
    log: FrameLog,
    shutdown: Shutdown,
    /// Receipts that have been given: their repeats are nothing. Clients send them on every render.
    given: Cache<(UserId, MessageId, Receipt), ()>,
    typing: Typing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Receipt {
    Delivered,
    Read,
}

/// What follows from a client's frame.
#[must_use]
pub enum Reply {
    /// Nothing.
    Nothing,
    /// This frame is sent, as it is.
    Frame(String),
    /// The client wants what came after this cursor (as it came; nothing of it has been looked at).
    Resume(String),
    /// Something is under way; what it ends with, if anything, is sent. Await it beside others and beside what is written (order among them is seen to here).
    /// It goes on when this is dropped.
    Later(BoxFuture<'static, Option<Answer>>),
}

/// What is said to a client in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This frame, as it is.
    Frame(String),
    /// What stood in the user's log once (`message_sent` of a message that was sent before): rendered as any, with the socket's cursor as it stands, which does not move.
    Again(Entry),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Frame(frame) => f.debug_tuple("Frame").field(frame).finish(),
            Self::Resume(_) => f.write_str("Resume"),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

impl Talk {
    /// Carries out `commands`; `limits` are those of HTTP, `of_socket` is what one socket may say, receipts apart; typing goes by `log`, `freshness` knows `conversations`. What has begun is waited for by `shutdown`.
    #[must_use]
    pub fn new(
        commands: Arc<dyn Commands>,
        limits: Limits,
        of_socket: Rate,
        freshness: Freshness,
        log: FrameLog,
        shutdown: Shutdown,
    ) -> Self {
        let (given, typing) = (Cache::new(REMEMBERED), Typing::default());
        let inner = Inner { commands, limits, of_socket, freshness, log, shutdown, given, typing };
        Self { inner: Arc::new(inner) }
    }

    /// Hears a text frame. Frames of one socket in the order in which they came.
    pub fn hear(&self, speaker: &mut Speaker, text: &str) -> Reply {
        let (label, asked) = frame::read(speaker.caller(), text);
        counter!("socket_frames_heard_total", "type" => label).increment(1);
        let asked = match asked {
            Ok(asked) => asked,
            Err(refusal) => return self.too_much(speaker, 1.0, refusal.client_id.clone()).unwrap_or_else(|| refuse(refusal)),
        };
        match asked {
            Asked::Read(message) => self.receipt(speaker, Receipt::Read, message),
            Asked::Delivered(message) => self.receipt(speaker, Receipt::Delivered, message),
            Asked::Typing(peer, is_typing) => self.typing(speaker, peer, is_typing),
            Asked::Message(payload) => {
                let client_id = frame::client_id(Some(payload));
                self.too_much(speaker, 1.0, client_id.clone()).unwrap_or_else(|| self.message(speaker, payload, client_id))
            }
            Asked::Ping => self.too_much(speaker, 1.0, None).unwrap_or_else(|| Reply::Frame(r#"{"type":"pong"}"#.to_owned())),
            Asked::Resume(cursor) => self.too_much(speaker, RESUME_COSTS, None).unwrap_or(Reply::Resume(cursor)),
            Asked::Nothing => self.too_much(speaker, 1.0, None).unwrap_or(Reply::Nothing),
        }
    }

    /// Answers what is no text: a binary frame.
    pub fn unreadable(&self, speaker: &mut Speaker) -> Reply {
        counter!("socket_frames_heard_total", "type" => "unreadable").increment(1);
        let problem = Problem::bad_request("invalid", "Frames are text");
        self.too_much(speaker, 1.0, None).unwrap_or_else(|| refuse(Refusal { problem, client_id: None }))
    }

    fn message(&self, speaker: &mut Speaker, payload: &RawValue, client_id: Option<String>) -> Reply {
        let (inner, caller, payload) = (self.inner.clone(), speaker.caller().clone(), payload.to_owned());
        let turn = speaker.turn(Lane::Talk);
        self.later(&caller.clone(), turn, "message", async move |request| {
            let sent = match inner.limits.take_or_refuse(Class::Sends, Subject::User(caller.user)).await {
                Ok(_) => inner.commands.message(&caller, request, &payload).await,
                Err(problem) => Err(problem),
            };
            match sent {
                Ok(None) => None,
                Ok(Some(before)) => Some(inner.again(caller.user, before).await),
                Err(problem) => Some(Answer::Frame(refused(Refusal { problem, client_id }))),
            }
        })
    }

    /// Never refused for being many, only slowed down: a client must be able to say what it has received.
    fn receipt(&self, speaker: &mut Speaker, kind: Receipt, message: Option<MessageId>) -> Reply {
        let caller = speaker.caller().clone();
        let Some(message) = message.filter(|message| !self.inner.was_given(caller.user, *message, kind)) else { return Reply::Nothing };
        let (inner, turn) = (self.inner.clone(), speaker.turn(Lane::Of(message)));
        let label = if kind == Receipt::Read { "read" } else { "delivered" };
        self.later(&caller.clone(), turn, label, async move |request| {
            if inner.was_given(caller.user, message, kind) || !inner.paced(caller.user).await {
                return None;
            }
            let given = match kind {
                Receipt::Delivered => inner.commands.delivered(&caller, request, message).await,
                Receipt::Read => inner.commands.read(&caller, request, message).await,
            };
            match given {
                Ok(true) => inner.given.insert((caller.user, message, kind), ()),
                Ok(false) => {}
                Err(problem) => return Some(Answer::Frame(refused(Refusal { problem, client_id: Some(message.to_string()) }))),
            }
            None
        })
    }

    /// Never answered: who cannot be shown it is not named, and what is too much is left out. That somebody has stopped is never too much, only slowed down: whoever was shown that they type would go on
    /// showing it.
    fn typing(&self, speaker: &mut Speaker, peer: Option<UserId>, is_typing: bool) -> Reply {
        let (caller, now) = (speaker.caller().clone(), Instant::now());
        let Some(peer) = peer.filter(|peer| *peer != caller.user) else { return Reply::Nothing };
        if is_typing && !(speaker.takes(1.0, self.inner.of_socket, now) && self.inner.typing.shows(caller.user, peer, now)) {
            return Reply::Nothing;
        }
        let (inner, turn) = (self.inner.clone(), speaker.turn(Lane::Talk));
        self.later(&caller.clone(), turn, "typing", async move |_| {
            let allowed = if is_typing {
                inner.limits.take(Class::Commands, Subject::User(caller.user)).await.allowed
            } else {
                inner.paced(caller.user).await
            };
            if allowed && inner.commands.may_reach(&caller, peer).await.is_ok_and(|may| may) {
                let note = Note::Typing { from: caller.user, on: is_typing }.text();
                if let Err(error) = inner.log.note(&[peer], &note).await {
                    tracing::debug!(%error, "typing was told to nobody");
                }
            }
            None
        })
    }

    /// Nothing while the socket says no more than it may.
    fn too_much(&self, speaker: &mut Speaker, tokens: f64, client_id: Option<String>) -> Option<Reply> {
        let enough = speaker.takes(tokens, self.inner.of_socket, Instant::now());
        (!enough).then(|| refuse(Refusal { problem: rate_limited(Duration::from_secs(1)), client_id }))
    }

    /// Runs something when its turn has come, and to its end.
    fn later<W, F>(&self, caller: &Caller, mut turn: Turn, r#type: &'static str, work: W) -> Reply
    where
        W: FnOnce(RequestContext) -> F + Send + 'static,
        F: Future<Output = Option<Answer>> + Send,
    {
        let request = RequestContext::of_system();
        let span = tracing::info_span!("frame", r#type, correlation_id = request.request_id, actor.id = %caller.user);
        let task = self.inner.shutdown.spawn(
            async move {
                turn.comes().await;
                work(request).await
            }
            .instrument(span),
        );
        let answer = task.map(|done| {
            done.unwrap_or_else(|_| {
                tracing::error!("a command of a socket panicked");
                Some(Answer::Frame(refused(Refusal { problem: Problem::internal(), client_id: None })))
            })
        });
        Reply::Later(answer.boxed())
    }
}

impl Inner {
    fn was_given(&self, user: UserId, message: MessageId, kind: Receipt) -> bool {
        self.given.get(&(user, message, kind)).is_some()
    }

    /// Returns when the user may say what is never refused; `false`: the process ends before.
    async fn paced(&self, user: UserId) -> bool {
        loop {
            let standing = self.limits.take(Class::Vital, Subject::User(user)).await;
            if standing.allowed {
                return true;
            }
            tokio::select! {
                () = self.shutdown.draining() => return false,
                () = tokio::time::sleep(standing.retry_after.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// `message_sent` of a message that was sent before, once it is in `conversations`.
    async fn again(&self, user: UserId, before: SentBefore) -> Answer {
        // Behind or not: the message stands, and who has asked twice has waited long enough.
        self.freshness.settle::<Conversations>(&[user]).await;
        let SentBefore { id, recipient: to, client_id: client, at } = before;
        Answer::Again(Entry { at, frames: vec![Frame::Sent { id, to, client }] })
    }
}

fn refuse(refusal: Refusal) -> Reply {
    Reply::Frame(refused(refusal))
}

fn refused(refusal: Refusal) -> String {
    counter!("socket_frames_refused_total", "code" => refusal.problem.code).increment(1);
    refusal.frame()
}

#[cfg(test)]
mod tests;
