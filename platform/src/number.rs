//! Numbers and topics in tokens that clients carry.

use schemas::Topic;

/// Never reused: tokens outlive releases.
pub(crate) const fn topic_number(topic: Topic) -> u8 {
    match topic {
        Topic::Auth => 1,
        Topic::Messages => 2,
        Topic::Users => 3,
    }
}

/// `Some(None)`: of a topic that this release does not know.
pub(crate) fn read_topic(rest: &mut &[u8]) -> Option<Option<Topic>> {
    let (first, after) = rest.split_first()?;
    *rest = after;
    Some(Topic::ALL.iter().copied().find(|topic| topic_number(*topic) == *first))
}

/// LEB128, as in protocol buffers.
pub(crate) fn write_number(bytes: &mut Vec<u8>, mut n: u64) {
    loop {
        let low = n.to_le_bytes()[0] & 0x7f;
        n >>= 7;
        bytes.push(if n == 0 { low } else { low | 0x80 });
        if n == 0 {
            return;
        }
    }
}

/// Of at most 63 bits.
pub(crate) fn read_number(rest: &mut &[u8]) -> Option<u64> {
    let mut n: u64 = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        n |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(n);
        }
    }
    None
}
