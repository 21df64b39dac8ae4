//! Values by host name.

use hashbrown::HashMap;

use crate::HostPattern;

/// Values of host names, found by what they match.
#[derive(Clone, Debug)]
pub(super) struct HostMap<T> {
    exact: HashMap<Box<str>, T>,
    /// By what follows `*.`.
    below: HashMap<Box<str>, T>,
    any: Option<T>,
}

impl<T> HostMap<T> {
    pub(super) fn get(&self, pattern: &HostPattern) -> Option<&T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.get(name),
            HostPattern::Below(suffix) => self.below.get(suffix),
            HostPattern::Any => self.any.as_ref(),
        }
    }

    /// The values of all names that match this host, the most specific one first. A host has at most 127 labels, as
    /// long as a name has at most 253 characters.
    pub(super) fn matching<'a>(&'a self, host: &str) -> impl Iterator<Item = &'a T> {
        let dots =
            host.match_indices('.').filter(|_| !self.below.is_empty()).skip_while(|(dot, _)| *dot == 0);
        let wildcards = dots.filter_map(|(dot, _)| self.below.get(&host[dot + 1..]));
        self.exact.get(host).into_iter().chain(wildcards).chain(&self.any)
    }
}

impl<T> FromIterator<(HostPattern, T)> for HostMap<T> {
    fn from_iter<I: IntoIterator<Item = (HostPattern, T)>>(values: I) -> Self {
        let mut map = Self { exact: HashMap::new(), below: HashMap::new(), any: None };
        for (pattern, value) in values {
            match pattern {
                HostPattern::Exact(name) => drop(map.exact.insert(name, value)),
                HostPattern::Below(suffix) => drop(map.below.insert(suffix, value)),
                HostPattern::Any => map.any = Some(value),
            }
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
