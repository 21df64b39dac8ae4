//! The matches of HTTPRoutes on one host name, by path.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use regex_automata::meta::Regex;
use regex_automata::{Anchored, Input, PatternSet};
use smallvec::SmallVec;

use super::MatchIndex;
use super::candidate::Candidate;
use super::head::{RequestFields, RequestHead};
use crate::http::pattern::{self, Pattern};
use crate::http::{HttpMatch, HttpRule, PathMatch};

/// Matches of one path, in order of precedence; most often one.
type Bucket = SmallVec<[Candidate<HttpMatch>; 1]>;

#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<Box<str>, Bucket>,
    /// None: no match has a regular expression for its path.
    patterns: Option<Patterns>,
    prefixes: Prefixes,
}

/// Matches by regular expression, all of which are tried at once.
#[derive(Debug)]
struct Patterns {
    set: Regex,
    /// For each expression its matches, with their ranks among those of all expressions; less comes first.
    buckets: Vec<Vec<(usize, Candidate<HttpMatch>)>>,
}

/// Matches by prefix, found by a hash that is carried along the path from slash to slash.
#[derive(Debug, Default)]
struct Prefixes {
    hasher: DefaultHashBuilder,
    buckets: HashTable<(Box<str>, Bucket)>,
    /// How many segments prefixes have, as bits: a path is looked up only where one may end. All that have as many as the
    /// last bit stands for, or more, share it.
    depths: u64,
}

impl MatchIndex<HttpMatch> for Paths {
    fn of(candidates: Vec<(&HttpMatch, Candidate<HttpMatch>)>) -> Self {
        let mut paths = Self::default();
        let mut by_pattern = Vec::new();
        for (matched, candidate) in candidates {
            match &matched.path {
                PathMatch::Exact(path) => {
                    paths.exact.entry(path.as_str().into()).or_default().push(candidate);
                }
                PathMatch::Prefix(path) => paths.prefixes.insert(path.as_prefix(), candidate),
                PathMatch::Pattern(pattern) => by_pattern.push((pattern, candidate)),
            }
        }
        paths.patterns = (!by_pattern.is_empty()).then(|| Patterns::of(by_pattern));
        paths
    }
}

impl Paths {
    pub(super) fn pick<F: RequestFields>(&self, head: &RequestHead<'_, F>) -> Option<&Arc<HttpRule>> {
        let exact = || first(self.exact.get(head.path)?, head);
        let by_pattern = || self.patterns.as_ref()?.pick(head);
        exact().or_else(by_pattern).or_else(|| self.prefixes.pick(head))
    }
}

fn first<'a, F: RequestFields>(bucket: &'a Bucket, head: &RequestHead<'_, F>) -> Option<&'a Arc<HttpRule>> {
    bucket.iter().find(|candidate| candidate.meets(head)).map(Candidate::rule)
}

impl Patterns {
    fn of(candidates: Vec<(&Pattern, Candidate<HttpMatch>)>) -> Self {
        let mut ids = HashMap::new();
        let mut patterns = Vec::new();
        let mut buckets: Vec<Vec<_>> = Vec::new();
        for (rank, (pattern, candidate)) in candidates.into_iter().enumerate() {
            let id = *ids.entry(pattern).or_insert_with(|| {
                patterns.push(pattern);
                buckets.push(Vec::new());
                buckets.len() - 1
            });
            buckets[id].push((rank, candidate));
        }
        Self { set: pattern::regex_set(&patterns), buckets }
    }

    fn pick<F: RequestFields>(&self, head: &RequestHead<'_, F>) -> Option<&Arc<HttpRule>> {
        let mut matching = PatternSet::new(self.buckets.len());
        let path = Input::new(head.path.as_bytes()).anchored(Anchored::Yes);
        self.set.which_overlapping_matches(&path, &mut matching);
        let firsts = matching
            .iter()
            .filter_map(|id| self.buckets[id.as_usize()].iter().find(|(_, candidate)| candidate.meets(head)));
        firsts.min_by_key(|(rank, _)| *rank).map(|(_, candidate)| candidate.rule())
    }
}

impl Prefixes {
    fn insert(&mut self, prefix: &str, candidate: Candidate<HttpMatch>) {
        let hasher = &self.hasher;
        let hash_of = |(prefix, _): &(Box<str>, Bucket)| hash(hasher, prefix);
        let entry = self.buckets.entry(hash(hasher, prefix), |(one, _)| **one == *prefix, hash_of);
        entry.or_insert_with(|| (prefix.into(), Bucket::new())).into_mut().1.push(candidate);
        self.depths |= depth_bit(prefix.matches('/').count());
    }

    fn pick<F: RequestFields>(&self, head: &RequestHead<'_, F>) -> Option<&Arc<HttpRule>> {
        // Few of a path's prefixes are those of a route.
        let mut found: SmallVec<[&Bucket; 8]> = SmallVec::new();
        for (depth, (end, hash)) in steps(&self.hasher, head.path).enumerate() {
            let bit = depth_bit(depth);
            if self.depths & bit != 0 {
                let bucket = self.buckets.find(hash, |(prefix, _)| **prefix == head.path[..end]);
                found.extend(bucket.map(|(_, bucket)| bucket));
            }
            // No prefix is longer; behind the last bit nobody knows.
            if self.depths < bit << 1 {
                break;
            }
        }
        found.into_iter().rev().find_map(|bucket| first(bucket, head))
    }
}

fn depth_bit(segments: usize) -> u64 {
    1 << segments.min(63)
}

/// The hash of a prefix: that of its last step.
fn hash(hasher: &DefaultHashBuilder, prefix: &str) -> u64 {
    let (_, hash) = steps(hasher, prefix).last().expect("the first step is there for every path");
    hash
}

/// Where each prefix of a path ends, from the empty one to the path itself, and the hash of what it holds so far.
fn steps(hasher: &DefaultHashBuilder, path: &str) -> impl Iterator<Item = (usize, u64)> {
    let mut hasher = hasher.build_hasher();
    let root = (0, hasher.finish());
    let mut rest = path.strip_prefix('/').map(str::as_bytes);
    let mut end = 0;
    let steps = std::iter::from_fn(move || {
        let segments = rest?;
        // Segments are short: a loop over their bytes is done before a search for many has begun.
        let len = segments.iter().position(|byte| *byte == b'/').unwrap_or(segments.len());
        hasher.write(&segments[..len]);
        hasher.write_u8(b'/');
        end += 1 + len;
        rest = segments.get(len + 1..);
        Some((end, hasher.finish()))
    });
    std::iter::once(root).chain(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_depths_have_a_bit() {
        assert_eq!([0, 1, 62, 63, 64, 1000].map(|it| depth_bit(it).trailing_zeros()), [0, 1, 62, 63, 63, 63]);
    }

    #[test]
    fn steps_end_at_slashes() {
        let hasher = DefaultHashBuilder::default();
        for (path, ends) in [
            ("", &[0][..]),
            ("/", &[0, 1]),
            ("/a", &[0, 2]),
            ("/a/", &[0, 2, 3]),
            ("/ab/c", &[0, 3, 5]),
            ("*", &[0]),
        ] {
            let found: Vec<_> = steps(&hasher, path).collect();
            assert_eq!(found.iter().map(|(end, _)| *end).collect::<Vec<_>>(), ends, "{path}");
            assert!(found.iter().all(|(end, its_hash)| hash(&hasher, &path[..*end]) == *its_hash), "{path}");
        }
    }
}
