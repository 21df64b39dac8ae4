//! Regular expressions, bounded in size and time.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

use regex_automata::MatchKind;
use regex_automata::meta::{self, Regex};
use regex_syntax::hir::{Hir, Look};
use serde::{Deserialize, Serialize};

/// A regular expression for a whole value: a path, a header, a query parameter, the name of a gRPC service or method.
/// The dialect is RE2's: no look-around, no back-references, classes such as `\w` and `\d` are ASCII. Matching takes
/// time in proportion to the value's length, whatever the expression.
///
/// Clones share what was compiled, which happens on first use. Patterns are compared by their text.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    text: Box<str>,
    regex: OnceLock<Regex>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("regular expression {pattern:?} is not valid: {cause}")]
    Syntax { pattern: String, cause: String },
    #[error("regular expression {pattern:?} is too large: {cause}; use smaller repetitions")]
    Size { pattern: String, cause: String },
}

/// Bytes of one expression's automaton: a rule of 64 matches stays below 4 MiB.
const NFA_SIZE_LIMIT: usize = 64 << 10;

/// Bytes of the states that one thread may remember per expression, or set of them; when full they are forgotten.
const CACHE_CAPACITY: usize = 256 << 10;

/// Nested groups and repetitions; the parser's own recursion is bounded by it.
const NEST_LIMIT: u32 = 50;

impl Pattern {
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let pattern = Self(Arc::new(Inner { text: text.into(), regex: OnceLock::new() }));
        let hir = pattern.whole()?;
        build(&[hir], Some(NFA_SIZE_LIMIT))
            .map_err(|error| PatternError::Size { pattern: text.to_owned(), cause: explain(&error) })?;
        Ok(pattern)
    }

    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    /// Whether the whole value matches.
    pub fn matches(&self, value: &[u8]) -> bool {
        self.0.regex.get_or_init(|| regex_set(&[self])).is_match(value)
    }

    /// The expression between the value's start and its end. Both are added to what was parsed, not to the text, where
    /// an unbalanced parenthesis or a comment could undo them.
    fn whole(&self) -> Result<Hir, PatternError> {
        let mut parser = regex_syntax::ParserBuilder::new();
        // ASCII classes, and values that need not be UTF-8.
        let mut parser = parser.unicode(false).utf8(false).nest_limit(NEST_LIMIT).build();
        let hir = parser.parse(self.as_str()).map_err(|error| {
            let cause = match &error {
                regex_syntax::Error::Parse(error) => error.kind().to_string(),
                regex_syntax::Error::Translate(error) => error.kind().to_string(),
                _ => error.to_string(),
            };
            PatternError::Syntax { pattern: self.as_str().to_owned(), cause }
        })?;
        Ok(Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]))
    }
}

/// One regex that says for each of several patterns whether it matches. Each of them is small, so all of them
/// together have no limit.
pub(crate) fn regex_set(patterns: &[&Pattern]) -> Regex {
    let whole: Vec<_> = patterns
        .iter()
        .map(|pattern| pattern.whole().expect("a Pattern is one that could be parsed"))
        .collect();
    build(&whole, None).expect("only the size limit, which is off, keeps parsed expressions from being built")
}

fn build(expressions: &[Hir], size_limit: Option<usize>) -> Result<Regex, Box<meta::BuildError>> {
    let config = Regex::config()
        .nfa_size_limit(size_limit)
        .hybrid_cache_capacity(CACHE_CAPACITY)
        .utf8_empty(false)
        // Else a set stops at the first expression that matches.
        .match_kind(MatchKind::All);
    Regex::builder().configure(config).build_many_from_hir(expressions).map_err(Box::new)
}

fn explain(error: &meta::BuildError) -> String {
    match error.size_limit() {
        Some(limit) => format!("it needs more than {limit} bytes"),
        None => error.to_string(),
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

impl Hash for Pattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl TryFrom<String> for Pattern {
    type Error = PatternError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.as_str().to_owned()
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use regex_automata::{Input, PatternSet};

    use super::*;

    #[test]
    fn whole_values_match() {
        for (pattern, value, matches) in [
            ("/users/[0-9]+", "/users/17", true),
            ("/users/[0-9]+", "/users/17/", false),
            ("a|ab", "ab", true),
            ("a|ab", "xab", false),
            ("", "", true),
            ("(?x) a # b", "a", true),
            ("(?i)abc", "ABC", true),
            (r"\d", "\u{663}", false),
            (".*", "\u{fc}", true),
        ] {
            let parsed = Pattern::parse(pattern).expect("a pattern");
            assert_eq!(parsed.matches(value.as_bytes()), matches, "{pattern} {value}");
        }
        assert!(Pattern::parse(".").expect("a pattern").matches(b"\xff"), "values need not be UTF-8");
    }

    #[test]
    fn a_set_tells_every_pattern_that_matches() {
        let patterns = ["/a.*", ".*/b", "/c", ""].map(|text| Pattern::parse(text).expect("a pattern"));
        let set = regex_set(&patterns.iter().collect::<Vec<_>>());
        let mut matching = PatternSet::new(patterns.len());
        set.which_overlapping_matches(&Input::new("/a/b"), &mut matching);
        assert_eq!(matching.iter().map(|id| id.as_usize()).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for pattern in ["(", "a)(b", "[", "a{2,1}", "(?<name", "(?=a)", r"\1", "*", &"(".repeat(10_000)] {
            assert!(matches!(Pattern::parse(pattern), Err(PatternError::Syntax { .. })), "{pattern}");
        }
        for pattern in ["a{10000}", "((a{100}){100}){100}"] {
            assert!(matches!(Pattern::parse(pattern), Err(PatternError::Size { .. })), "{pattern}");
        }
    }
}
