//! Indices of map entries. Those given back wait at the end of the line: counters and flows may name them for a while.

use std::collections::{BTreeSet, VecDeque};

#[derive(Debug)]
pub(crate) struct Ids {
    capacity: u32,
    /// Never used from here on.
    next: u32,
    freed: VecDeque<u32>,
}

impl Ids {
    /// Of `0..capacity`, those in `used` are taken.
    pub(crate) fn recover(capacity: u32, used: impl IntoIterator<Item = u32>) -> Self {
        let used: BTreeSet<u32> = used.into_iter().filter(|id| *id < capacity).collect();
        let next = used.last().map_or(0, |id| id + 1);
        Self { capacity, next, freed: (0..next).filter(|id| !used.contains(id)).collect() }
    }

    /// One that was never used, else the one that has been free for longest.
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        if self.next < self.capacity {
            self.next += 1;
            return Some(self.next - 1);
        }
        self.freed.pop_front()
    }

    pub(crate) fn free(&mut self, id: u32) {
        debug_assert!(id < self.next && !self.freed.contains(&id));
        self.freed.push_back(id);
    }

    /// How many could be allocated.
    pub(crate) fn free_count(&self) -> usize {
        (self.capacity - self.next) as usize + self.freed.len()
    }

    pub(crate) fn capacity(&self) -> u32 {
        self.capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_free_is_reused_first() {
        let mut ids = Ids::recover(4, [1]);
        assert_eq!([ids.allocate(), ids.allocate()], [Some(2), Some(3)], "never used");
        ids.free(3);
        ids.free(1);
        assert_eq!([ids.allocate(), ids.allocate(), ids.allocate()], [Some(0), Some(3), Some(1)]);
        assert_eq!(ids.allocate(), None);
    }

    proptest! {
        #[test]
        fn none_is_given_twice(used in prop::collection::btree_set(0u32..20, 0..20), steps in prop::collection::vec(any::<Option<u8>>(), 0..200)) {
            let mut ids = Ids::recover(16, used.iter().copied());
            let mut held: BTreeSet<u32> = used.into_iter().filter(|id| *id < 16).collect();
            for step in steps {
                match step {
                    None => {
                        let id = ids.allocate();
                        prop_assert_eq!(id.is_none(), held.len() == 16);
                        prop_assert!(id.is_none_or(|id| id < 16 && held.insert(id)));
                    }
                    Some(n) => {
                        if let Some(id) = held.iter().copied().nth(usize::from(n) % 16) {
                            held.remove(&id);
                            ids.free(id);
                        }
                    }
                }
            }
        }
    }
}
