//! How long things take, in buckets.

use std::array;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::series::Count;

/// Upper ends of the buckets, in microseconds; one more bucket has no end. From what a request on the same node takes
/// to the time-outs of clients; at most a factor of 2.5 between neighbours where answers usually are.
pub const BOUNDS: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 10_000_000, 60_000_000,
];

#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [Count; BOUNDS.len() + 1],
    nanoseconds: Count,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: array::from_fn(|_| Count::default()), nanoseconds: Count::default() }
    }
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| bound * 1_000 < nanoseconds);
        self.buckets[bucket].add(1);
        self.nanoseconds.add(nanoseconds);
    }

    pub(super) fn add_to(&self, sum: &mut Distribution) {
        for (sum, bucket) in sum.buckets.iter_mut().zip(&self.buckets) {
            *sum += bucket.value();
        }
        sum.nanoseconds = sum.nanoseconds.wrapping_add(self.nanoseconds.value());
    }
}

/// What was observed, of all workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    /// In each bucket by itself; the last one has what is above all [`BOUNDS`].
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Of all that was observed.
    pub nanoseconds: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { buckets: [0; BOUNDS.len() + 1], nanoseconds: 0 }
    }
}

impl Distribution {
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below() {
        let histogram = Histogram::default();
        for (nanoseconds, times) in [(0, 1), (100_000, 2), (100_001, 4), (60_000_000_001, 8)] {
            (0..times).for_each(|_| histogram.observe(Duration::from_nanos(nanoseconds)));
        }
        let mut sum = Distribution::default();
        histogram.add_to(&mut sum);
        histogram.add_to(&mut sum);
        assert_eq!((sum.buckets[0], sum.buckets[1], sum.buckets[16], sum.count()), (6, 8, 16, 30));
        assert_eq!(sum.nanoseconds, 2 * (200_000 + 400_004 + 480_000_000_008));
    }
}
