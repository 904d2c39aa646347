//! How names and addresses are compared when people look for each other: what a projection stores and a query asks must be made alike.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;

/// The form in which two texts are the same: without case, without the space around them, and however their characters were composed (NFC; RFC 6530 §10.1 asks for it of addresses).
///
/// Reserved addresses are digests of it, so it can never change.
#[must_use]
pub fn folded(text: &str) -> String {
    // Composed again: a small letter may compose otherwise than the capital did.
    text.trim().nfc().collect::<String>().to_lowercase().nfc().collect()
}

/// Everything that a folded text can be found by: its pieces of one, two and three characters, hashed. Sorted, each once.
///
/// Two pieces may share a number, so what is found by them has still to be compared.
#[must_use]
pub fn pieces(folded: &str) -> Vec<i32> {
    (1..=3).flat_map(|length| of_length(folded, length)).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The pieces that a text must have to contain this one: the longest that there are. None for an empty text.
#[must_use]
pub fn wanted_pieces(folded: &str) -> Vec<i32> {
    let length = folded.chars().count().min(3);
    if length == 0 { Vec::new() } else { of_length(folded, length).collect::<BTreeSet<_>>().into_iter().collect() }
}

fn of_length(text: &str, length: usize) -> impl Iterator<Item = i32> + '_ {
    let starts = text.char_indices().map(|(start, _)| start);
    // Where a piece that begins at each start ends: at the start `length` characters on, the last one at the end of the text.
    let ends = text.char_indices().map(|(start, _)| start).skip(length).chain(std::iter::once(text.len()));
    let enough = text.chars().count() >= length;
    starts.zip(ends).filter(move |_| enough).map(|(start, end)| hash(&text.as_bytes()[start..end]))
}

/// FNV-1a. Stored: never changes without a new build of every projection that stores it.
fn hash(piece: &[u8]) -> i32 {
    let hash = piece.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    i32::from_ne_bytes(hash.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::{folded, hash, pieces, wanted_pieces};

    fn hashed(pieces: &[&str]) -> Vec<i32> {
        let mut hashes: Vec<i32> = pieces.iter().map(|piece| hash(piece.as_bytes())).collect();
        hashes.sort_unstable();
        hashes
    }

    #[test]
    fn a_text_is_found_by_every_piece_of_one_to_three_characters() {
        assert_eq!(pieces("añña"), hashed(&["a", "ñ", "añ", "ññ", "ña", "aññ", "ñña"]));
        assert_eq!(pieces("a"), hashed(&["a"]));
        assert_eq!(pieces(""), Vec::<i32>::new());
    }

    #[test]
    fn whoever_contains_a_text_has_all_its_wanted_pieces() {
        let name = folded(" Jörg van den Ber‌g 漢字 ");
        let characters: Vec<char> = name.chars().collect();
        for from in 0..characters.len() {
            for to in from + 1..=characters.len() {
                let part: String = characters[from..to].iter().collect();
                let (all, wanted) = (pieces(&name), wanted_pieces(&part));
                assert!(!wanted.is_empty() && wanted.iter().all(|piece| all.contains(piece)), "{part}");
            }
        }
        assert_eq!(wanted_pieces(""), Vec::<i32>::new());
    }

    #[test]
    fn hashes_never_change_between_releases() {
        assert_eq!((hash(b"a"), hash(b"ann")), (-468_965_076, 355_060_760));
    }
}
