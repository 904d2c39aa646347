//! Events of one aggregate with their seals opened, as a fold needs them.

use platform::log::{ApplyError, Batch};
use platform::vault::Vault;
use schemas::{Event, Personal, Recorded, StillSealed};
use uuid::Uuid;

/// The events of `E` in a batch, opened; the keys of all of them are asked for at once.
///
/// # Errors
/// [`ApplyError`], which names the event that cannot be read.
pub(crate) async fn opened<'b, E: Event + Send>(vault: &Vault, batch: Batch<'b>) -> Result<Vec<(&'b Recorded, E)>, ApplyError> {
    let mut opened = Vec::new();
    let mut subjects: Vec<Uuid> = Vec::new();
    for recorded in batch.iter().filter(|recorded| recorded.aggregate_type == E::AGGREGATE) {
        let mut event = E::decode(recorded).map_err(|error| ApplyError::decode(recorded, &error))?;
        event.personal(&mut |_, field| subjects.push(field.subject()));
        opened.push((&**recorded, event));
    }
    let Some((first, _)) = opened.first() else { return Ok(opened) };
    if !subjects.is_empty() {
        subjects.sort_unstable();
        subjects.dedup();
        vault.prefetch(&subjects).await.map_err(|error| ApplyError::vault(first, error))?;
    }
    for (recorded, event) in &mut opened {
        vault.unseal(recorded.event_id, event).await.map_err(|error| ApplyError::vault(recorded, error))?;
    }
    Ok(opened)
}

/// The text of an opened field; `None` when it was erased.
///
/// # Errors
/// [`ApplyError::Event`] when it has not been opened.
pub(crate) fn reveal(event: &Recorded, field: &Personal) -> Result<Option<String>, ApplyError> {
    let text = field.reveal().map_err(|error: StillSealed| ApplyError::Event {
        event_id: event.event_id,
        position: event.position,
        reason: error.to_string(),
    })?;
    Ok(text.map(str::to_owned))
}

/// Numbers as Postgres reads an array, since arrays of arrays of different lengths cannot be passed.
pub(crate) fn array(numbers: &[i32]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", numbers.join(","))
}
