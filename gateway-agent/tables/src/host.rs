//! Host names that listeners, routes and certificates are for.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Which host names something is for. The order has no meaning but to be one; see [`HostPattern::specificity`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// Every name, and clients that name none.
    Any,
    /// `*.example.com`, held as `example.com`: every name that ends in a dot and this, however many labels stand before.
    Below(Box<str>),
    Exact(Box<str>),
}

impl HostPattern {
    /// Reads a hostname of the Gateway API (RFC 1123, the first label may be `*`; upper case counts as lower); empty
    /// text means every name. None: not a hostname.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        if text.is_empty() {
            return Some(Self::Any);
        }
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text.as_str(), false),
        };
        let valid = text.len() <= Self::MAX_LEN && name.split('.').all(is_label);
        valid.then(|| if wildcard { Self::Below(name.into()) } else { Self::Exact(name.into()) })
    }

    /// Octets of a name in text form (RFC 1035, 2.3.4).
    const MAX_LEN: usize = 253;

    /// Whether this is for the name, which is in lower case.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Below(suffix) => is_below(name, suffix),
            Self::Exact(exact) => **exact == *name,
        }
    }

    /// Whether this is for every name that the other one is for.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Below(_)) => false,
            (Self::Below(suffix), Self::Below(other)) => suffix == other || is_below(other, suffix),
            (pattern, Self::Exact(name)) => pattern.matches(name),
        }
    }

    /// The names that both are for: the narrower of the two, or None if they have nothing in common.
    pub fn intersection<'a>(&'a self, other: &'a Self) -> Option<&'a Self> {
        if self.covers(other) {
            Some(other)
        } else if other.covers(self) {
            Some(self)
        } else {
            None
        }
    }

    /// The Gateway API's order between host names that match the same request, greater first: by the characters of a
    /// name without wildcard, then by all characters.
    pub fn specificity(&self) -> (usize, usize) {
        match self {
            Self::Any => (0, 0),
            Self::Below(suffix) => (0, "*.".len() + suffix.len()),
            Self::Exact(name) => (name.len(), name.len()),
        }
    }
}

fn is_below(name: &str, suffix: &str) -> bool {
    name.strip_suffix(suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    // 63: RFC 1035, 2.3.4.
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host name")]
pub struct InvalidHostPattern(String);

/// Empty text means every name.
impl TryFrom<String> for HostPattern {
    type Error = InvalidHostPattern;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or(InvalidHostPattern(text))
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        match pattern {
            HostPattern::Any => Self::new(),
            named => named.to_string(),
        }
    }
}

/// `*` stands for every name.
impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Below(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).expect("a hostname")
    }

    #[test]
    fn only_hostnames_are_read() {
        for text in ["example.com", "*.example.com", "a", "xn--bcher-kva.example", "1.example", "EXAMPLE.com"]
        {
            assert!(HostPattern::parse(text).is_some(), "{text}");
        }
        for text in ["*", "*.", ".", "a..b", "-a", "a-", "a.*.b", "*a.b", "a_b", "a.", &"a.".repeat(127)] {
            assert_eq!(HostPattern::parse(text), None, "{text}");
        }
    }

    #[test]
    fn wildcards_match_any_number_of_labels_but_not_none() {
        let wildcard = pattern("*.example.com");
        for (name, matches) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("aexample.com", false),
            ("example.org", false),
        ] {
            assert_eq!(wildcard.matches(name), matches, "{name}");
        }
    }

    #[test]
    fn an_intersection_is_the_narrower_of_two() {
        for (one, other, both) in [
            ("", "", Some("")),
            ("", "*.example.com", Some("*.example.com")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.example.com", "*.b.example.com", Some("*.b.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("*.example.com", "*.example.org", None),
            ("a.example.com", "b.example.com", None),
        ] {
            let (one, other) = (pattern(one), pattern(other));
            let both = both.map(pattern);
            assert_eq!(one.intersection(&other), both.as_ref(), "{one} {other}");
            assert_eq!(other.intersection(&one), both.as_ref(), "{other} {one}");
        }
    }

    #[test]
    fn exact_names_come_before_wildcards_and_longer_before_shorter() {
        let mut patterns: Vec<_> =
            ["*.example.com", "", "a.b", "*.b.example.com", "long.example.com"].map(pattern).into();
        patterns.sort_by_key(|pattern| std::cmp::Reverse(pattern.specificity()));
        let sorted: Vec<_> = patterns.iter().map(ToString::to_string).collect();
        assert_eq!(sorted, ["long.example.com", "a.b", "*.b.example.com", "*.example.com", "*"]);
    }
}
