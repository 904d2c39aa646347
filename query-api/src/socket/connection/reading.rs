//! What comes in over an open socket.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Stream;
use platform::auth::{Refused, Standing};
use platform::http::Problem;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error as WireError, ProtocolError};

use super::super::outbox::End;
use super::super::talk::{Reply, UNDER_WAY};
use super::super::work::Step;
use super::{Connection, Over, read_bookmark};

/// Answers that a client has not read: then it is heard no further.
const UNREAD: usize = 64;
/// Cursors that are still to be followed: the same.
const CURSORS: usize = 16;

impl Connection {
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<bool, Over> {
        let mut heard = false;
        // Who is about to be sent away is heard no more.
        let ends = self.seat.outbox.ended().is_some();
        while !ends && self.may_hear() {
            let Poll::Ready(said) = Pin::new(&mut self.wire).poll_next(cx) else { break };
            heard = true;
            self.seat.outbox.heard();
            let reply = match said {
                Some(Ok(Message::Text(text))) => match self.refused()? {
                    Some(refusal) => refusal,
                    None => self.hub.inner.below.talk.hear(&mut self.speaker, &text),
                },
                Some(Ok(Message::Binary(_))) => match self.refused()? {
                    Some(refusal) => refusal,
                    None => self.hub.inner.below.talk.unreadable(&mut self.speaker),
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Reply::Nothing,
                // What it says after that is nothing; the answer to it goes out with the next look.
                Some(Ok(Message::Close(_))) => {
                    self.gone = true;
                    Reply::Nothing
                }
                Some(Err(error)) if !self.gone => return Err(why(&error).map_or(Over::Gone, Over::Ended)),
                Some(Err(_)) | None => return Err(Over::Gone),
            };
            match reply {
                Reply::Nothing => {}
                Reply::Frame(frame) => self.answers.push_back(frame),
                Reply::Later(later) => self.under_way.get_or_insert_default().push(later),
                Reply::Resume(cursor) => self.resume(&cursor),
            }
        }
        Ok(heard)
    }

    /// Looked at with each frame, so that nothing is done for a session that has ended, however busy this process is.
    fn refused(&self) -> Result<Option<Reply>, Over> {
        match self.hub.inner.below.revocations.standing(self.seat.outbox.session()) {
            Standing::Revoked => Err(Over::Ended(End::Unauthenticated)),
            Standing::Live => Ok(None),
            Standing::Unknown => Ok(Some(Reply::Frame(cannot_check()))),
        }
    }

    /// Whether there is room for what may follow from another frame.
    fn may_hear(&self) -> bool {
        let cursors = self.plan.iter().filter(|step| matches!(step, Step::Resume(_, false) | Step::Refuse)).count();
        let under_way = self.under_way.as_ref().map_or(0, |under_way| under_way.len());
        self.answers.len() < UNREAD && under_way < UNDER_WAY && cursors < CURSORS
    }

    /// Each is followed, and answered, in its turn.
    fn resume(&mut self, cursor: &str) {
        let bookmark = read_bookmark(&self.hub, cursor);
        if bookmark.is_some() {
            self.seat.outbox.set_aside();
        }
        self.plan.push_back(match bookmark {
            Some(bookmark) => Step::Resume(Box::new(bookmark), false),
            None => Step::Refuse,
        });
    }
}

/// `error`, for whoever says something while nobody knows whether their session stands.
fn cannot_check() -> String {
    let Problem { code, detail, .. } = Refused::Unknown.into();
    serde_json::json!({"type": "error", "code": code, "detail": detail}).to_string()
}

/// With which word a broken protocol is ended; none when nobody is there to read it.
fn why(error: &WireError) -> Option<End> {
    match error {
        WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake) | WireError::Io(_) | WireError::ConnectionClosed => None,
        WireError::Capacity(CapacityError::MessageTooLong { .. }) => Some(End::TooBig),
        WireError::Utf8(_) => Some(End::Text),
        _ => Some(End::Protocol),
    }
}
