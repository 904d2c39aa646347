//! `X-Consistency-Token`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemas::Topic;

use super::Mark;
use crate::number::{read_number, read_topic, topic_number, write_number};

/// Every partition of every topic in two generations is far below.
const MOST_MARKS: usize = 64;
/// What that many can take.
const LONGEST_TEXT: usize = 2_048;
const VERSION: &str = "1.";

/// What `X-Consistency-Token` says: marks, and the ledgers' incarnations in which they count. Text: `1.<base64url>`; unreadable ones are 422.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsistencyToken {
    /// First four bytes of the incarnation, per topic; marks of another incarnation ask for nothing.
    pub incarnations: BTreeMap<Topic, u32>,
    /// What to wait for.
    pub marks: Vec<Mark>,
}

impl ConsistencyToken {
    /// Writes it: of each place the highest mark, and of more than 64 places the first.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut highest: BTreeMap<(Topic, i32, i32), i64> = BTreeMap::new();
        for mark in &self.marks {
            let position = highest.entry((mark.topic, mark.generation, mark.partition)).or_insert(mark.position);
            *position = mark.position.max(*position);
        }
        let mut bytes = Vec::with_capacity(64);
        write_number(&mut bytes, self.incarnations.len() as u64);
        for (topic, incarnation) in &self.incarnations {
            bytes.push(topic_number(*topic));
            bytes.extend_from_slice(&incarnation.to_be_bytes());
        }
        write_number(&mut bytes, highest.len().min(MOST_MARKS) as u64);
        for ((topic, generation, partition), position) in highest.into_iter().take(MOST_MARKS) {
            bytes.push(topic_number(topic));
            for n in [i64::from(generation), i64::from(partition), position] {
                write_number(&mut bytes, u64::try_from(n).unwrap_or(0));
            }
        }
        format!("{VERSION}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Reads it; `None` when it is nonsense. Marks of topics that only a newer release knows are left out.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text.len() > LONGEST_TEXT {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.strip_prefix(VERSION)?).ok()?;
        let mut rest = bytes.as_slice();
        let mut token = Self::default();
        for _ in 0..read_count(&mut rest)? {
            let topic = read_topic(&mut rest)?;
            let (incarnation, after) = rest.split_first_chunk::<4>()?;
            rest = after;
            if let Some(topic) = topic {
                token.incarnations.insert(topic, u32::from_be_bytes(*incarnation));
            }
        }
        for _ in 0..read_count(&mut rest)? {
            let topic = read_topic(&mut rest)?;
            let generation = i32::try_from(read_number(&mut rest)?).ok()?;
            let partition = i32::try_from(read_number(&mut rest)?).ok()?;
            let position = i64::try_from(read_number(&mut rest)?).ok()?;
            if let Some(topic) = topic {
                token.marks.push(Mark { topic, generation, partition, position });
            }
        }
        rest.is_empty().then_some(token)
    }
}

fn read_count(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(read_number(rest)?).ok().filter(|count| *count <= MOST_MARKS)
}

#[cfg(test)]
mod tests {
    use super::{ConsistencyToken, LONGEST_TEXT, MOST_MARKS};
    use crate::marks::Mark;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use proptest::prelude::*;
    use schemas::Topic;

    fn mark() -> impl Strategy<Value = Mark> {
        (prop::sample::select(Topic::ALL), 1..=i32::MAX, 0..=i32::MAX, 0..=i64::MAX)
            .prop_map(|(topic, generation, partition, position)| Mark { topic, generation, partition, position })
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            incarnations in prop::collection::btree_map(prop::sample::select(Topic::ALL), any::<u32>(), 0..=2),
            marks in prop::collection::btree_map(mark().prop_map(|m| (m.topic, m.generation, m.partition)), 0..=i64::MAX, 0..=MOST_MARKS),
        ) {
            let marks = marks.into_iter().map(|((topic, generation, partition), position)| Mark { topic, generation, partition, position }).collect();
            let token = ConsistencyToken { incarnations, marks };
            let text = token.encode();
            prop_assert!(text.len() <= LONGEST_TEXT, "{}", text.len());
            prop_assert_eq!(ConsistencyToken::decode(&text), Some(token));
        }

        #[test]
        fn garbage_is_read_or_refused_but_never_harms(text in ".*", bytes: Vec<u8>) {
            let _ = ConsistencyToken::decode(&text);
            if let Some(token) = ConsistencyToken::decode(&format!("1.{}", URL_SAFE_NO_PAD.encode(&bytes))) {
                prop_assert!(token.marks.len() <= MOST_MARKS);
                prop_assert!(token.marks.iter().all(|mark| mark.position >= 0 && mark.partition >= 0));
            }
        }
    }

    #[test]
    fn of_two_marks_for_one_place_the_higher_is_written() {
        let at = |position| Mark { topic: Topic::Messages, generation: 1, partition: 3, position };
        let token = ConsistencyToken { marks: vec![at(9), at(4)], ..ConsistencyToken::default() };
        assert_eq!(ConsistencyToken::decode(&token.encode()).map(|token| token.marks), Some(vec![at(9)]));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = ConsistencyToken { marks: vec![], ..ConsistencyToken::default() }.encode();
        assert!(ConsistencyToken::decode(&good).is_some());
        let too_long = format!("1.{}", "A".repeat(LONGEST_TEXT));
        for text in ["", "1.", "2.AAA", "AAA", "1.AAA=", "1.AA AA", "1.AAAA", "1.gICAgICAgICAgICA", "1._____w", &too_long] {
            assert_eq!(ConsistencyToken::decode(text), None, "{text}");
        }
        assert_eq!(ConsistencyToken::decode(&good[..good.len() - 1]), None);
    }
}
