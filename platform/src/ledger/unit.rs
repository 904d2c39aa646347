//! cqrs-es aggregates on this ledger: load, decide, seal, append, and what a command answers with.

use std::collections::BTreeSet;
use std::fmt::Display;

use cqrs_es::Aggregate;
use schemas::{Event, Metadata, Recorded, UserId};

use super::committed::token;
use super::decide::{Decided, Executed, Rerun, Stream, decide};
use super::{Append, AppendError, CommandRecord, CommitError, Committed, Effect, ExecuteError, Ledger, NewEvent};
use crate::http::RequestContext;

/// How often a command is run again because somebody else changed its aggregate in between.
const ATTEMPTS: u32 = 32;

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

impl Context {
    /// A user's own command, whose repeat needs no record.
    #[must_use]
    pub fn of_user(user: UserId, request: RequestContext) -> Self {
        Self { actor: Actor::User(user), request, record: None }
    }
}

/// A command in the making: runs aggregates, gathers what they decide, and commits all of it or nothing.
///
/// Every way to a 2xx ends in [`Unit::commit`], [`Unit::commit_minted`] or [`Unit::found`]; before every refusal stands [`Unit::answered`], and [`Unit::minted`] where the client mints the id.
#[derive(Debug)]
pub struct Unit {
    ledger: Ledger,
    context: Context,
    steps: Vec<Step>,
    effects: Vec<Effect>,
    digest: Option<String>,
    answer: Option<String>,
}

/// One command of a unit, and what it decided.
#[derive(Debug)]
struct Step {
    decided: Decided,
    rerun: Option<Box<dyn Rerun>>,
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

impl Unit {
    pub(super) fn new(ledger: Ledger, context: Context) -> Self {
        Self { ledger, context, steps: Vec::new(), effects: Vec::new(), digest: None, answer: None }
    }

    /// Runs a command on an aggregate whose stream does not exist yet (its id is newly minted, by the client or here): nothing is loaded. That the stream does exist shows at the commit,
    /// as [`AppendError::Conflict`]; the command is not run again then.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn create<A>(
        &mut self,
        id: impl Display + Send,
        command: A::Command,
        services: &A::Services,
    ) -> Result<&mut Self, ExecuteError<A::Error>>
    where
        A: Aggregate,
        A::Event: Event,
    {
        let pending = self.pending();
        let stream = Stream { id: &id.to_string(), stored: Vec::new(), pending: &pending };
        let decided = decide::<A>(&self.ledger, stream, command, services).await?;
        self.steps.push(Step { decided, rerun: None });
        Ok(self)
    }

    /// Loads an aggregate and runs a command on it; what it decides joins the unit. No events: nothing joins. When somebody else changes the aggregate before the commit, the commit
    /// runs the command again, which is why it must be `Clone`.
    ///
    /// # Errors
    /// [`ExecuteError`]
    pub async fn execute<A>(
        &mut self,
        id: impl Display + Send,
        command: A::Command,
        services: &A::Services,
    ) -> Result<&mut Self, ExecuteError<A::Error>>
    where
        A: Aggregate + 'static,
        A::Event: Event,
        A::Command: Clone + Send + Sync + 'static,
        A::Services: Clone + 'static,
        A::Error: Send + Sync + 'static,
    {
        let executed = Executed::<A> { id: id.to_string(), command, services: services.clone() };
        let decided = executed.decide(&self.ledger, &self.pending()).await?;
        self.steps.push(Step { decided, rerun: Some(Box::new(executed)) });
        Ok(self)
    }

    /// Takes a reservation or secret along.
    pub fn effect(&mut self, effect: Effect) -> &mut Self {
        self.effects.push(effect);
        self
    }

    /// Stands in the metadata of every event of this unit: hex digest of what was asked, and what the answer says beyond the event.
    pub fn remember(&mut self, digest: Option<String>, answer: Option<String>) -> &mut Self {
        self.digest = digest;
        self.answer = answer;
        self
    }

