//! One call of `append_batch`: appends in, answers out.

use std::collections::HashMap;

use schemas::Timestamp;
use serde::Deserialize;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::types::Json;
use sqlx::{Encode, PgConnection, Postgres, Type};
use time::OffsetDateTime;

use super::prepare::Prepared;
use super::queue::Outcome;
use super::{AppendError, Effect, Stored};

/// JSON that is stored byte for byte. (`sqlx::types::Json` puts a space in front.)
struct Verbatim<'a>(&'a str);

impl Type<Postgres> for Verbatim<'_> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(114))
    }
}

impl PgHasArrayType for Verbatim<'_> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(199))
    }
}

impl Encode<'_, Postgres> for Verbatim<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(self.0.as_bytes());
        Ok(IsNull::No)
    }
}

/// What the function returns: see its head in `migrations/ledger`.
pub(super) struct Answer {
    outcome: Vec<i32>,
    positions: Vec<Option<i64>>,
    times: Vec<OffsetDateTime>,
    detail: HashMap<String, Detail>,
}

/// Why an append was refused.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Detail {
    By { by: usize },
    Duplicate { digest: String, status: u16, positions: Vec<i64> },
    Conflict { r#type: String, stream: String, expected: i64, head: i64 },
    Reserved { kind: String, owner: String },
}

/// Submits a batch: one statement, one transaction, one round trip.
pub(super) async fn submit(connection: &mut PgConnection, lane: i32, batch: &[&Prepared]) -> Result<Answer, sqlx::Error> {
    let count = number(batch.len())?;
    let recorded = batch.iter().any(|prepared| prepared.append.record.is_some());
    let dated = batch.iter().flat_map(|prepared| &prepared.append.events).any(|event| event.at.is_some());
    let affecting = batch.iter().any(|prepared| !prepared.append.effects.is_empty());

    let records = || batch.iter().map(|prepared| prepared.append.record.as_ref());
    let actors = recorded.then(|| records().map(|record| record.map(|r| r.actor.as_str())).collect::<Vec<_>>());
    let keys = recorded.then(|| records().map(|record| record.map(|r| r.key.as_str())).collect::<Vec<_>>());
    let digests = recorded.then(|| records().map(|record| record.map(|r| r.digest.as_slice())).collect::<Vec<_>>());
    let statuses = recorded.then(|| records().map(|record| record.map(|r| i32::from(r.status))).collect::<Vec<_>>());

    let events = || batch.iter().flat_map(|prepared| &prepared.append.events);
    let mut of_append = Vec::new();
    let mut effect_of = Vec::new();
    for (number, prepared) in (1..=count).zip(batch) {
        of_append.extend(prepared.append.events.iter().map(|_| number));
        effect_of.extend(prepared.append.effects.iter().map(|_| number));
    }
    let nth: Vec<i32> = batch.iter().flat_map(|prepared| prepared.nth.iter().copied()).collect();
    let types: Vec<&str> = events().map(|event| event.aggregate_type).collect();
    let streams: Vec<&str> = events().map(|event| event.aggregate_id.as_str()).collect();
    let sequences: Vec<i64> = events().map(|event| event.sequence).collect();
    let names: Vec<&str> = events().map(|event| event.event_type.as_str()).collect();
    let versions: Vec<&str> = events().map(|event| event.event_version.as_str()).collect();
    let payloads: Vec<Verbatim<'_>> = events().map(|event| Verbatim(event.payload.get())).collect();
    let metadata: Vec<Verbatim<'_>> = batch.iter().flat_map(|prepared| prepared.metadata.iter().map(|text| Verbatim(text))).collect();
    let partition_keys: Vec<&str> = events().map(|event| event.partition_key.as_str()).collect();
    let hashes: Vec<i32> = batch.iter().flat_map(|prepared| prepared.hashes.iter().copied()).collect();
    let ids: Vec<uuid::Uuid> = events().map(|event| event.event_id).collect();
    let at = dated.then(|| events().map(|event| event.at.map(OffsetDateTime::from)).collect::<Vec<_>>());

    let effects = || batch.iter().flat_map(|prepared| prepared.append.effects.iter().map(Operation::of));
    let effect_of = affecting.then_some(effect_of);
    let operations = affecting.then(|| effects().map(|effect| effect.name).collect::<Vec<_>>());
    let effect_kinds = affecting.then(|| effects().map(|effect| effect.kind).collect::<Vec<_>>());
    let effect_keys = affecting.then(|| effects().map(|effect| effect.key).collect::<Vec<_>>());
    let owners = affecting.then(|| effects().map(|effect| effect.owner).collect::<Vec<_>>());
    let values = affecting.then(|| effects().map(|effect| effect.value).collect::<Vec<_>>());
    let ends = affecting.then(|| effects().map(|effect| effect.expires_at.map(OffsetDateTime::from)).collect::<Vec<_>>());

    let row = sqlx::query!(
        r#"SELECT outcome AS "outcome!", pos AS "positions: Vec<Option<i64>>", times AS "times!", detail AS "detail: Json<HashMap<String, Detail>>"
           FROM append_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26)"#,
        lane,
        count,
        actors as _,
        keys as _,
        digests as _,
        statuses as _,
        &of_append,
        &nth,
        types as _,
        streams as _,
        &sequences,
        names as _,
        versions as _,
        payloads as _,
        metadata as _,
        partition_keys as _,
        &hashes,
        &ids,
        at as _,
        effect_of as _,
        operations as _,
        effect_kinds as _,
        effect_keys as _,
        owners as _,
        values as _,
        ends as _,
    )
    .fetch_one(connection)
    .await?;
    Ok(Answer {
        outcome: row.outcome,
        positions: row.positions.unwrap_or_default(),
        times: row.times,
        detail: row.detail.map(|Json(detail)| detail).unwrap_or_default(),
    })
}

