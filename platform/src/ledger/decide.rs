//! Running a command on an aggregate: load, decide, seal.

use std::fmt;

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;
use futures::future::BoxFuture;
use schemas::{Event, Metadata, Personal, Recorded, UserId};
use uuid::Uuid;

use super::{AppendError, CommitError, ExecuteError, Ledger, NewEvent, NotStorable};

/// What a command decided: events without their metadata, which belongs to the unit.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub events: Vec<NewEvent>,
    /// Everybody whom they name.
    pub names: Vec<UserId>,
}

/// A stream as a command finds it.
pub(super) struct Stream<'a> {
    pub id: &'a str,
    /// Its stored events; none for one that is only now begun.
    pub stored: Vec<Recorded>,
    /// What earlier commands of the same unit have decided, on this stream and on others.
    pub pending: &'a [NewEvent],
}

/// Runs a command on an aggregate as its stream has it.
pub(super) async fn decide<A>(
    ledger: &Ledger,
    stream: Stream<'_>,
    command: A::Command,
    services: &A::Services,
) -> Result<Decided, ExecuteError<A::Error>>
where
    A: Aggregate,
    A::Event: Event,
{
    let Stream { id, stored, pending } = stream;
    let mut aggregate = A::default();
    let mut sequence = 0;
    let pending = pending.iter().filter(|event| event.aggregate_type == A::Event::AGGREGATE && event.aggregate_id == id);
    for recorded in stored.into_iter().chain(pending.map(|event| as_recorded(ledger, event))) {
        let mut event = A::Event::decode(&recorded)?;
        if holds(&mut event, |field| matches!(field, Personal::Sealed { .. })) {
            let vault = ledger.vault_if_any().ok_or_else(without_vault)?;
            vault.unseal(recorded.event_id, &mut event).await?;
        }
        aggregate.apply(event);
        sequence = recorded.sequence;
    }
    let sink = EventSink::default();
    aggregate.handle(command, services, &sink).await.map_err(ExecuteError::Refused)?;
    let mut decided = Decided::default();
    for mut event in sink.collect().await {
        sequence += 1;
        decided.names.extend(event.names());
        let event_id = Uuid::now_v7();
        if holds(&mut event, |field| matches!(field, Personal::Clear { .. })) {
            let vault = ledger.vault_if_any().ok_or_else(without_vault)?;
            vault.seal(event_id, &mut event).await?;
        }
        decided.events.push(NewEvent {
            aggregate_type: A::Event::AGGREGATE,
            aggregate_id: id.to_owned(),
            sequence,
            event_id,
            event_type: event.name().to_owned(),
            event_version: event.version().to_owned(),
            payload: event.payload().map_err(|error| AppendError::Rejected(NotStorable::Encoding(error.to_string())))?,
            metadata: Metadata::default(),
            partition_key: event.partition_key(),
            at: None,
        });
    }
    Ok(decided)
}

fn without_vault() -> AppendError {
    AppendError::Rejected(NotStorable::Encoding("personal data in a ledger without a vault".to_owned()))
}

fn holds<E: Event>(event: &mut E, state: fn(&Personal) -> bool) -> bool {
    let mut found = false;
    event.personal(&mut |_, field| found |= state(field));
    found
}

/// An event of this unit, as if it were stored, for the commands that follow on its stream.
fn as_recorded(ledger: &Ledger, event: &NewEvent) -> Recorded {
    event.clone().into_recorded(ledger, super::Stored { position: 0, at: crate::clock::now() })
}

impl NewEvent {
    /// The event at its place.
    pub(super) fn into_recorded(self, ledger: &Ledger, stored: super::Stored) -> Recorded {
        Recorded {
            topic: ledger.topic(),
            incarnation: ledger.incarnation(),
            position: stored.position,
            prev_position: None,
            aggregate_type: self.aggregate_type.to_owned(),
            aggregate_id: self.aggregate_id,
            sequence: self.sequence,
            event_type: self.event_type,
            event_version: self.event_version,
            payload: self.payload,
            metadata: self.metadata,
            key_hash: schemas::key_hash(&self.partition_key),
            partition_key: self.partition_key,
            event_id: self.event_id,
            recorded_at: stored.at,
        }
    }
}

/// A command that can be run again on its aggregate as it has become.
pub(super) trait Rerun: fmt::Debug + Send + Sync {
    fn is_on(&self, aggregate_type: &str, aggregate_id: &str) -> bool;
    fn run<'a>(&'a self, ledger: &'a Ledger, pending: &'a [NewEvent]) -> BoxFuture<'a, Result<Decided, CommitError>>;
}

/// A command on an aggregate that exists.
pub(super) struct Executed<A: Aggregate> {
    pub id: String,
    pub command: A::Command,
    pub services: A::Services,
}

impl<A: Aggregate> fmt::Debug for Executed<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Executed({} {})", A::TYPE, self.id)
    }
}

impl<A> Executed<A>
where
    A: Aggregate,
    A::Event: Event,
    A::Command: Clone,
{
    pub async fn decide(&self, ledger: &Ledger, pending: &[NewEvent]) -> Result<Decided, ExecuteError<A::Error>> {
        let begun_here =
            pending.iter().any(|event| event.sequence == 1 && event.aggregate_type == A::Event::AGGREGATE && event.aggregate_id == self.id);
        let stored = if begun_here { Vec::new() } else { ledger.load(A::Event::AGGREGATE, &self.id).await? };
        decide::<A>(ledger, Stream { id: &self.id, stored, pending }, self.command.clone(), &self.services).await
    }
}

impl<A> Rerun for Executed<A>
where
    A: Aggregate + 'static,
    A::Event: Event,
    A::Command: Clone + Send + Sync + 'static,
    A::Services: Send + Sync + 'static,
    A::Error: Send + Sync + 'static,
{
    fn is_on(&self, aggregate_type: &str, aggregate_id: &str) -> bool {
        aggregate_type == A::Event::AGGREGATE && aggregate_id == self.id
    }

    fn run<'a>(&'a self, ledger: &'a Ledger, pending: &'a [NewEvent]) -> BoxFuture<'a, Result<Decided, CommitError>> {
        Box::pin(async move { Ok(self.decide(ledger, pending).await?) })
    }
}
