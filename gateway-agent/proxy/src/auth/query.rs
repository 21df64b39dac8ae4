//! Changes to a query that a service orders.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// What ends a parameter, or can't stand in a query (RFC 3986, 3.4). A percent sign stays: Envoy sends names and values as
/// they are, so services may have encoded them.
const IN_VALUE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'&').add(b'<').add(b'>').add(b'\\');
const IN_NAME: &AsciiSet = &IN_VALUE.add(b'=');

#[derive(Debug, Default)]
pub(super) struct QueryEdits {
    /// They replace all parameters of their names.
    pub(super) set: Vec<(String, String)>,
    /// These go, also if they were set.
    pub(super) remove: Vec<String>,
}

impl QueryEdits {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// The new query; None: it has no parameter left.
    pub(super) fn apply(&self, query: Option<&str>) -> Option<String> {
        let removed = |name: &str| self.remove.iter().any(|it| it == name);
        let stays = |part: &&str| {
            // As endpoints read it: however a client encodes a name, it is that name.
            let name =
                form_urlencoded::parse(part.as_bytes()).next().map(|(name, _)| name).unwrap_or_default();
            !removed(&name) && self.set.iter().all(|(set, _)| *set != name)
        };
        let mut changed: String =
            query.unwrap_or_default().split('&').filter(stays).collect::<Vec<_>>().join("&");
        for (name, value) in self.set.iter().filter(|(name, _)| !removed(name)) {
            let separator = if changed.is_empty() { "" } else { "&" };
            let (name, value) = (utf8_percent_encode(name, IN_NAME), utf8_percent_encode(value, IN_VALUE));
            let _ = write!(changed, "{separator}{name}={value}");
        }
        (!changed.is_empty()).then_some(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_set_and_removed_whatever_their_spelling() {
        for (query, set, remove, changed) in [
            (Some("a=1&b=2"), &[][..], &["a"][..], Some("b=2")),
            (Some("%61=1&a&a=&A=1&ab=1"), &[], &["a"], Some("A=1&ab=1")),
            (Some("a=1"), &[], &["a"], None),
            (None, &[], &["a"], None),
            (Some("a=1&b=%20&a=2"), &[("a", "3")], &[], Some("b=%20&a=3")),
            (None, &[("a", "1"), ("b", "")], &[], Some("a=1&b=")),
            (Some("b=1"), &[("a", "1")], &["a"], Some("b=1")),
            (
                None,
                &[("a&b=c", "d&e=f g#%2B+\r\n\u{e4}")],
                &[],
                Some("a%26b%3Dc=d%26e=f%20g%23%2B+%0D%0A%C3%A4"),
            ),
        ] {
            let owned = |text: &&str| (*text).to_owned();
            let edits = QueryEdits {
                set: set.iter().map(|(name, value)| (owned(name), owned(value))).collect(),
                remove: remove.iter().map(owned).collect(),
            };
            assert_eq!(edits.apply(query).as_deref(), changed, "{query:?} {set:?} {remove:?}");
        }
    }
}
