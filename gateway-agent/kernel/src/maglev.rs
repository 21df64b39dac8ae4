//! Maglev hashing (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section
//! 3.4): a ring in which every endpoint has an equal share, and keeps nearly all of it when another comes or goes.

use std::net::SocketAddr;

use crate::seed::{fnv1a, split_mix};

/// Places for each endpoint: shares differ by at most about 1 % (section 5.3 of the paper).
const PLACES: u32 = 100;
/// The longest ring; the smaller size of the paper's section 5.3.
const LONGEST: u32 = 65_537;

/// Most Services have no more endpoints, and they come and go one by one, as their nodes do.
const FEW: usize = 4;

/// The length of a ring for that many endpoints: a prime of at least 100 places for each, and a matter of the next
/// power of two. A change of length moves every share, so it must be rare: few endpoints have the same.
pub(crate) fn ring_length(endpoints: usize) -> u32 {
    if endpoints <= 1 {
        return u32::try_from(endpoints).unwrap_or(0);
    }
    let wanted =
        u32::try_from(endpoints.max(FEW).next_power_of_two()).ok().and_then(|n| n.checked_mul(PLACES));
    wanted.map_or(LONGEST, next_prime)
}

/// A shorter length for the same endpoints, for when places run short; None: there is none that gives each a place.
pub(crate) fn shorter_length(length: u32, endpoints: usize) -> Option<u32> {
    let shorter = next_prime(length / 2);
    (shorter < length && shorter as usize > endpoints).then_some(shorter)
}

/// For each place, the index of its endpoint. The same for every order of endpoints but for the indices, if they are
/// sorted.
pub(crate) fn ring(endpoints: &[SocketAddr], length: u32) -> Vec<u32> {
    const EMPTY: u32 = u32::MAX;
    if endpoints.is_empty() || length == 0 {
        return Vec::new();
    }
    let mut preferences: Vec<Preference> = endpoints.iter().map(|e| Preference::of(*e, length)).collect();
    let mut ring = vec![EMPTY; length as usize];
    let mut filled = 0;
    // In turns, each endpoint takes the next free place of its own permutation.
    loop {
        for (index, preference) in (0u32..).zip(&mut preferences) {
            let place = loop {
                let place = preference.next_place(length);
                if ring[place] == EMPTY {
                    break place;
                }
            };
            ring[place] = index;
            filled += 1;
            if filled == length {
                return ring;
            }
        }
    }
}

/// An endpoint's permutation of the places: every `skip`-th from `place` on. All are met since the length is prime.
struct Preference {
    place: u32,
    skip: u32,
}

impl Preference {
    fn of(endpoint: SocketAddr, length: u32) -> Self {
        let mut state = fnv1a(&name(endpoint));
        let place = below(split_mix(&mut state), length);
        let skip = if length > 1 { 1 + below(split_mix(&mut state), length - 1) } else { 0 };
        Self { place, skip }
    }

    fn next_place(&mut self, length: u32) -> usize {
        let place = self.place;
        // Both are below 2^17.
        self.place = (place + self.skip) % length;
        place as usize
    }
}

/// What an endpoint is called on every node: address (IPv4 as IPv4-mapped IPv6) and port, network byte order.
fn name(endpoint: SocketAddr) -> [u8; 18] {
    let mut name = [0; 18];
    name[..16].copy_from_slice(&crate::address::mapped(endpoint.ip()));
    name[16..].copy_from_slice(&endpoint.port().to_be_bytes());
    name
}

/// `hash`, scaled to `0..limit`.
fn below(hash: u64, limit: u32) -> u32 {
    let scaled = ((hash >> 32) * u64::from(limit)) >> 32;
    u32::try_from(scaled).unwrap_or(0)
}

/// At least `from`, at most [`LONGEST`].
fn next_prime(from: u32) -> u32 {
    (from..=LONGEST).find(|n| is_prime(*n)).unwrap_or(LONGEST)
}

fn is_prime(n: u32) -> bool {
    n >= 2 && (2..=n.isqrt()).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn endpoints(count: u32) -> Vec<SocketAddr> {
        (0..count).map(|i| SocketAddr::from((Ipv4Addr::from(0x0a00_0001 + i * 7), 8080))).collect()
    }

    /// Who has each place, by address.
    fn owners(endpoints: &[SocketAddr], length: u32) -> Vec<SocketAddr> {
        ring(endpoints, length).iter().map(|i| endpoints[*i as usize]).collect()
    }

    #[test]
    fn lengths_are_primes_with_100_places_for_each() {
        for (count, length) in [
            (0, 0),
            (1, 1),
            (2, 401),
            (3, 401),
            (4, 401),
            (5, 809),
            (100, 12_809),
            (500, 51_203),
            (600, 65_537),
        ] {
            assert_eq!(ring_length(count), length, "{count}");
            assert!(count < 2 || is_prime(length));
        }
        assert_eq!(shorter_length(809, 5), Some(409));
        assert_eq!(shorter_length(11, 8), None);
    }

    #[test]
    fn shares_are_even() {
        for count in [2, 3, 10, 64, 300] {
            let endpoints = endpoints(count);
            let length = ring_length(endpoints.len());
            let mut shares = BTreeMap::<_, u32>::new();
            for owner in owners(&endpoints, length) {
                *shares.entry(owner).or_default() += 1;
            }
            // Turns are taken, so shares differ by one at most.
            assert!(shares.values().all(|s| (length / count..=length / count + 1).contains(s)), "{shares:?}");
        }
    }

    #[test]
    fn a_removed_endpoint_moves_little_else() {
        for count in [3, 4, 60] {
            let all = endpoints(count);
            let before = owners(&all, ring_length(all.len()));
            let after = owners(&all[1..], ring_length(all.len() - 1));
            let moved = before.iter().zip(&after).filter(|(b, a)| **b != all[0] && b != a).count();
            // The paper's figure 12 shows a few per cent for tables 100 times the number of endpoints.
            assert!(moved * 20 < before.len(), "{moved} of {} moved", before.len());
        }
    }

    #[test]
    fn the_ring_is_the_same_on_every_node_and_in_every_version() {
        let ring = ring(&endpoints(3), 11);
        assert_eq!(ring, GOLDEN);
    }
    const GOLDEN: [u32; 11] = [1, 1, 1, 0, 1, 0, 2, 0, 2, 2, 0];

    proptest! {
        #[test]
        fn every_endpoint_has_a_place(count in 1u32..200) {
            let endpoints = endpoints(count);
            let owners = owners(&endpoints, ring_length(endpoints.len()));
            for endpoint in &endpoints {
                prop_assert!(owners.contains(endpoint));
            }
        }
    }
}
