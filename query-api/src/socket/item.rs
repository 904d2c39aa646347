//! An event of a log on its way to the sockets of one user.

use std::sync::{Arc, OnceLock};

use platform::frames::Logged;
use schemas::frames::{Entry, Frame};
use schemas::{MessageId, UserId};

use super::facts::{Facts, Wants};
use super::place::Place;
use super::render::{Told, told};

/// An entry of a user's log, shared by all of their sockets: rendered once, when the first of them comes to it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    entry: Entry,
    body: Option<Arc<str>>,
    told: OnceLock<Vec<Told>>,
}

/// What an entry takes beside its body.
const OVERHEAD: usize = 256;

impl Item {
    /// `None` for what this release cannot read: it is passed over.
    pub(super) fn of(logged: &Logged, body: Option<Arc<str>>) -> Option<Self> {
        let place = (logged.topic, logged.partition, logged.position);
        match serde_json::from_str(&logged.text) {
            Ok(entry) => Some(Self { place, entry, body, told: OnceLock::new() }),
            Err(error) => {
                tracing::error!(topic = %logged.topic, position = logged.position, category = ?error.classify(), "an entry of a frame log cannot be read");
                None
            }
        }
    }

    /// Without its body, if it happened before that: whoever came since then must not be told what was deleted before they came, so it is looked up.
    pub(super) fn trusted_after(self, micros: i64) -> Self {
        if self.entry.at.unix_micros() > micros { self } else { Self { body: None, ..self } }
    }

    /// Messages that are gone by it.
    pub(super) fn deletes(&self) -> impl Iterator<Item = MessageId> + '_ {
        self.entry.frames.iter().filter_map(|frame| if let Frame::Deleted { id, .. } = frame { Some(*id) } else { None })
    }

    /// What it takes of a socket's room.
    pub(super) fn bytes(&self) -> usize {
        OVERHEAD + self.body.as_ref().map_or(0, |body| body.len())
    }

    /// What it says, when it has been rendered.
    pub(super) fn told(&self) -> Option<&[Told]> {
        self.told.get().map(Vec::as_slice)
    }

    /// But for its message; `None`: that is all that it says.
    pub(super) fn without_messages(&self) -> Option<Self> {
        let frames: Vec<Frame> = self.entry.frames.iter().filter(|frame| !matches!(frame, Frame::Message { .. })).cloned().collect();
        (!frames.is_empty()).then(|| Self {
            place: self.place,
            entry: Entry { at: self.entry.at, frames },
            body: None,
            told: OnceLock::new(),
        })
    }

    /// Renders it if it needs nothing that must be looked up; else says what.
    pub(super) fn render_alone(&self, receiver: UserId, wants: &mut Wants) {
        if self.told.get().is_some() {
            return;
        }
        let mut own = Wants::default();
        self.entry.frames.iter().for_each(|frame| own.add(frame, self.body.is_some()));
        if own.is_empty() {
            self.render(receiver, &mut Facts::default());
        } else {
            self.entry.frames.iter().for_each(|frame| wants.add(frame, self.body.is_some()));
        }
    }

    /// Renders it from what was looked up.
    pub(super) fn render(&self, receiver: UserId, facts: &mut Facts) {
        self.told.get_or_init(|| {
            if let Some(body) = &self.body {
                for frame in &self.entry.frames {
                    if let Frame::Message { id, .. } = frame {
                        facts.put_body(*id, body.clone());
                    }
                }
            }
            self.entry.frames.iter().filter_map(|frame| told(receiver, (self.entry.at, self.place.2), frame, facts)).collect()
        });
    }
}