fn number(count: usize) -> Result<i32, sqlx::Error> {
    i32::try_from(count).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// An effect as the function takes it.
struct Operation<'a> {
    name: &'static str,
    kind: &'static str,
    key: &'a str,
    owner: Option<&'a str>,
    value: Option<&'a [u8]>,
    expires_at: Option<Timestamp>,
}

impl<'a> Operation<'a> {
    fn of(effect: &'a Effect) -> Self {
        match effect {
            Effect::Claim { kind, key, owner, expires_at } => {
                Self { name: "claim", kind, key, owner: Some(owner), value: None, expires_at: *expires_at }
            }
            Effect::Release { kind, key, owner } => Self { name: "release", kind, key, owner: Some(owner), value: None, expires_at: None },
            Effect::Put { kind, key, value, expires_at } => {
                Self { name: "put", kind, key, owner: None, value: Some(value), expires_at: *expires_at }
            }
            Effect::Delete { kind, key } => Self { name: "delete", kind, key, owner: None, value: None, expires_at: None },
        }
    }
}

impl Answer {
    /// One outcome per append of the batch. An answer that does not fit its batch leaves every outcome unknown: it comes from another version of the function.
    pub fn outcomes(&self, batch: &[&Prepared]) -> Vec<Outcome> {
        let mut from = 0;
        let places: Vec<_> = batch
            .iter()
            .map(|prepared| {
                let place = from..from + prepared.append.events.len();
                from = place.end;
                place
            })
            .collect();
        let answered = self.positions.len() == from && self.times.len() == from;
        if self.outcome.len() != batch.len() || (from > 0 && !answered) {
            tracing::error!(appends = batch.len(), answers = self.outcome.len(), "append_batch answered something else than it was asked");
            return batch.iter().map(|_| Err(AppendError::OutcomeUnknown)).collect();
        }
        let stored = |append: usize| -> Vec<Stored> {
            let place = places[append].clone();
            let pairs = self.positions[place.clone()].iter().zip(&self.times[place]);
            pairs.filter_map(|(position, at)| Some(Stored { position: (*position)?, at: Timestamp::from(*at) })).collect()
        };
        let outcome = |(append, outcome): (usize, &i32)| match outcome {
            0 | 1 => Ok(stored(append)),
            code => Err(self.refusal(*code, append, batch, &stored)),
        };
        self.outcome.iter().enumerate().map(outcome).collect()
    }

    fn refusal(&self, code: i32, append: usize, batch: &[&Prepared], stored: &dyn Fn(usize) -> Vec<Stored>) -> AppendError {
        match self.detail.get(&(append + 1).to_string()) {
            Some(Detail::Duplicate { digest, status, positions }) => {
                AppendError::Duplicate { digest: unhex(digest), status: *status, positions: positions.clone() }
            }
            Some(Detail::Conflict { r#type, stream, expected, head }) => {
                AppendError::Conflict { aggregate_type: r#type.clone(), aggregate_id: stream.clone(), expected: *expected, head: *head }
            }
            Some(Detail::Reserved { kind, owner }) => AppendError::Reserved { kind: kind.clone(), owner: owner.clone() },
            Some(Detail::By { by }) if (1..=batch.len()).contains(by) => {
                let positions = || stored(by - 1).iter().map(|stored| stored.position).collect();
                beaten(code, batch[append], batch[by - 1], positions).unwrap_or(AppendError::OutcomeUnknown)
            }
            Some(Detail::By { .. }) | None => AppendError::OutcomeUnknown,
        }
    }
}

/// The refusal of an append because of another one of the same batch, which came first.
fn beaten(code: i32, refused: &Prepared, first: &Prepared, positions: impl FnOnce() -> Vec<i64>) -> Option<AppendError> {
    match code {
        2 => first.append.record.as_ref().map(|record| AppendError::Duplicate {
            digest: record.digest.to_vec(),
            status: record.status,
            positions: positions(),
        }),
        3 => refused.append.events.iter().zip(&refused.nth).filter(|(_, nth)| **nth == 0).find_map(|(event, _)| {
            let head = first.head_of(event.aggregate_type, &event.aggregate_id)?;
            Some(AppendError::Conflict {
                aggregate_type: event.aggregate_type.to_owned(),
                aggregate_id: event.aggregate_id.clone(),
                expected: event.sequence - 1,
                head,
            })
        }),
        _ => refused.append.effects.iter().find_map(|mine| {
            let Effect::Claim { kind, key, owner, .. } = mine else { return None };
            first.append.effects.iter().find_map(|theirs| match theirs {
                Effect::Claim { kind: k, key: y, owner: holder, .. } if k == kind && y == key && holder != owner => {
                    Some(AppendError::Reserved { kind: (*kind).to_owned(), owner: holder.clone() })
                }
                _ => None,
            })
        }),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).filter_map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}
