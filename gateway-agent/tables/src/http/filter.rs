//! What is done to a request on its way in, and to its response on the way out.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::{Cors, ExternalAuth, FieldName, FieldValue, Hostname, Path, Upstream};

/// One filter of a rule or of a backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filter {
    RequestHeaders(HeaderEdits),
    ResponseHeaders(HeaderEdits),
    Rewrite(UrlRewrite),
    Mirror(Mirror),
    Cors(Cors),
    ExternalAuth(ExternalAuth),
}

/// Changes to the fields of a head: first those of `remove` go, then `set` replaces, then `add` appends to what is
/// there. No field of `set` or of `add` is named twice, and none belongs to the connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct HeaderEdits {
    set: Vec<(FieldName, FieldValue)>,
    add: Vec<(FieldName, FieldValue)>,
    remove: Vec<FieldName>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderEditsError {
    #[error("header {0} belongs to the connection, which the proxy keeps; remove it from the filter")]
    OfTheConnection(FieldName),
}

/// What replaces parts of a request's URL before it is forwarded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlRewrite {
    /// None: the client's.
    pub hostname: Option<Hostname>,
    /// None: the client's.
    pub path: Option<PathRewrite>,
}

/// A new path; the query stays as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathRewrite {
    Full(Path),
    /// What the rule's one match, a prefix, matched is replaced; a slash at the end of either counts for nothing.
    Prefix {
        matched: Path,
        replacement: Path,
    },
}

/// A copy of the request for an endpoint of another backend, whose response is ignored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirror {
    pub upstream: Upstream,
    /// Of the requests that meet the filter.
    pub share: Fraction,
}

/// A part of all requests, at most all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "(u32, NonZeroU32)", into = "(u32, NonZeroU32)")]
pub struct Fraction {
    numerator: u32,
    denominator: NonZeroU32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{numerator} of {denominator} is more than all; use a numerator of at most the denominator")]
pub struct FractionError {
    numerator: u32,
    denominator: NonZeroU32,
}

/// [`HeaderEdits`] as received.
#[derive(Deserialize)]
struct Unchecked {
    set: Vec<(FieldName, FieldValue)>,
    add: Vec<(FieldName, FieldValue)>,
    remove: Vec<FieldName>,
}

impl HeaderEdits {
    /// Of several entries with one name the first counts, as the API has it.
    pub fn new(
        set: Vec<(FieldName, FieldValue)>,
        add: Vec<(FieldName, FieldValue)>,
        remove: Vec<FieldName>,
    ) -> Result<Self, HeaderEditsError> {
        let mut names = set.iter().chain(&add).map(|(name, _)| name).chain(&remove);
        if let Some(name) = names.find(|name| name.is_of_the_connection()) {
            return Err(HeaderEditsError::OfTheConnection(name.clone()));
        }
        Ok(Self { set: firsts(set), add: firsts(add), remove })
    }

    pub fn set(&self) -> &[(FieldName, FieldValue)] {
        &self.set
    }

    pub fn add(&self) -> &[(FieldName, FieldValue)] {
        &self.add
    }

    pub fn remove(&self) -> &[FieldName] {
        &self.remove
    }
}

fn firsts(fields: Vec<(FieldName, FieldValue)>) -> Vec<(FieldName, FieldValue)> {
    let mut kept: Vec<(FieldName, FieldValue)> = Vec::with_capacity(fields.len());
    for field in fields {
        if kept.iter().all(|(name, _)| *name != field.0) {
            kept.push(field);
        }
    }
    kept
}

impl TryFrom<Unchecked> for HeaderEdits {
    type Error = HeaderEditsError;

