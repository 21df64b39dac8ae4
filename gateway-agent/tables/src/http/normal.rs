//! Paths of requests, normalised before they are matched; what is matched is what is forwarded.
//!
//! Two spellings of one path (RFC 3986, 6.2.2) must not meet different rules, nor may an endpoint understand a path as
//! one outside of what was matched.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::ByteSet;

/// How a Gateway wants paths to be normalised. Whatever it wants, `.` and `..` segments are resolved, encodings of
/// characters that need none are decoded, and other characters are encoded if paths can't have them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PathRules {
    pub encoded_slashes: EncodedSlashes,
    pub doubled_slashes: DoubledSlashes,
}

/// What becomes of `%2F`, which some applications tell from `/`, and of `%5C`, which some take for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EncodedSlashes {
    /// They stay, unless they hide a `..` segment.
    #[default]
    Keep,
    /// `%2F` is `/`. `%5C` stays, unless it hides a `..` segment.
    Decode,
    Refuse,
}

/// What becomes of slashes that follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DoubledSlashes {
    /// They become one.
    #[default]
    Merge,
    Keep,
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    #[error("a percent sign without two hexadecimal digits")]
    Encoding,
    #[error("an encoded NUL")]
    Nul,
    #[error("more .. segments than there are segments before them")]
    Outside,
    #[error("a . or .. segment behind an encoded slash or before a semicolon")]
    Hidden,
    #[error("an encoded slash or backslash")]
    EncodedSlash,
}

impl PathRules {
    /// The path that is matched and forwarded. `path` is absolute and without query, or `*`.
    pub fn normalise(self, path: &str) -> Result<Cow<'_, str>, PathFault> {
        if is_normal(path.as_bytes()) {
            return Ok(Cow::Borrowed(path));
        }
        let spelled = self.spell(path)?;
        let merges = self.doubled_slashes == DoubledSlashes::Merge;
        let mut segments: Vec<&str> = Vec::new();
        let mut parts = spelled.split('/').skip(1).peekable();
        let mut ends_in_slash = true;
        while let Some(segment) = parts.next() {
            ends_in_slash = matches!(segment, "" | "." | "..");
            match segment {
                "." => {}
                "" if merges || parts.peek().is_none() => {}
                ".." => drop(segments.pop().ok_or(PathFault::Outside)?),
                segment if hides_a_way(segment) => return Err(PathFault::Hidden),
                segment => segments.push(segment),
            }
        }
        let mut normal = String::with_capacity(spelled.len());
        for segment in &segments {
            normal.push('/');
            normal.push_str(segment);
        }
        if ends_in_slash {
            normal.push('/');
        }
        Ok(Cow::Owned(normal))
    }

    /// The one spelling of every character.
    fn spell(self, path: &str) -> Result<Cow<'_, str>, PathFault> {
        let spelled = spell(path)?;
        let has_slash = spelled.contains("%2F");
        match self.encoded_slashes {
            EncodedSlashes::Refuse if has_slash || spelled.contains("%5C") => Err(PathFault::EncodedSlash),
            EncodedSlashes::Decode if has_slash => Ok(Cow::Owned(spelled.replace("%2F", "/"))),
            _ => Ok(spelled),
        }
    }
}

/// Decodes what RFC 3986 (2.3) calls unreserved, writes other encodings in upper case (6.2.2.1), and encodes what is
/// none of its `pchar` (3.3), such as `|`, which browsers send as it is.
pub(super) fn spell(path: &str) -> Result<Cow<'_, str>, PathFault> {
    if PLAIN.has_all(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut spelled = String::with_capacity(path.len() + 8);
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            push(byte, PLAIN.has(byte), &mut spelled);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(PathFault::Encoding) };
        match high << 4 | low {
            0 => return Err(PathFault::Nul),
            byte => push(byte, UNRESERVED.has(byte), &mut spelled),
        }
    }
    Ok(Cow::Owned(spelled))
}

fn push(byte: u8, as_it_is: bool, out: &mut String) {
    if as_it_is {
        return out.push(char::from(byte));
    }
    let digit = |half: u8| char::from(b"0123456789ABCDEF"[usize::from(half)]);
    out.extend(['%', digit(byte >> 4), digit(byte & 0xf)]);
}

/// Whether there is nothing to normalise, whatever the rules: only plain characters, no empty segment but the last, and
/// none that begins with a dot or has parameters.
fn is_normal(path: &[u8]) -> bool {
    let mut rest = path;
    loop {
        match &rest[SEGMENT.len_of(rest)..] {
            [] => return true,
            [b'/', b'/' | b'.', ..] => return false,
            [b'/', behind @ ..] => rest = behind,
            _ => return false,
        }
    }
}

