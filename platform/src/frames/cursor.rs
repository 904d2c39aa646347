//! How far somebody has seen their frames, as a client carries it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::{Timestamp, Topic};
use time::OffsetDateTime;

use crate::log::SCAN;
use crate::number::{read_number, read_topic, topic_number, write_number};

/// First byte of the text: another one is of another release.
const VERSION: u8 = 1;
/// More places of one topic than any generation has partitions.
const MOST_PLACES: u64 = 64;
/// What that many can take.
const LONGEST_TEXT: usize = 4_096;

/// Per topic and partition, the position up to which a user's frames have been seen; what is missing has not been begun (0).
///
/// Positions come from the ledgers, so they mean the same in every process, whatever Redis has lost or in which order it was told.
/// The place of [`SCAN`] holds for every partition of its topic: everything up to there has been seen, whatever its partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Places(BTreeMap<(Topic, i32), i64>);

impl Places {
    /// Up to where; 0: nothing.
    #[must_use]
    pub fn at(&self, topic: Topic, partition: i32) -> i64 {
        let place = |partition| self.0.get(&(topic, partition)).copied().unwrap_or(0);
        place(partition).max(place(SCAN))
    }

    /// Raises a place, never lowers it. Whether it rose: what does not rise has been seen.
    pub fn raise(&mut self, topic: Topic, partition: i32, position: i64) -> bool {
        let rises = position > self.at(topic, partition);
        if rises {
            if partition == SCAN {
                self.0.retain(|(of, _), place| *of != topic || *place > position);
            }
            self.0.insert((topic, partition), position);
        }
        rises
    }

    /// Raises every place to at least where others stand.
    pub fn raise_all(&mut self, others: &Self) {
        for (topic, partition, position) in others.iter() {
            self.raise(topic, partition, position);
        }
    }

    /// All that have been begun.
    pub fn iter(&self) -> impl Iterator<Item = (Topic, i32, i64)> + '_ {
        self.0.iter().map(|((topic, partition), position)| (*topic, *partition, *position))
    }
}

/// What a frame's `cursor` says. As text: opaque to clients, URL-safe, short (a few dozen characters; some hundred for whoever talks to very many).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Of which lives (incarnation and generation) of the ledgers the places speak: a digest. Another one makes a cursor worthless.
    pub epoch: u32,
    /// When it was given, to the second: older than the logs are kept, and it is worth nothing.
    pub given: Timestamp,
    /// How far.
    pub places: Places,
}

/// What cannot be used as a cursor: unreadable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no cursor")]
pub struct NoCursor;

