//! Which places of the flat `maglev` array belong to which ring.

use std::collections::BTreeMap;

/// Places from `offset` to `offset + len`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

/// First-fit allocator; neighbours that are free are one.
#[derive(Debug)]
pub(crate) struct Regions {
    capacity: u32,
    /// Length by offset.
    free: BTreeMap<u32, u32>,
}

impl Regions {
    pub(crate) fn new(capacity: u32) -> Self {
        Self { capacity, free: BTreeMap::from([(0, capacity)]) }
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }

    pub(crate) fn allocate(&mut self, len: u32) -> Option<Region> {
        let offset = *self.free.iter().find(|(_, free)| **free >= len)?.0;
        self.take(Region { offset, len }).then_some(Region { offset, len })
    }

    /// Takes exactly this region; false if part of it is taken or outside.
    pub(crate) fn take(&mut self, region: Region) -> bool {
        if region.len == 0 {
            return true;
        }
        let Some((&start, &len)) = self.free.range(..=region.offset).next_back() else { return false };
        let before = region.offset - start;
        let Some(after) = len.checked_sub(before).and_then(|rest| rest.checked_sub(region.len)) else {
            return false;
        };
        self.free.remove(&start);
        for (offset, len) in [(start, before), (region.offset + region.len, after)] {
            if len > 0 {
                self.free.insert(offset, len);
            }
        }
        true
    }

    pub(crate) fn free(&mut self, region: Region) {
        if region.len == 0 {
            return;
        }
        let Region { mut offset, mut len } = region;
        if let Some((&start, &before)) = self.free.range(..offset).next_back()
            && start + before == offset
        {
            self.free.remove(&start);
            offset = start;
            len += before;
        }
        if let Some(after) = self.free.remove(&(offset + len)) {
            len += after;
        }
        self.free.insert(offset, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn taken_regions_are_not_given_out() {
        let mut regions = Regions::new(100);
        assert!(regions.take(Region { offset: 10, len: 20 }));
        assert!(!regions.take(Region { offset: 25, len: 10 }), "overlaps");
        assert!(!regions.take(Region { offset: 90, len: 11 }), "outside");
        assert_eq!(regions.allocate(11), Some(Region { offset: 30, len: 11 }));
        assert_eq!(regions.allocate(10), Some(Region { offset: 0, len: 10 }));
        assert_eq!(regions.allocate(60), None);
    }

    proptest! {
        #[test]
        fn regions_never_overlap_and_merge_when_freed(steps in prop::collection::vec((any::<bool>(), 1u32..40), 1..200)) {
            let mut regions = Regions::new(256);
            let mut held: Vec<Region> = Vec::new();
            for (give, n) in steps {
                if give && !held.is_empty() {
                    regions.free(held.swap_remove(n as usize % held.len()));
                } else if let Some(region) = regions.allocate(n) {
                    prop_assert!(region.offset + region.len <= 256);
                    for other in &held {
                        prop_assert!(region.offset + region.len <= other.offset || other.offset + other.len <= region.offset);
                    }
                    held.push(region);
                }
            }
            for region in held {
                regions.free(region);
            }
            prop_assert_eq!(regions.free, BTreeMap::from([(0, 256)]));
        }
    }
}
