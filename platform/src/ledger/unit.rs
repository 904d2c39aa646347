//! cqrs-es aggregates on this ledger: load, decide, seal, append, and what a command answers with.

use std::fmt::Display;

use cqrs_es::Aggregate;
use schemas::{Event, Recorded, UserId};

use super::{AppendError, CommandRecord, Effect, Ledger};
use crate::http::{Problem, RequestContext};
use crate::marks::ConsistencyToken;
use crate::vault::VaultError;

/// Who acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A person.
    User(UserId),
    /// The system itself.
    System,
}

/// Why and by whom a command runs; becomes the events' metadata.
#[derive(Debug, Clone)]
pub struct Context {
    /// Who acts (`ce_actor`), and whose marks are left besides those of everybody named.
    pub actor: Actor,
    /// The request: correlation id and trace.
    pub request: RequestContext,
    /// The client's `Idempotency-Key`, when it sent one.
    pub record: Option<CommandRecord>,
}

/// A command in the making: runs aggregates, gathers what they decide, and commits all of it or nothing.
///
/// Every way to a 2xx ends in [`Unit::commit`] (or [`Unit::found`]); every way to a refusal passes [`Unit::refuse`].
#[derive(Debug)]
pub struct Unit {
    #[allow(dead_code)]
    ledger: Ledger,
}

/// What an aggregate or the ledger answers.
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError<R> {
    /// The aggregate refuses, with a reason that its user understands.
    #[error(transparent)]
    Refused(R),
    /// The ledger did not store it.
    #[error(transparent)]
    Ledger(#[from] AppendError),
    /// Personal data could not be sealed or opened.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Something durable: events with their places, fresh or found again.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The events, personal fields still sealed.
    pub events: Vec<Recorded>,
    /// For `X-Consistency-Token`.
    pub token: ConsistencyToken,
    /// Whether this very command had been answered before.
    pub again: bool,
}

impl Unit {
    /// Runs a command on an aggregate whose stream does not exist yet (its id is newly minted, by the client or here): nothing is loaded.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn create<A>(
        &mut self,
        _id: impl Display + Send,
        _command: A::Command,
        _services: &A::Services,
    ) -> Result<&mut Self, ExecuteError<A::Error>>
    where
        A: Aggregate,
        A::Event: Event,
    {
        todo!()
    }
    /// Loads an aggregate and runs a command on it; what it decides joins the unit. No events: nothing joins.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn execute<A>(
        &mut self,
        _id: impl Display + Send,
        _command: A::Command,
        _services: &A::Services,
    ) -> Result<&mut Self, ExecuteError<A::Error>>
    where
        A: Aggregate,
        A::Event: Event,
    {
        todo!()
    }
    /// Takes a reservation or secret along.
    pub fn effect(&mut self, _effect: Effect) -> &mut Self {
        todo!()
    }
    /// Stands in the metadata of every event of this unit: hex digest of what was asked, and what the answer says beyond the event.
    pub fn remember(&mut self, _digest: Option<String>, _answer: Option<String>) -> &mut Self {
        todo!()
    }
    /// Appends; then leaves marks for the actor and for everybody the events name. When the idempotency record says that this command was carried out before, the first events come
    /// back with `again` (422 `idempotency_mismatch` through [`CommitError::Mismatch`] when the digest differs).
    ///
    /// # Errors
    /// [`CommitError`]
    pub async fn commit(self) -> Result<Committed, CommitError> {
        todo!()
    }
    /// Commits a unit whose aggregate the client named: a repeat, by the same actor and with the digest that was [remembered](Unit::remember), is answered with the first event of that
    /// stream, for ever. A conflict is left for the id that stands for something else.
    ///
    /// # Errors
    /// [`CommitError`]
    pub async fn commit_minted<E: Event>(self, _id: impl Display + Send) -> Result<Committed, CommitError> {
        todo!()
    }
    /// Before a refusal, where the client mints the id: what does that id stand for already? Compares actor and [remembered](Unit::remember) digest.
    ///
    /// # Errors
    /// [`CommitError::Ledger`]
    pub async fn minted<E: Event>(&self, _id: impl Display + Send) -> Result<Minted, CommitError> {
        todo!()
    }
    /// Before a refusal: was this very command answered before (by its idempotency record)? Then that answer stands.
    ///
    /// # Errors
    /// [`CommitError::Mismatch`], [`CommitError::Ledger`]
    pub async fn answered(&self) -> Result<Option<Committed>, CommitError> {
        todo!()
    }
    /// Turns stored events into an answer given again: marks and token as if they were fresh.
    pub async fn found(&self, _events: Vec<Recorded>) -> Committed {
        todo!()
    }
}

/// What an id that a client minted stands for already.
#[derive(Debug)]
pub enum Minted {
    /// Nothing yet.
    Free,
    /// What the same actor asked before, word for word: this was the answer.
    Again(Committed),
    /// Something else.
    Taken,
}

impl<R: std::error::Error + Send + Sync + 'static> From<ExecuteError<R>> for CommitError {
    fn from(_error: ExecuteError<R>) -> Self {
        todo!()
    }
}

/// Why a unit was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The same `Idempotency-Key` came with another body.
    #[error("the idempotency key belongs to another request")]
    Mismatch,
    /// The ledger did not store it.
    #[error(transparent)]
    Ledger(#[from] AppendError),
}

/// How infrastructure failures of commands look to clients; conflicts and reservations are each command's own to word, and are a 409 `conflict` here.
impl From<AppendError> for Problem {
    fn from(_error: AppendError) -> Self {
        todo!()
    }
}

impl From<CommitError> for Problem {
    fn from(_error: CommitError) -> Self {
        todo!()
    }
}
