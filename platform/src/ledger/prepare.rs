//! An append on its way to the lane: checked and encoded by its caller's task, so that the one writer does neither.

use std::collections::HashMap;

use super::{Append, AppendError, Effect, NotStorable};

/// The largest payload, as encoded. Topics allow 2 MiB, so that what the ledger takes can always be published.
const MAX_PAYLOAD: usize = 900 * 1024;

/// What goes into a batch.
#[derive(Debug)]
pub(super) struct Prepared {
    pub append: Append,
    /// Per event: its metadata as JSON.
    pub metadata: Vec<String>,
    /// Per event: 0 for the first of its stream in this append, then 1, 2, …
    pub nth: Vec<i32>,
    /// Per event: murmur2 of its partition key.
    pub hashes: Vec<i32>,
    /// Bytes, roughly.
    pub size: usize,
}

impl Prepared {
    pub fn new(append: Append) -> Result<Self, AppendError> {
        check(&append).map_err(AppendError::Rejected)?;
        let metadata = append
            .events
            .iter()
            .map(|event| serde_json::to_string(&event.metadata).map_err(|error| NotStorable::Encoding(error.to_string())))
            .collect::<Result<Vec<_>, _>>()
            .map_err(AppendError::Rejected)?;
        let nth = places(&append).map_err(AppendError::Rejected)?;
        let hashes = append.events.iter().map(|event| schemas::key_hash(&event.partition_key)).collect();
        let events: usize =
            append.events.iter().zip(&metadata).map(|(event, metadata)| 256 + event.payload.get().len() + metadata.len()).sum();
        let effects: usize =
            append.effects.iter().map(|effect| 128 + if let Effect::Put { value, .. } = effect { value.len() } else { 0 }).sum();
        let record = append.record.as_ref().map_or(0, |record| 128 + record.key.len() + record.actor.len());
        Ok(Self { metadata, nth, hashes, size: 64 + events + effects + record, append })
    }

    /// The last sequence that this append gives to a stream.
    pub fn head_of(&self, aggregate_type: &str, aggregate_id: &str) -> Option<i64> {
        let of_stream = |event: &&super::NewEvent| event.aggregate_type == aggregate_type && event.aggregate_id == aggregate_id;
        self.append.events.iter().rev().find(of_stream).map(|event| event.sequence)
    }
}

fn check(append: &Append) -> Result<(), NotStorable> {
    for event in &append.events {
        let bytes = event.payload.get().len();
        if bytes > MAX_PAYLOAD {
            return Err(NotStorable::TooLarge { bytes });
        }
        representable(event.payload.get())?;
        let metadata = &event.metadata;
        let optional = [&metadata.traceparent, &metadata.digest, &metadata.answer].into_iter().flatten();
        let texts = [&event.aggregate_id, &event.event_type, &event.event_version, &event.partition_key];
        without_nul(texts.into_iter().chain([&metadata.correlation_id, &metadata.causation_id, &metadata.actor]).chain(optional))?;
    }
    for effect in &append.effects {
        match effect {
            Effect::Claim { key, owner, .. } | Effect::Release { key, owner, .. } => without_nul([key, owner])?,
            Effect::Put { key, .. } | Effect::Delete { key, .. } => without_nul([key])?,
        }
    }
    append.record.as_ref().map_or(Ok(()), |record| without_nul([&record.actor, &record.key]))
}

fn without_nul<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<(), NotStorable> {
    if texts.into_iter().any(|text| text.contains('\0')) { Err(NotStorable::Nul) } else { Ok(()) }
}

/// Whether every escape of a JSON text stands for something that Postgres can turn into text: its `json` accepts `\u0000` and lone surrogates and fails when they are read.
fn representable(json: &str) -> Result<(), NotStorable> {
    let mut rest = json.as_bytes();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        rest = &rest[at..];
        let Some(unit) = escaped_unit(rest) else {
            rest = rest.get(2..).unwrap_or_default();
            continue;
        };
        rest = &rest[6..];
        match unit {
            0 => return Err(NotStorable::Nul),
            0xD800..=0xDBFF if matches!(escaped_unit(rest), Some(0xDC00..=0xDFFF)) => rest = &rest[6..],
            0xD800..=0xDFFF => return Err(NotStorable::LoneSurrogate),
            _ => {}
        }
    }
    Ok(())
}

/// The UTF-16 unit of the `\uXXXX` that a text begins with.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The place of each event among those of its stream; refuses streams whose sequences have a hole.
fn places(append: &Append) -> Result<Vec<i32>, NotStorable> {
    if let [event] = append.events.as_slice() {
        return if event.sequence >= 1 { Ok(vec![0]) } else { Err(NotStorable::Disorder) };
    }
    let mut streams: HashMap<(&str, &str), (i32, i64)> = HashMap::new();
    let mut places = Vec::with_capacity(append.events.len());
    for event in &append.events {
        let stream = streams.entry((event.aggregate_type, &event.aggregate_id)).or_insert((0, event.sequence));
        if event.sequence != stream.1 || event.sequence < 1 {
            return Err(NotStorable::Disorder);
        }
        places.push(stream.0);
        *stream = (stream.0 + 1, stream.1 + 1);
    }
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::{NotStorable, representable};

    #[test]
    fn only_escapes_that_stand_for_characters_are_representable() {
        for fine in [r#""plain""#, r#""\\u0000""#, r#""\ud83d\ude00""#, r#""\n\"\u00e9""#, r#""\\\\ud800""#] {
            assert_eq!(representable(fine), Ok(()), "{fine}");
        }
        for nul in [r#""\u0000""#, r#""\\\u0000""#, r#"{"a":"x\u0000y"}"#] {
            assert_eq!(representable(nul), Err(NotStorable::Nul), "{nul}");
        }
        for lone in [r#""\ud800""#, r#""\udc00""#, r#""\ud83d\ud83d""#, r#""\ud83d x""#, r#""\uD83D\n""#] {
            assert_eq!(representable(lone), Err(NotStorable::LoneSurrogate), "{lone}");
        }
    }
}
