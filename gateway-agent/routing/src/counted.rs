//! What several need, by how many do.

use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct Counted<K>(BTreeMap<K, usize>);

impl<K: Ord + Clone> Counted<K> {
    /// True: nobody needed it before.
    pub(crate) fn add(&mut self, key: &K) -> bool {
        if let Some(times) = self.0.get_mut(key) {
            *times += 1;
            return false;
        }
        self.0.insert(key.clone(), 1);
        true
    }

    /// True: nobody needs it any more.
    pub(crate) fn remove(&mut self, key: &K) -> bool {
        let Some(times) = self.0.get_mut(key) else { return false };
        *times -= 1;
        *times == 0 && self.0.remove(key).is_some()
    }
}

impl<K> Default for Counted<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}
