//! The hash that decides an event's partition.

/// Kafka's murmur2 of a partition key: all 32 bits, as stored beside every event.
///
/// Source: `org.apache.kafka.common.utils.Utils.murmur2` (seed `0x9747b28c`), which every Kafka client's default partitioner
/// agrees with; computed once, at append, so that a client that hashes otherwise can never move a key.
#[must_use]
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the algorithm is defined on wrapping 32-bit words")]
pub fn key_hash(key: &str) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let data = key.as_bytes();
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    for (i, byte) in rest.iter().enumerate() {
        h ^= u32::from(*byte) << (8 * i);
    }
    if !rest.is_empty() {
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    (h ^ (h >> 15)) as i32
}

/// The partition of a key hash in a generation with `count` partitions: `(hash & 0x7fffffff) mod count`.
#[must_use]
pub fn partition(hash: i32, count: i32) -> i32 {
    (hash & 0x7fff_ffff) % count
}

#[cfg(test)]
mod tests {
    use super::key_hash;

    #[test]
    fn hashes_equal_those_of_kafkas_own_test_vectors() {
        // UtilsTest.testMurmur2 of Apache Kafka
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(key_hash(key), hash, "{key}");
        }
    }
}