    fn try_from(edits: Unchecked) -> Result<Self, Self::Error> {
        Self::new(edits.set, edits.add, edits.remove)
    }
}

impl PathRewrite {
    /// The path that replaces `path`, which the rule has matched.
    pub fn apply(&self, path: &str) -> String {
        match self {
            Self::Full(full) => full.as_str().to_owned(),
            // Of the server as a whole (RFC 9110, 9.3.7): no path, so none below the prefix.
            Self::Prefix { .. } if path == "*" => path.to_owned(),
            Self::Prefix { matched, replacement } => {
                let rest = path.strip_prefix(matched.as_prefix()).unwrap_or(path);
                match (replacement.as_prefix(), rest) {
                    ("", "") => "/".to_owned(),
                    (prefix, rest) => format!("{prefix}{rest}"),
                }
            }
        }
    }
}

impl Fraction {
    pub const ALL: Self = Self { numerator: 1, denominator: NonZeroU32::MIN };

    pub fn new(numerator: u32, denominator: NonZeroU32) -> Result<Self, FractionError> {
        if numerator > denominator.get() {
            return Err(FractionError { numerator, denominator });
        }
        Ok(Self { numerator, denominator })
    }

    /// Whether a request is within the fraction, given a number that is even over all of u32.
    pub fn contains(self, random: u32) -> bool {
        let (numerator, denominator) = (u64::from(self.numerator), u64::from(self.denominator.get()));
        // The product is below 2^64; its upper half is even over 0..denominator.
        (u64::from(random) * denominator) >> 32 < numerator
    }
}

impl TryFrom<(u32, NonZeroU32)> for Fraction {
    type Error = FractionError;

    fn try_from((numerator, denominator): (u32, NonZeroU32)) -> Result<Self, Self::Error> {
        Self::new(numerator, denominator)
    }
}

impl From<Fraction> for (u32, NonZeroU32) {
    fn from(fraction: Fraction) -> Self {
        (fraction.numerator, fraction.denominator)
    }
}

impl std::fmt::Display for Fraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.numerator, self.denominator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        Path::parse(text).expect("a path")
    }

    /// The table of `HTTPPathModifier.replacePrefixMatch` in the API, and more of its kind.
    #[test]
    fn prefixes_are_replaced_as_the_api_says() {
        for (request, matched, replacement, result) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "/", "/bar"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/", "/", "/xyz", "/xyz/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("*", "/", "/xyz", "*"),
        ] {
            let rewrite = PathRewrite::Prefix { matched: path(matched), replacement: path(replacement) };
            assert_eq!(rewrite.apply(request), result, "{request} {matched} {replacement}");
        }
        assert_eq!(PathRewrite::Full(path("/one")).apply("/two/three"), "/one");
    }

    #[test]
    fn the_first_entry_of_a_name_counts() {
        let field = |name, value| {
            (FieldName::parse(name).expect("a name"), FieldValue::parse(value).expect("a value"))
        };
        let edits =
            HeaderEdits::new(vec![field("X-A", "1"), field("x-a", "2")], vec![field("x-a", "3")], vec![]);
        let edits = edits.expect("edits");
        assert_eq!((edits.set(), edits.add()), (&[field("x-a", "1")][..], &[field("x-a", "3")][..]));
    }

    #[test]
    fn the_connections_fields_stay_as_they_are() {
        let name = FieldName::parse("Transfer-Encoding").expect("a name");
        let refused = HeaderEdits::new(vec![], vec![], vec![name.clone()]);
        assert_eq!(refused, Err(HeaderEditsError::OfTheConnection(name)));
    }

    #[test]
    fn fractions_are_exact_at_both_ends() {
        let of = |numerator, denominator| {
            Fraction::new(numerator, NonZeroU32::new(denominator).expect("not zero"))
        };
        assert!(of(101, 100).is_err());
        for random in [0, 1, u32::MAX / 2, u32::MAX] {
            assert!(of(100, 100).expect("all").contains(random) && Fraction::ALL.contains(random));
            assert!(!of(0, 100).expect("none").contains(random));
        }
        let half = of(50, 100).expect("half");
        assert!(half.contains(u32::MAX / 2) && !half.contains(u32::MAX / 2 + 1));
    }
}