/// base64url of: version, epoch, seconds since 1970; then per topic its number, the place of the whole topic, and how many partitions stand further, each with how much further.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(48);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        write_number(&mut bytes, unsigned(self.given.unix_micros() / 1_000_000));
        for topic in Topic::ALL {
            let further: Vec<(i32, i64)> = self
                .places
                .0
                .iter()
                .filter(|((of, partition), _)| of == topic && *partition != SCAN)
                .map(|((_, p), at)| (*p, *at))
                .collect();
            let whole = self.places.at(*topic, SCAN);
            if whole == 0 && further.is_empty() {
                continue;
            }
            bytes.push(topic_number(*topic));
            write_number(&mut bytes, unsigned(whole));
            write_number(&mut bytes, further.len() as u64);
            for (partition, position) in further {
                write_number(&mut bytes, unsigned(i64::from(partition)));
                write_number(&mut bytes, unsigned(position.saturating_sub(whole)));
            }
        }
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = NoCursor;
    fn from_str(text: &str) -> Result<Self, NoCursor> {
        if text.len() > LONGEST_TEXT {
            return Err(NoCursor);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoCursor)?;
        read(&bytes).ok_or(NoCursor)
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn read(bytes: &[u8]) -> Option<Cursor> {
    let (version, rest) = bytes.split_first()?;
    let (epoch, mut rest) = rest.split_first_chunk::<4>()?;
    if *version != VERSION {
        return None;
    }
    let number = |rest: &mut &[u8]| i64::try_from(read_number(rest)?).ok();
    let given = OffsetDateTime::from_unix_timestamp(number(&mut rest)?).ok()?;
    let mut places = Places::default();
    while !rest.is_empty() {
        // A topic of another release means another cursor.
        let topic = read_topic(&mut rest)??;
        let whole = number(&mut rest)?;
        if whole > 0 {
            places.raise(topic, SCAN, whole);
        }
        let count = read_number(&mut rest).filter(|count| *count <= MOST_PLACES)?;
        for _ in 0..count {
            let partition = i32::try_from(number(&mut rest)?).ok()?;
            let position = whole.checked_add(number(&mut rest)?)?;
            places.raise(topic, partition, position);
        }
    }
    Some(Cursor { epoch: u32::from_be_bytes(*epoch), given: Timestamp::from(given), places })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn places() -> impl Strategy<Value = Places> {
        let place = (prop::sample::select(Topic::ALL), -1..=40_i32, prop_oneof![0..=i64::MAX, 0..=500_000_i64]);
        prop::collection::vec(place, 0..=60).prop_map(|raised| {
            let mut places = Places::default();
            for (topic, partition, position) in raised {
                places.raise(topic, partition, position);
            }
            places
        })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(epoch: u32, seconds in 0..=253_402_300_799_i64, places in places()) {
            let given = Timestamp::from(OffsetDateTime::from_unix_timestamp(seconds).expect("before the year 10000"));
            let cursor = Cursor { epoch, given, places };
            let text = cursor.to_string();
            prop_assert!(text.len() <= LONGEST_TEXT);
            prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{text}");
            prop_assert_eq!(text.parse(), Ok(cursor));
        }

        #[test]
        fn garbage_is_read_or_refused_but_never_harms(text in ".*", bytes: Vec<u8>, rest: Vec<u8>) {
            let _: Result<Cursor, _> = text.parse();
            let _: Result<Cursor, _> = URL_SAFE_NO_PAD.encode(&bytes).parse();
            let plausible = [&[VERSION, 0, 0, 0, 0, 1], &rest[..]].concat();
            if let Ok(cursor) = URL_SAFE_NO_PAD.encode(plausible).parse::<Cursor>() {
                prop_assert!(cursor.places.iter().all(|(_, partition, position)| partition >= SCAN && position > 0));
            }
        }

        #[test]
        fn places_only_rise_and_say_so_in_any_order(raised in prop::collection::vec((-1..=3_i32, 0..=50_i64), 0..=40)) {
            let mut places = Places::default();
            let (mut whole, mut single) = (0, [0; 4]);
            for (partition, position) in raised {
                let before = places.clone();
                let rose = places.raise(Topic::Messages, partition, position);
                prop_assert_eq!(rose, position > before.at(Topic::Messages, partition));
                match usize::try_from(partition) {
                    Ok(partition) => single[partition] = position.max(single[partition]),
                    Err(_) => whole = position.max(whole),
                }
                for (partition, seen) in (0..).zip(single) {
                    prop_assert_eq!(places.at(Topic::Messages, partition), whole.max(seen));
                }
                prop_assert_eq!(places.at(Topic::Users, 0), 0);
            }
        }
    }

    #[test]
    fn a_cursor_is_short() {
        let mut places = Places::default();
        places.raise(Topic::Messages, SCAN, 12_345_678);
        places.raise(Topic::Users, SCAN, 234_567);
        let cursor = |places: &Places| Cursor { epoch: u32::MAX, given: crate::clock::now(), places: places.clone() }.to_string();
        assert!(cursor(&places).len() <= 32, "{}", cursor(&places));
        for partition in 0..12 {
            places.raise(Topic::Messages, partition, 12_345_678 + 1_000 * i64::from(partition + 1));
        }
        assert!(cursor(&places).len() <= 100, "{}", cursor(&places));
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = Cursor { epoch: 7, given: crate::clock::now(), places: Places::default() }.to_string();
        assert!(good.parse::<Cursor>().is_ok());
        let long = "A".repeat(LONGEST_TEXT + 1);
        for text in [
            "",
            "A",
            "0",
            "null",
            "AgAAAAAA",
            "AQAAAAA",
            &format!("{good}="),
            &format!(" {good}"),
            &good[1..],
            &good[..good.len() - 2],
            &long,
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NoCursor), "{text}");
        }
    }
}
