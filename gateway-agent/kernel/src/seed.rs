//! Fixed hash functions: what every node must compute alike, in every version.

use gateway_common::maps::HashKey;

/// The key by which clients are spread: the 32-bit halves, low one first, of five outputs of [`split_mix`] that begin at the
/// seed's FNV-1a hash.
pub(crate) fn selection_key(seed: &str) -> HashKey {
    let mut state = fnv1a(seed.as_bytes());
    let mut key = HashKey::default();
    for pair in key.chunks_exact_mut(2) {
        let output = split_mix(&mut state).to_le_bytes();
        pair[0] = u32::from_le_bytes([output[0], output[1], output[2], output[3]]);
        pair[1] = u32::from_le_bytes([output[4], output[5], output[6], output[7]]);
    }
    key
}

/// FNV-1a with 64 bits; offset basis and prime of RFC 9923 section 5.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// The next output of `SplitMix64` (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The FNV authors' test vectors, and SplitMix64's first output for state 0.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        assert_eq!(split_mix(&mut 0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn seeds_make_different_keys() {
        assert_eq!(selection_key("one"), selection_key("one"));
        assert_ne!(selection_key("one"), selection_key("two"));
        assert!(selection_key("").iter().all(|word| *word != 0));
    }
}
