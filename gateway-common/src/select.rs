//! Who gets a newcomer: one half of the hash picks the backend by its exact weight, the other a place of its ring.
//! Rings and key are the same on all nodes, and so is the choice.

use crate::{
    hash::scale,
    headers::Packet,
    maps::{MAX_BACKENDS, Ring, Split},
};

/// Whether the packet is addressed to the split's frontend.
#[inline(always)]
pub fn is_for(split: &Split, packet: &Packet) -> bool {
    let (key, to) = (&split.key, packet.flow_key());
    key.address == to.destination && key.port == to.destination_port && key.protocol == to.protocol
}

/// What a newcomer drew: a number below the sum of weights, or None if all weights are 0.
#[inline(always)]
pub const fn ticket(total: u32, hash: u64) -> Option<u32> {
    if total == 0 { None } else { Some(scale(hash as u32, total)) }
}

/// Index of the backend that a ticket falls to.
#[inline(always)]
pub fn backend(split: &Split, ticket: u32) -> usize {
    let mut i = 0;
    // The last one needs no look: sums from `count` on are the total, above every ticket.
    while i < MAX_BACKENDS - 1 && ticket >= split.cumulative[i] {
        i += 1;
    }
    i
}

/// Place in the array `maglev`, or None if the ring has no endpoint.
#[inline(always)]
pub fn place(ring: Ring, hash: u64) -> Option<u32> {
    let (offset, length) = (ring as u32, (ring >> 32) as u32);
    if length == 0 {
        return None;
    }
    Some(offset.wrapping_add(scale((hash >> 32) as u32, length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maps::FrontendKey;

    fn split(weights: &[u32]) -> Split {
        let mut split = Split {
            key: FrontendKey { address: [0; 16], port: 0, protocol: 0, reserved: 0 },
            frontend: 0,
            total: weights.iter().sum(),
            count: weights.len() as u32,
            flags: 0,
            cumulative: [weights.iter().sum(); MAX_BACKENDS],
            backend: [0; MAX_BACKENDS],
            ring: [0; MAX_BACKENDS],
        };
        let mut sum = 0;
        for (i, weight) in weights.iter().enumerate() {
            sum += weight;
            split.cumulative[i] = sum;
        }
        split
    }

    #[test]
    fn shares_are_exact() {
        for weights in [&[1][..], &[0, 1], &[1, 0, 3], &[90, 10], &[1; 16], &[0, 0, 5, 0, 5]] {
            let split = split(weights);
            let mut hits = [0u64; MAX_BACKENDS];
            let steps = 1u64 << 16;
            for i in 0..steps {
                hits[backend(&split, ticket(split.total, i << 16).unwrap())] += 1;
            }
            for (i, weight) in weights.iter().enumerate() {
                let exact = steps * u64::from(*weight) / u64::from(split.total);
                assert!(hits[i].abs_diff(exact) <= 1, "{weights:?}: backend {i} got {} of {exact}", hits[i]);
            }
        }
    }

    #[test]
    fn nobody_without_weight() {
        assert_eq!(ticket(0, 12345), None);
    }

    #[test]
    fn places_stay_inside_the_region() {
        let ring = 7 << 32 | 0x64;
        assert_eq!(place(ring, 0), Some(100));
        assert_eq!(place(ring, u64::MAX), Some(106));
        assert_eq!(place(0x64, u64::MAX), None);
    }
}
