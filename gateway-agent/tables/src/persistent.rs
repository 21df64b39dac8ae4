//! Maps whose next version shares with the last nearly all that is the same.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};

/// A hash map in shards. A clone shares them, and a change copies the one shard that it is about, so that readers keep
/// the version that they have, and a version costs about the square root of its size. A look-up costs one step more than
/// that of a plain hash map; in a trie (rpds) it took three times as long with 10,000 host names.
#[derive(Clone)]
pub struct PersistentMap<K, V> {
    hasher: DefaultHashBuilder,
    /// None, or a power of two.
    shards: Vec<Arc<HashTable<(K, V)>>>,
    len: usize,
}

/// Entries that a shard has at most on average: no more than a few microseconds to copy.
const PER_SHARD: usize = 64;

/// How many times more shards there are once they are full; few enough for maps of every size to be in small ones.
const GROWTH: usize = 4;

impl<K: Clone + Eq + Hash, V: Clone> PersistentMap<K, V> {
    pub fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let shard = self.shards.get(self.place(hash))?;
        shard.find(hash, |(known, _)| known.borrow() == key).map(|(_, value)| value)
    }

    /// Sets the value of a key; None: it has none any more.
    pub fn put(&mut self, key: K, value: Option<V>) {
        match value {
            Some(value) => self.insert(key, value),
            None => self.remove(&key),
        }
    }

    pub fn insert(&mut self, key: K, value: V) {
        if self.len >= self.shards.len() * PER_SHARD {
            self.grow();
        }
        let hash = self.hasher.hash_one(&key);
        let place = self.place(hash);
        let shard = Arc::make_mut(&mut self.shards[place]);
        if let Some((_, known)) = shard.find_mut(hash, |(known, _)| *known == key) {
            *known = value;
        } else {
            shard.insert_unique(hash, (key, value), |(key, _)| self.hasher.hash_one(key));
            self.len += 1;
        }
    }

    pub fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        let place = self.place(hash);
        let is_it = |(known, _): &(K, V)| known.borrow() == key;
        // A shard without it stays shared.
        let Some(shard) = self.shards.get_mut(place).filter(|shard| shard.find(hash, is_it).is_some()) else {
            return;
        };
        if let Ok(entry) = Arc::make_mut(shard).find_entry(hash, is_it) {
            entry.remove();
            self.len -= 1;
        }
    }

    fn grow(&mut self) {
        let shards = (self.shards.len() * GROWTH).max(1);
        let empty = Self { hasher: self.hasher.clone(), shards: vec![Arc::default(); shards], len: 0 };
        let smaller = std::mem::replace(self, empty);
        self.extend(smaller.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
}

impl<K, V> PersistentMap<K, V> {
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// The shard's index; any if there is none. Other bits than those by which a shard finds its entries.
    fn place(&self, hash: u64) -> usize {
        (hash >> 32) as usize & self.shards.len().wrapping_sub(1)
    }
}

impl<K, V> Default for PersistentMap<K, V> {
    fn default() -> Self {
        Self { hasher: DefaultHashBuilder::default(), shards: Vec::new(), len: 0 }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Extend<(K, V)> for PersistentMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for PersistentMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_version_stays_what_it_was(
            changes in prop::collection::vec((0..1_000_u32, prop::option::of(any::<u8>())), 0..3_000),
        ) {
            let (mut map, mut model) = (PersistentMap::default(), BTreeMap::new());
            let mut versions = Vec::new();
            for (index, (key, value)) in changes.into_iter().enumerate() {
                if index % 500 == 0 {
                    versions.push((map.clone(), model.clone()));
                }
                map.put(key, value);
                match value {
                    Some(value) => drop(model.insert(key, value)),
                    None => drop(model.remove(&key)),
                }
            }
            versions.push((map, model));
            for (map, model) in versions {
                let found: BTreeMap<_, _> = map.iter().copied().collect();
                prop_assert_eq!(&found, &model);
                prop_assert_eq!((map.len, map.is_empty()), (model.len(), model.is_empty()));
                prop_assert!((0..1_000).all(|key| map.get(&key) == model.get(&key)));
            }
        }
    }
}
