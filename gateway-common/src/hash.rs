//! Where a flow may stand in the tables: an almost-universal hash, so that nobody without the key can compute flows
//! that collide.

use crate::maps::{FlowKey, HashKey, PORT_GROUP, Settings};

/// Different purposes get different sequences from the same key; the values are arbitrary and distinct.
pub const FORWARD: u64 = 1;
pub const REVERSE: u64 = 2;
const REVERSE_GROUP: u64 = 3;
pub const PORTS: u64 = 4;
pub const SELECTION: u64 = 5;
pub const STEER: u64 = 6;

/// Odd, with about half of its bits set: the multiplier of the finalizer of David Stafford's mix 13.
const MIX: u64 = 0x94d0_49bb_1331_11eb;
/// 2^64 divided by the golden ratio (Knuth, TAOCP 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// NH of UMAC (RFC 4418 section 5.2.2): five products that don't wait for each other; then a mixer, since buckets
/// are taken from the upper bits of both halves.
#[inline(always)]
pub fn hash(words: &[u64; 5], key: &HashKey, purpose: u64) -> u64 {
    let mut sum = purpose.wrapping_mul(GOLDEN);
    let mut i = 0;
    while i < 5 {
        let low = (words[i] as u32).wrapping_add(key[2 * i]);
        let high = ((words[i] >> 32) as u32).wrapping_add(key[2 * i + 1]);
        sum = sum.wrapping_add(low as u64 * high as u64);
        i += 1;
    }
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(MIX);
    sum ^= sum >> 32;
    sum = sum.wrapping_mul(MIX);
    sum ^ sum >> 32
}

/// The two buckets that may hold a key, and the tag that its word carries there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub first: u32,
    pub second: u32,
    pub tag: u16,
}

impl Place {
    /// `buckets` is at least 2 and need not be a power of two.
    #[inline(always)]
    fn new(hash: u64, buckets: u32) -> Self {
        let first = scale(hash as u32, buckets);
        let second = scale((hash >> 32) as u32, buckets);
        let second = if second == first { (first == 0) as u32 } else { second };
        Self { first, second, tag: (hash.wrapping_mul(GOLDEN) >> 48) as u16 }
    }

    #[inline(always)]
    pub fn forward(key: &FlowKey, settings: &Settings) -> Self {
        Self::new(hash(key.words(), &settings.flow_key, FORWARD), settings.forward_buckets)
    }

    #[inline(always)]
    pub fn reverse(key: &FlowKey, settings: &Settings) -> Self {
        Self::new(hash(key.words(), &settings.flow_key, REVERSE), settings.reverse_buckets)
    }

    /// Of answers to the node's own address and an SNAT port. Eight neighbouring ports share their buckets, and the
    /// port's low bits are the tag's: two buckets show which ports of a group are free.
    #[inline(always)]
    pub fn reverse_in_group(key: &FlowKey, settings: &Settings) -> Self {
        let mut words = *key.words();
        words[4] &= !(GROUP_MASK << 16);
        let mut place = Self::new(hash(&words, &settings.flow_key, REVERSE_GROUP), settings.reverse_buckets);
        place.tag = place.tag & !(GROUP_MASK as u16) | key.destination_port & GROUP_MASK as u16;
        place
    }
}

/// The port's bits that a group leaves out.
pub const GROUP_MASK: u64 = PORT_GROUP as u64 - 1;

/// Answers to other ports can't be in a group.
#[inline(always)]
pub fn in_snat_range(port: u16, settings: &Settings) -> bool {
    (port as u32).wrapping_sub(settings.snat_first_port) < settings.snat_groups * PORT_GROUP
}

/// A number below `n`, each about equally often, from 32 uniform bits (Lemire 2019, without the rejection: the bias
/// is below n / 2^32).
#[inline(always)]
pub const fn scale(bits: u32, n: u32) -> u32 {
    ((bits as u64 * n as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::{TCP, Timeouts};

    fn settings() -> Settings {
        Settings {
            layout: 1,
            forward_buckets: 128,
            reverse_buckets: 256,
            snat_first_port: 2048,
            snat_groups: 100,
            flow_key: core::array::from_fn(|i| (i as u32 + 1).wrapping_mul(0x9e37_79b1)),
            selection_key: [0; 10],
            timeouts: Timeouts {
                tcp_opening: 0,
                tcp_established: 0,
                tcp_half_closed: 0,
                tcp_endpoint_closed: 0,
                tcp_closed: 0,
                udp_opening: 0,
                udp_established: 0,
            },
        }
    }

    fn key(destination_port: u16) -> FlowKey {
        FlowKey { source_port: 8080, destination_port, protocol: TCP, ..FlowKey::default() }
    }

    #[test]
    fn ports_of_a_group_share_buckets_and_differ_in_the_tag() {
        let settings = settings();
        let first = Place::reverse_in_group(&key(2048), &settings);
        for port in 2049..2056 {
            let place = Place::reverse_in_group(&key(port), &settings);
            assert_eq!((place.first, place.second), (first.first, first.second));
            assert_eq!(place.tag, first.tag + (port - 2048));
        }
        let next = Place::reverse_in_group(&key(2056), &settings);
        assert_ne!((next.first, next.second), (first.first, first.second));
    }

    #[test]
    fn both_places_are_different_buckets_and_all_are_used() {
        let settings = settings();
        let mut used = [0u32; 128];
        for port in 30000..60000 {
            let place = Place::forward(&key(port), &settings);
            assert_ne!(place.first, place.second);
            used[place.first as usize] += 1;
        }
        // 30,000 keys in 128 buckets: 234 each, standard deviation 15.3; six of those either way.
        assert!(used.iter().all(|&n| (142..=326).contains(&n)), "{used:?}");
    }
}
