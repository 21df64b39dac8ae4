//! Values by host name.

use crate::HostPattern;
use crate::persistent::PersistentMap;

/// Values of host names, found by what they match.
#[derive(Clone, Debug)]
pub(super) struct HostMap<T> {
    exact: PersistentMap<Box<str>, T>,
    /// By what follows `*.`.
    below: PersistentMap<Box<str>, T>,
    any: Option<T>,
}

impl<T: Clone> HostMap<T> {
    pub(super) fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Below(suffix) => self.below.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// None: the name has no value any more.
    pub(super) fn put(&mut self, pattern: HostPattern, value: Option<T>) {
        match pattern {
            HostPattern::Exact(name) => self.exact.put(name, value),
            HostPattern::Below(suffix) => self.below.put(suffix, value),
            HostPattern::Any => self.any = value,
        }
    }

    /// All names that have a value.
    pub(super) fn patterns(&self) -> impl Iterator<Item = HostPattern> {
        let exact = self.exact.iter().map(|(name, _)| HostPattern::Exact(name.clone()));
        let below = self.below.iter().map(|(suffix, _)| HostPattern::Below(suffix.clone()));
        exact.chain(below).chain(self.any.as_ref().map(|_| HostPattern::Any))
    }

    /// The values of all names that match this host, the most specific one first. A host has at most 127 labels, as
    /// long as a name has at most 253 characters.
    pub(super) fn matching<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a T> {
        // Most listeners have no wildcard, and then nothing of the name is looked at but as a whole.
        let labels = if self.below.is_empty() { "" } else { host };
        let dots = labels.bytes().enumerate().skip(1).filter(|(_, byte)| *byte == b'.');
        let wildcards = dots.filter_map(|(dot, _)| self.below.get(&host[dot + 1..]));
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.any)
    }
}

impl<T> Default for HostMap<T> {
    fn default() -> Self {
        Self { exact: PersistentMap::default(), below: PersistentMap::default(), any: None }
    }
}

impl<T: Clone> FromIterator<(HostPattern, T)> for HostMap<T> {
    fn from_iter<I: IntoIterator<Item = (HostPattern, T)>>(values: I) -> Self {
        let mut map = Self::default();
        for (pattern, value) in values {
            map.put(pattern, Some(value));
        }
        map
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_name_comes_first() {
        let names = ["", "*.com", "*.example.com", "a.example.com", "*.a.example.com", "example.com"];
        let map: HostMap<_> =
            names.iter().map(|name| (HostPattern::parse(name).expect("a name"), *name)).collect();
        for (host, wanted) in [
            ("a.example.com", &["a.example.com", "*.example.com", "*.com", ""][..]),
            ("x.a.example.com", &["*.a.example.com", "*.example.com", "*.com", ""]),
            ("example.com", &["example.com", "*.com", ""]),
            (".example.com", &["*.com", ""]),
            ("example.org", &[""]),
            ("", &[""]),
        ] {
            assert_eq!(map.matching(host).copied().collect::<Vec<_>>(), wanted, "{host}");
        }
    }
}
