//! Paths and host names that a rule may name.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::normal::{PLAIN, spell};
use crate::HostPattern;

/// An absolute path without query, spelled as those of requests are once they are normalised (`%41` is `A`), without
/// empty, `.` or `..` segment. That leaves nothing that normalising could take away, so what is matched is what is
/// forwarded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Path(Box<str>);

/// A host name without wildcard, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(Box<str>);

/// A path that no request can have after its own was normalised.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    #[error("path {0:?} does not begin with /")]
    Relative(String),
    #[error("path {0:?} has an empty, . or .. segment, which requests never have; remove it")]
    Segment(String),
    #[error("path {0:?} has %2F, which could mean / or not; remove it")]
    EncodedSlash(String),
    #[error("path {0:?} has characters that paths can't have; write them as % and two hexadecimal digits")]
    Character(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no host name; use labels of letters, digits and - between dots")]
pub struct InvalidHostname(String);

impl Path {
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        let Some(segments) = text.strip_prefix('/') else {
            return Err(InvalidPath::Relative(text.to_owned()));
        };
        if !text.bytes().all(|byte| byte == b'%' || PLAIN.has(byte)) {
            return Err(InvalidPath::Character(text.to_owned()));
        }
        let spelled = spell(text).map_err(|_| InvalidPath::Character(text.to_owned()))?;
        if spelled.contains("%2F") {
            return Err(InvalidPath::EncodedSlash(text.to_owned()));
        }
        // The last segment may be empty: a path may end in a slash.
        let inner_empty = segments.contains("//") || segments.starts_with('/');
        if inner_empty || spelled.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(InvalidPath::Segment(text.to_owned()));
        }
        Ok(Self(spelled.into()))
    }

    /// `/`
    pub fn root() -> Self {
        Self("/".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a prefix: without the slash at its end, which the API ignores; empty for `/`.
    pub fn as_prefix(&self) -> &str {
        self.0.strip_suffix('/').unwrap_or(&self.0)
    }
}

impl Hostname {
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        match HostPattern::parse(text) {
            Some(HostPattern::Exact(name)) => Ok(Self(name)),
            _ => Err(InvalidHostname(text.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Path {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Path> for String {
    fn from(path: Path) -> Self {
        path.0.into()
    }
}

impl TryFrom<String> for Hostname {
    type Error = InvalidHostname;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Hostname> for String {
    fn from(name: Hostname) -> Self {
        name.0.into()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_requests_can_have_are_read() {
        for text in ["/", "/a", "/a/", "/a/b.c", "/%41", "/...", "/~!$&'()*+,;=:@"] {
            assert!(Path::parse(text).is_ok(), "{text}");
        }
        for text in [
            "", "a", "//", "/a//b", "/.", "/a/..", "/a/./b", "/%", "/%4", "/%4g", "/%00", "/%2e/a", "/a b",
            "/a?b", "/a#b",
        ] {
            assert!(Path::parse(text).is_err(), "{text}");
        }
        assert_eq!(Path::parse("/a%2Fb"), Err(InvalidPath::EncodedSlash("/a%2Fb".to_owned())));
    }

    #[test]
    fn a_path_is_spelled_as_requests_are() {
        for (text, path) in [("/%41%7e/b", "/A~/b"), ("/%c3%a4", "/%C3%A4"), ("/%21!", "/%21!")] {
            assert_eq!(Path::parse(text).expect("a path").as_str(), path);
        }
    }

    #[test]
    fn a_prefix_has_no_slash_at_its_end() {
        for (text, prefix) in [("/", ""), ("/a", "/a"), ("/a/", "/a"), ("/a/b/", "/a/b")] {
            assert_eq!(Path::parse(text).expect("a path").as_prefix(), prefix);
        }
    }

    #[test]
    fn host_names_are_precise() {
        assert_eq!(Hostname::parse("Example.com").expect("a name").as_str(), "example.com");
        for text in ["", "*.example.com", "a..b", "a_b"] {
            assert!(Hostname::parse(text).is_err(), "{text}");
        }
    }
}
