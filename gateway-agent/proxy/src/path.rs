//! Paths, normalised before they are matched; what is matched is what is forwarded.
//!
//! Two spellings of one path (RFC 3986, 6.2.2) must not meet different rules. So `.` and `..` segments are resolved,
//! encoded characters that need no encoding are decoded, and slashes that follow each other become one. Encoded slashes
//! stay: some applications tell them from slashes. A path is refused where an endpoint could understand it as one
//! outside of what was matched: if it leaves the root, or if an encoded slash or backslash hides a `..`.

use std::borrow::Cow;

use crate::h1::Fault;

/// The path that is matched and forwarded. `path` is absolute and without query, or `*`.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, Fault> {
    if is_plain(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let decoded = decode(path)?;
    let mut segments: Vec<&str> = Vec::new();
    let mut is_folder = true;
    for segment in decoded.split('/').skip(1) {
        is_folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop().ok_or(Fault::Path)?),
            segment if hides_parent(segment) => return Err(Fault::Path),
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if is_folder {
        normal.push('/');
    }
    Ok(Cow::Owned(normal))
}

/// Whether there is nothing to normalise: no encoding, no empty segment, none that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    path.windows(2).all(|pair| pair[0] != b'/' || !matches!(pair[1], b'/' | b'.')) && !path.contains(&b'%')
}

/// Decodes what RFC 3986 (2.3) calls unreserved, and leaves other encodings in upper case (6.2.2.1).
fn decode(path: &str) -> Result<String, Fault> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, encoded)) = rest.split_once('%') {
        decoded.push_str(before);
        let digits = encoded.get(..2).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or(Fault::Path)?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| Fault::Path)?;
        match byte {
            0 => return Err(Fault::Path),
            b'-' | b'.' | b'_' | b'~' => decoded.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => decoded.push(char::from(byte)),
            _ => {
                decoded.push('%');
                decoded.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = &encoded[2..];
    }
    decoded.push_str(rest);
    Ok(decoded)
}

/// Whether a segment has a `..` once its encoded slashes and backslashes are taken for slashes.
fn hides_parent(segment: &str) -> bool {
    segment.contains('%')
        && segment.split("%2F").flat_map(|part| part.split("%5C")).any(|part| matches!(part, ".."))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_path_has_one_spelling() {
        for (path, normal) in [
            ("/", "/"),
            ("*", "*"),
            ("/a/b.c/", "/a/b.c/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/a/./b/.", "/a/b/"),
            ("/.", "/"),
            ("/.a/..b/...", "/.a/..b/..."),
            ("//a///b//", "/a/b/"),
            ("/a//../b", "/b"),
            ("/%61%2Db%7e", "/a-b~"),
            ("/a/%2e%2E/b", "/b"),
            ("/a%2fb", "/a%2Fb"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a%20b;c=d", "/a%20b;c=d"),
            ("/%25%32%65", "/%252e"),
        ] {
            assert_eq!(normalise(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn paths_that_could_lead_elsewhere_are_refused() {
        for path in [
            "/..",
            "/a/../..",
            "/%2e%2e",
            "/a%2f..%2fb",
            "/a/..%2Fb",
            "/a%5c..",
            "/..%5Ca",
            "/%",
            "/%4",
            "/%4g",
            "/%00",
        ] {
            assert_eq!(normalise(path), Err(Fault::Path), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_path_stays_as_it_is(path in "(/(\\.|\\.\\.|%2[eEfF]|%5c|%41|[a-c.]{0,3})){1,6}") {
            if let Ok(normal) = normalise(&path) {
                prop_assert!(normal.starts_with('/') && !normal.contains("//"));
                prop_assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
                let again = normalise(&normal);
                prop_assert_eq!(again.as_deref(), Ok(&*normal));
            }
        }
    }
}