static UNRESERVED: ByteSet = ByteSet::alphanumeric_and(b"-._~");

/// The characters of RFC 3986's `pchar` but `%`.
static SEGMENT: ByteSet = ByteSet::alphanumeric_and(b"-._~!$&'()*+,;=:@");

/// The same, and slashes.
pub(super) static PLAIN: ByteSet = ByteSet::alphanumeric_and(b"-._~/!$&'()*+,;=:@");

/// Whether an endpoint could find a `.` or `..` in a segment: once its encoded slashes and backslashes are taken for
/// slashes, or once what follows a `;` is taken for parameters, as servlet containers do.
fn hides_a_way(segment: &str) -> bool {
    let dots = |part: &str| matches!(part, "." | "..");
    let parts = || segment.split("%2F").flat_map(|part| part.split("%5C"));
    segment.contains(['%', ';'])
        && parts().any(|part| part == ".." || part.split_once(';').is_some_and(|(before, _)| dots(before)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: PathRules =
        PathRules { encoded_slashes: EncodedSlashes::Refuse, doubled_slashes: DoubledSlashes::Merge };
    const LOOSE: PathRules =
        PathRules { encoded_slashes: EncodedSlashes::Decode, doubled_slashes: DoubledSlashes::Keep };

    /// The table of docs/HTTP.md, and more.
    #[test]
    fn each_path_has_one_spelling() {
        let by_default = PathRules::default();
        for (rules, path, normal) in [
            (by_default, "/", "/"),
            (by_default, "*", "*"),
            (by_default, "/a/b.c/", "/a/b.c/"),
            (by_default, "/a/../b", "/b"),
            (by_default, "/a/b/..", "/a/"),
            (by_default, "/a/./b/.", "/a/b/"),
            (by_default, "/.", "/"),
            (by_default, "/.a/..b/...", "/.a/..b/..."),
            (by_default, "//a///b//", "/a/b/"),
            (by_default, "/a//../b", "/b"),
            (by_default, "/%61%2Db%7e", "/a-b~"),
            (by_default, "/a/%2e%2E/b", "/b"),
            (by_default, "/a%2fb", "/a%2Fb"),
            (by_default, "/a%5cb", "/a%5Cb"),
            (by_default, "/%c3%a4", "/%C3%A4"),
            (by_default, "/a%20b;c=d", "/a%20b;c=d"),
            (by_default, "/%25%32%65", "/%252e"),
            (by_default, "/a|b[1]\"<>^`{}", "/a%7Cb%5B1%5D%22%3C%3E%5E%60%7B%7D"),
            (by_default, "/%21!", "/%21!"),
            (by_default, "/a;b/c;..;d", "/a;b/c;..;d"),
            (STRICT, "/a/b", "/a/b"),
            (LOOSE, "/a%2fb", "/a/b"),
            (LOOSE, "/a%2F..%2fb", "/b"),
            (LOOSE, "/a%5Cb", "/a%5Cb"),
            (LOOSE, "//a///b//", "//a///b//"),
            (LOOSE, "/a//../b", "/a/b"),
            (LOOSE, "//", "//"),
        ] {
            assert_eq!(rules.normalise(path).as_deref(), Ok(normal), "{path} {rules:?}");
        }
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        let by_default = PathRules::default();
        for (rules, path, fault) in [
            (by_default, "/..", PathFault::Outside),
            (by_default, "/a/../..", PathFault::Outside),
            (by_default, "/%2e%2e", PathFault::Outside),
            (by_default, "/a%2f..%2fb", PathFault::Hidden),
            (by_default, "/a/..%2Fb", PathFault::Hidden),
            (by_default, "/a%5c..", PathFault::Hidden),
            (by_default, "/..%5Ca", PathFault::Hidden),
            (by_default, "/a/..;/b", PathFault::Hidden),
            (by_default, "/.;a=b/c", PathFault::Hidden),
            (by_default, "/a/%2e%2E;x/b", PathFault::Hidden),
            (by_default, "/%", PathFault::Encoding),
            (by_default, "/%4", PathFault::Encoding),
            (by_default, "/%4g", PathFault::Encoding),
            (by_default, "/%+1", PathFault::Encoding),
            (by_default, "/%00", PathFault::Nul),
            (STRICT, "/a%2Fb", PathFault::EncodedSlash),
            (STRICT, "/a%5cb", PathFault::EncodedSlash),
            (LOOSE, "/a%2F..%2f..", PathFault::Outside),
            (LOOSE, "/a%5C..", PathFault::Hidden),
        ] {
            assert_eq!(rules.normalise(path), Err(fault), "{path} {rules:?}");
        }
    }
}