    /// Whether nothing has been decided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.iter().all(|step| step.decided.events.is_empty())
    }

    /// Appends; then leaves marks for the actor and for everybody the events name. When the idempotency record says that this command was carried out before, the first events come
    /// back with `again` (422 `idempotency_mismatch` through [`CommitError::Mismatch`] when the digest differs). A unit without events still records that it was carried out, when the client sent a key for it.
    ///
    /// # Errors
    /// [`CommitError`]
    pub async fn commit(mut self) -> Result<Committed, CommitError> {
        self.store().await
    }

    /// Commits a unit whose aggregate the client named: a repeat, by the same actor and with the digest that was [remembered](Unit::remember), is answered with the first event of that
    /// stream, for ever. A conflict is left for the id that stands for something else.
    ///
    /// # Errors
    /// [`CommitError`]
    pub async fn commit_minted<E: Event>(mut self, id: impl Display + Send) -> Result<Committed, CommitError> {
        let conflict = match self.store().await {
            Err(CommitError::Ledger(conflict @ AppendError::Conflict { .. })) => conflict,
            outcome => return outcome,
        };
        match self.minted::<E>(id).await? {
            Minted::Again(committed) => Ok(committed),
            Minted::Free | Minted::Taken => Err(conflict.into()),
        }
    }

    /// Before a refusal: was this very command answered before (by its idempotency record)? Then that answer stands.
    ///
    /// # Errors
    /// [`CommitError::Mismatch`], [`CommitError::Ledger`]
    pub async fn answered(&self) -> Result<Option<Committed>, CommitError> {
        let Some(record) = &self.context.record else { return Ok(None) };
        match self.ledger.record_of(record).await? {
            Some(answered) => self.replay(&answered.digest, &answered.positions).await.map(Some),
            None => Ok(None),
        }
    }

    /// Before a refusal, where the client mints the id: what does that id stand for already? Compares actor and [remembered](Unit::remember) digest.
    ///
    /// # Errors
    /// [`CommitError::Mismatch`], [`CommitError::Ledger`]
    pub async fn minted<E: Event>(&self, id: impl Display + Send) -> Result<Minted, CommitError> {
        let Some(first) = self.ledger.first(E::AGGREGATE, &id.to_string()).await? else { return Ok(Minted::Free) };
        let same = self.digest.is_some() && first.metadata.digest == self.digest && first.metadata.actor == self.actor();
        Ok(if same { Minted::Again(self.again(vec![first]).await?) } else { Minted::Taken })
    }

    /// Answers with events that another command has stored, as [`Unit::found`]; and leaves a record of it, so that the `Idempotency-Key` of this one is used up.
    ///
    /// # Errors
    /// [`CommitError::Mismatch`], [`CommitError::Ledger`]
    pub async fn again(&self, events: Vec<Recorded>) -> Result<Committed, CommitError> {
        match &self.context.record {
            Some(record) if !self.ledger.remember(record, &events).await? => Err(CommitError::Mismatch),
            _ => Ok(self.found(events).await),
        }
    }

    /// Turns stored events into an answer given again: marks and token as if they were fresh.
    pub async fn found(&self, events: Vec<Recorded>) -> Committed {
        let names: Vec<UserId> = events.iter().flat_map(Recorded::names).collect();
        self.mark(events, names, true).await
    }

    async fn store(&mut self) -> Result<Committed, CommitError> {
        let mut attempt = 1;
        loop {
            let append = self.append();
            if append.events.is_empty() && append.effects.is_empty() && append.record.is_none() {
                return Ok(self.mark(Vec::new(), Vec::new(), false).await);
            }
            let events = append.events.clone();
            match self.ledger.append(append).await {
                Ok(stored) => {
                    let events = events.into_iter().zip(stored).map(|(event, stored)| event.into_recorded(&self.ledger, stored)).collect();
                    let names = self.steps.iter_mut().flat_map(|step| std::mem::take(&mut step.decided.names)).collect();
                    return Ok(self.mark(events, names, false).await);
                }
                Err(AppendError::Duplicate { digest, positions, .. }) => return self.replay(&digest, &positions).await,
                Err(AppendError::Conflict { aggregate_type, aggregate_id, .. })
                    if attempt < ATTEMPTS && self.can_rerun(&aggregate_type, &aggregate_id) =>
                {
                    attempt += 1;
                    self.rerun().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What would be appended now.
    fn append(&self) -> Append {
        let request = &self.context.request;
        let metadata = Metadata {
            correlation_id: request.request_id.clone(),
            causation_id: request.request_id.clone(),
            actor: self.actor(),
            traceparent: request.traceparent.clone(),
            digest: self.digest.clone(),
            answer: self.answer.clone(),
        };
        let mut events = self.pending();
        events.iter_mut().for_each(|event| event.metadata = metadata.clone());
        Append { events, record: self.context.record.clone(), effects: self.effects.clone() }
    }

    fn pending(&self) -> Vec<NewEvent> {
        self.steps.iter().flat_map(|step| step.decided.events.iter().cloned()).collect()
    }

    fn actor(&self) -> String {
        match self.context.actor {
            Actor::User(user) => user.to_string(),
            Actor::System => "system".to_owned(),
        }
    }

    /// Whether every event of this stream comes from commands that can be run again.
    fn can_rerun(&self, aggregate_type: &str, aggregate_id: &str) -> bool {
        let of_stream = |event: &NewEvent| event.aggregate_type == aggregate_type && event.aggregate_id == aggregate_id;
        let mut deciding = self.steps.iter().filter(|step| step.decided.events.iter().any(of_stream)).peekable();
        deciding.peek().is_some() && deciding.all(|step| step.rerun.as_ref().is_some_and(|rerun| rerun.is_on(aggregate_type, aggregate_id)))
    }

    /// Runs every command on an existing aggregate again, in order; what was created stays as it was decided.
    async fn rerun(&mut self) -> Result<(), CommitError> {
        let mut pending: Vec<NewEvent> = Vec::new();
        for step in &mut self.steps {
            if let Some(rerun) = &step.rerun {
                step.decided = rerun.run(&self.ledger, &pending).await?;
            }
            pending.extend(step.decided.events.iter().cloned());
        }
        Ok(())
    }

    /// The answer of a command that was carried out before.
    async fn replay(&self, digest: &[u8], positions: &[i64]) -> Result<Committed, CommitError> {
        let asked = self.context.record.as_ref().map(|record| record.digest.as_slice());
        if asked != Some(digest) {
            return Err(CommitError::Mismatch);
        }
        let events = self.ledger.at(positions).await?;
        Ok(self.found(events).await)
    }

    async fn mark(&self, events: Vec<Recorded>, names: Vec<UserId>, again: bool) -> Committed {
        let token = token(&self.ledger, &events);
        if let Some(marks) = self.ledger.marks().filter(|_| !token.marks.is_empty()) {
            let actor = if let Actor::User(user) = self.context.actor { Some(user) } else { None };
            let users: Vec<UserId> = names.into_iter().chain(actor).collect::<BTreeSet<_>>().into_iter().collect();
            if events.iter().any(Recorded::binds_others) {
                marks.leave_for_long(&users, &token.marks).await;
            } else {
                marks.leave(&users, &token.marks).await;
            }
        }
        Committed { events, token, again }
    }
}
