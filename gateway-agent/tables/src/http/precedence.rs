//! Which of several matches that a request meets gets it.

use std::cmp::{Ordering, Reverse};

use serde::{Deserialize, Serialize};

use super::{GrpcMatch, GrpcNameMatch, HttpMatch, PathMatch};
use crate::ObjectName;

/// The Gateway API's order between matches on one host name; the least comes first. By what they match, then by the
/// routes' age and name, then by their places in the route. The host name goes before all of it: see
/// [`crate::HostPattern::specificity`].
///
/// The API leaves regular expressions open. Here they come after exact ones and before prefixes, longer expressions
/// first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchPrecedence<'a> {
    specificity: Reverse<Specificity>,
    place: MatchPlace<'a>,
}

/// Greater is more specific.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Http { path: Closeness, method: bool, headers: usize, query: usize },
    Grpc { service: Closeness, method: Closeness, headers: usize },
}

/// How closely a condition on a text describes it, in characters. Exact ones that meet the same text are equally
/// close, so their lengths don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    Any,
    Prefix(usize),
    Pattern(usize),
    Exact,
}

/// Where a match stands: what decides between equally specific ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MatchPlace<'a> {
    pub age: RouteAge,
    pub route: AlphabeticalName<'a>,
    /// Index in spec.rules.
    pub rule: usize,
    /// Index in the rule's matches.
    pub index: usize,
}

/// When a route was created; older ones come first, and before all of them those without a time, which come from
/// files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RouteAge {
    /// Seconds since the Unix epoch; metadata has no finer times.
    pub created: Option<i64>,
}

/// The order of the text `namespace/name`: comparing the two parts instead would put `a/x` before `a-b/x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlphabeticalName<'a>(pub &'a ObjectName);

impl<'a> MatchPrecedence<'a> {
    pub fn http(matched: &HttpMatch, place: MatchPlace<'a>) -> Self {
        let specificity = Specificity::Http {
            path: Closeness::of_path(&matched.path),
            method: matched.method.is_some(),
            headers: matched.headers.len(),
            query: matched.query.len(),
        };
        Self { specificity: Reverse(specificity), place }
    }

    pub fn grpc(matched: &GrpcMatch, place: MatchPlace<'a>) -> Self {
        let specificity = Specificity::Grpc {
            service: Closeness::of_name(&matched.service),
            method: Closeness::of_name(&matched.method),
            headers: matched.headers.len(),
        };
        Self { specificity: Reverse(specificity), place }
    }
}

impl Closeness {
    fn of_path(path: &PathMatch) -> Self {
        match path {
            PathMatch::Exact(_) => Self::Exact,
            PathMatch::Pattern(pattern) => Self::Pattern(pattern.as_str().chars().count()),
            PathMatch::Prefix(path) => Self::Prefix(path.as_prefix().len()),
        }
    }

    fn of_name(name: &GrpcNameMatch) -> Self {
        match name {
            GrpcNameMatch::Any => Self::Any,
            GrpcNameMatch::Exact(_) => Self::Exact,
            GrpcNameMatch::Pattern(pattern) => Self::Pattern(pattern.as_str().chars().count()),
        }
    }
}

impl Ord for AlphabeticalName<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        fn text(name: &ObjectName) -> impl Iterator<Item = u8> {
            name.namespace.bytes().chain(*b"/").chain(name.name.bytes())
        }
        text(self.0).cmp(text(other.0))
    }
}

impl PartialOrd for AlphabeticalName<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes before what among equally old routes is told by the matcher's own test, against the specification.
    #[test]
    fn the_slash_between_namespace_and_name_counts() {
        let name = |namespace: &str, name: &str| ObjectName {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let (dash, plain) = (name("a-b", "x"), name("a", "x"));
        assert!(AlphabeticalName(&dash) < AlphabeticalName(&plain));
    }

    #[test]
    fn routes_without_a_time_are_older_than_any() {
        let created = |created| RouteAge { created };
        assert!(created(None) < created(Some(i64::MIN)) && created(Some(1)) < created(Some(2)));
    }
}
