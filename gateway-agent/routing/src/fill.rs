//! Trees without empty room.

use std::collections::BTreeMap;

/// Makes a tree anew of what it holds: one whose keys came in order has room for as much again, one that is made of all
/// at once has none.
pub(crate) fn fill<K: Ord, V>(tree: &mut BTreeMap<K, V>) {
    *tree = std::mem::take(tree).into_iter().collect();
}
